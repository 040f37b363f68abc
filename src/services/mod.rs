//! Services: the verbs of the service, one file each.
//!
//! ```text
//!             start            callback            code exchanged
//!   (nothing) ─────▶ AuthRequest ─────▶ exchanging ─────▶ Token + TokenRefreshJob ◀──┐
//!                    awaiting_user          │                    │  refresh, again    │
//!                        │                  ▼                    │  and again ────────┘
//!                        └──▶ expired     failed                 ├──▶ needs_reauth   (HubSpot said twice: no more)
//!                                                                ├──▶ integrity_error (the row was tampered with)
//!                                                                └──▶ (nothing) + RevocationJob   (disconnect, logout)
//! ```
//!
//! A verb never sees a request or a response, and never holds a transaction while HubSpot is asked.

mod connect;
mod connections;
mod maintenance;
mod marketplace;
mod platform;
pub mod proxy;
mod webhooks;

use std::collections::HashSet;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub use crate::store::Install as WaitingInstall;
pub use connect::account_mismatch::{Choice, DecideError, Decision};
pub use connect::authorization_status::{AccessToken, Attempt, ClaimError};
pub use connect::connect_sessions::{CompleteError, NewSession, NewlyMade, SessionError, SessionView};
pub use connect::finish::{Answer, FinishConnect, FinishError, Finished};
pub use connect::handoff::{Delivery, Ended, Message, Outcome};
pub use connect::start::{StartConnect, StartError, Started, flow_of_state};
pub use connections::access_token::{Access, AccessError};
pub use connections::disconnect::{Disconnected, Revoked};
pub use connections::import::{Import, ImportError, Imported};
pub use connections::lease::{Lease, LeaseWarning};
pub use connections::status::{Connection, Connections};
pub use connections::uninstall::Uninstalled;
pub use maintenance::readiness::Readiness;
pub use marketplace::install::{ClaimInstallError, ClaimedInstall, InstallError};
pub use marketplace::journal::{Look, Looked};
pub use platform::browser_sessions::{ENDS_AT, SessionValues, Use};
pub use platform::idempotency::{GivenAnswer, Once, OnceError, OnceLease};
pub use platform::key_check::KeyCheckError;
pub use platform::notifier::Wakes;
pub use platform::reseal::{Resealed, reseal_all};
pub use webhooks::deliveries::Underway;
pub use webhooks::endpoints::WebhookError;

use crate::config::{Config, OnSessionExpiry, TokenDelivery};
use crate::domain::chance::Chance;
use crate::domain::clock::Clock;
use crate::domain::id::{ConnectionId, UserId};
use crate::domain::origin::{AllowedOrigins, Origin};
use crate::domain::secret::Secret;
use crate::domain::token::{RefreshPolicy, Token};
use crate::hubspot::HubSpot;
use crate::keyring::{Context, Keyring, OpenError};
use crate::store::Store;
pub use crate::store::{AccessRow, EndpointChanges, Listed, ListedState, StoreError, Wanted};
use crate::telemetry::metrics::Metrics;
use crate::webhook::Webhooks;
use connections::access_token::Renewals;
use connections::circuit_breaker::Gate;
use marketplace::journal::Watch;
use platform::api_keys::KnownKeys;
use platform::notifier::{Key, Waiting};
use platform::row_cache::Memory;
use proxy::{Accounts, Forced};
use webhooks::deliveries::Outgoing;
use webhooks::events::CredentialsAlarm;

/// What the verbs need to know of the configuration.
#[derive(Debug, Clone)]
struct Rules {
    own_origin: Origin,
    host_origins: AllowedOrigins,
    token_delivery: TokenDelivery,
    flow_ttl: Duration,
    session_idle: Duration,
    session_max: Duration,
    on_session_expiry: OnSessionExpiry,
    refresh: RefreshPolicy,
    /// How long an install waits to be claimed.
    claim_time: Duration,
}

/// The verbs. Clones share everything.
#[derive(Debug, Clone)]
pub struct Services(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Store,
    hubspot: HubSpot,
    keyring: Keyring,
    clock: Clock,
    chance: Chance,
    rules: Rules,
    metrics: Arc<Metrics>,
    /// Who this process is when it takes leases.
    owner: String,
    gate: Gate,
    /// Work that is finished whatever becomes of the caller who began it.
    tasks: TaskTracker,
    /// Where that work runs: not on a web worker, which may be gone before it is done.
    runtime: tokio::runtime::Handle,
    /// Requests that wait for a change.
    waiting: Waiting,
    memory: Memory,
    /// Connections that this process is refreshing.
    busy: Mutex<HashSet<ConnectionId>>,
    /// Renewals that somebody waits for.
    renewals: Renewals,
    /// API keys that were shown lately.
    known_keys: KnownKeys,
    /// The way to the host's backend.
    webhooks: Webhooks,
    /// Deliveries that are under way.
    outgoing: Outgoing,
    /// Whether the refusal of our credentials is told.
    credentials: CredentialsAlarm,
    /// How reading the Webhooks Journal has gone lately.
    watch: Watch,
    /// How fast each HubSpot account may be asked.
    accounts: Accounts,
    /// Connections that were renewed because of a 401.
    forced: Forced,
    /// How many of these may ask HubSpot at once.
    slots: Semaphore,
    /// Whether the process is on its way out.
    stopping: AtomicBool,
}

impl Services {
    /// The verbs over these parts. To be called on the runtime that outlives the web workers.
    pub fn new(
        config: &Config,
        store: Store,
        hubspot: HubSpot,
        keyring: Keyring,
        clock: Clock,
        chance: Chance,
        metrics: Arc<Metrics>,
    ) -> Self {
        let rules = Rules {
            own_origin: config.server.origin(),
            host_origins: config.security.host_origins.clone(),
            token_delivery: config.security.token_delivery,
            flow_ttl: config.security.flow_ttl,
            session_idle: config.security.session_idle,
            session_max: config.security.session_max,
            on_session_expiry: config.security.on_session_expiry,
            refresh: config.refresh.policy,
            claim_time: config.marketplace.claim_time,
        };
        Self(Arc::new(Parts {
            memory: Memory::new(store.is_exclusive()),
            busy: Mutex::default(),
            renewals: Renewals::default(),
            known_keys: KnownKeys::default(),
            webhooks: Webhooks::new(&config.webhooks, &config.proxies),
            outgoing: Outgoing::default(),
            credentials: CredentialsAlarm::default(),
            watch: Watch::default(),
            accounts: Accounts::new(config.hubspot.account_rate),
            forced: Forced::default(),
            slots: Semaphore::new(config.refresh.max_in_flight),
            stopping: AtomicBool::new(false),
            store,
            hubspot,
            keyring,
            owner: chance.uuid().to_string(),
            clock,
            chance,
            rules,
            metrics,
            gate: Gate::default(),
            tasks: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            waiting: Waiting::default(),
        }))
    }

    /// From here on the service says that it is not ready: nobody new is to be sent to it, and who waits for a change
    /// is answered.
    pub fn begin_stop(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
        self.0.waiting.wake_all();
    }

    /// Whether the process is on its way out.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::SeqCst)
    }

    /// Waits until no work is left that was begun and has to be finished.
    pub async fn drain(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// The clock that the verbs go by.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }
}

/// Waits for detached work. If it panics, so does its caller, whose request is answered with `internal_error`.
async fn joined<T, E: From<StoreError>>(work: JoinHandle<Result<T, E>>) -> Result<T, E> {
    work.await.unwrap_or_else(|why| match why.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        // The runtime is shutting down.
        Err(_) => Err(StoreError::Closed.into()),
    })
}

impl Parts {
    /// Runs work to its end, whatever becomes of the caller who waits for it.
    fn detach<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.tasks.spawn_on(work.in_current_span(), &self.runtime)
    }

    /// To be called after every change to a user's connections, and before it is told to anybody.
    fn changed(&self, user: UserId) {
        self.memory.forget_connections(user);
        self.waiting.wake(Key::User(user));
    }

    fn open_access(&self, token: &Token) -> Result<Secret, OpenError> {
        self.keyring.open(&token.access, context(token, "access", &token.id.to_string()))
    }

    fn open_refresh(&self, token: &Token) -> Result<Secret, OpenError> {
        self.keyring.open(&token.refresh, context(token, "refresh", &token.id.to_string()))
    }

    /// Does a write again until it succeeds or the time is up: what HubSpot has just given exists only in memory.
    async fn insist<T, F>(&self, patience: Duration, write: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_millis(50);
        loop {
            match write().await {
                Err(why) if waited < patience => {
                    tracing::error!(error = %why, "could not save what HubSpot gave; trying again");
                    tokio::time::sleep(pause).await;
                    waited += pause;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                outcome => return outcome,
            }
        }
    }
}

fn context<'a>(token: &'a Token, kind: &'static str, row: &'a str) -> Context<'a> {
    Context { kind, row, generation: token.generation, client_id: &token.client_id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "as ordered")]
    async fn a_panic_in_detached_work_is_no_closed_database() {
        let work = tokio::spawn(async { panic!("as ordered") });
        let _: Result<(), StoreError> = joined(work).await;
    }
}
