//! What the services are built from.

use std::sync::Arc;

use super::changes::Changes;
use super::notifier::Notifier;
use super::row_cache::RowCache;
use super::tasks::Tasks;
use crate::domain::chance::Chance;
use crate::domain::clock::Clock;
use crate::hubspot::HubSpot;
use crate::keyring::Keyring;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// What the services are built from. It lives while they are built: each takes what it needs, and can touch nothing
/// else afterwards.
#[derive(Debug)]
pub(in crate::services) struct Base {
    pub store: Store,
    pub hubspot: Arc<HubSpot>,
    pub keyring: Arc<Keyring>,
    pub clock: Clock,
    pub chance: Chance,
    pub metrics: Arc<Metrics>,
    /// Who this process is when it takes leases.
    pub owner: Arc<str>,
    pub tasks: Tasks,
    pub notifier: Notifier,
    pub row_cache: RowCache,
}

impl Base {
    /// To be called on the runtime that outlives the web workers.
    pub fn new(
        store: Store,
        hubspot: HubSpot,
        keyring: Keyring,
        clock: Clock,
        chance: Chance,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            row_cache: RowCache::new(store.is_exclusive()),
            notifier: Notifier::default(),
            tasks: Tasks::on_this_runtime(),
            owner: chance.uuid().to_string().into(),
            store,
            hubspot: Arc::new(hubspot),
            keyring: Arc::new(keyring),
            clock,
            chance,
            metrics,
        }
    }

    pub fn changes(&self) -> Changes {
        Changes::new(self.row_cache.clone(), self.notifier.clone())
    }
}
