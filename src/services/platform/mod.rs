//! The parts that all other sub-domains build on.

mod api_keys;
mod base;
mod browser_sessions;
mod changes;
mod idempotency;
mod key_check;
mod notifier;
mod replica_watch;
mod reseal;
mod retry;
mod row_cache;
mod tasks;

pub use api_keys::ApiKeys;
pub(super) use base::Base;
pub use browser_sessions::{BrowserSessions, ENDS_AT, Use};
pub(super) use changes::Changes;
pub use idempotency::{GivenAnswer, Idempotency, Once, OnceError};
pub use key_check::{KeyCheckError, check_keys};
pub(super) use notifier::Key;
pub use notifier::{Notifier, Subscription};
pub use replica_watch::ReplicaWatch;
pub use reseal::{Resealed, reseal_all};
pub(super) use retry::retry_write;
pub(super) use row_cache::RowCache;
pub use row_cache::{Connection, UserConnections};
pub(super) use tasks::{Tasks, joined};

use crate::config::Config;
use crate::domain::clock::Clock;

/// The parts that all other sub-domains build on.
#[derive(Debug, Clone)]
pub struct Platform {
    /// The clock of the services.
    pub(crate) clock: Clock,
    /// API keys.
    pub(crate) api_keys: ApiKeys,
    /// Idempotent requests.
    pub idempotency: Idempotency,
    /// Browser sessions.
    pub(crate) sessions: BrowserSessions,
    /// Requests that wait for a change.
    pub(crate) notifier: Notifier,
    /// Changes that other processes make.
    pub(crate) replicas: ReplicaWatch,
}

impl Platform {
    pub(super) fn new(base: &Base, config: &Config) -> Self {
        Self {
            clock: base.clock.clone(),
            api_keys: ApiKeys::new(base),
            idempotency: Idempotency::new(base),
            sessions: BrowserSessions::new(base, &config.security),
            notifier: base.notifier.clone(),
            replicas: ReplicaWatch::new(base),
        }
    }
}
