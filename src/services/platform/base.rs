//! The parts that the services are built from.

use std::sync::Arc;

use super::changes::Changes;
use super::notifier::Notifier;
use super::row_cache::RowCache;
use super::tasks::Tasks;
use crate::domain::clock::Clock;
use crate::domain::random::Random;
use crate::hubspot::HubSpot;
use crate::keyring::Keyring;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// The parts that the services are built from. Each service keeps those that it uses.
#[derive(Debug, Clone)]
pub(in crate::services) struct Base {
    pub store: Store,
    pub hubspot: Arc<HubSpot>,
    pub keyring: Arc<Keyring>,
    pub clock: Clock,
    pub random: Random,
    pub metrics: Arc<Metrics>,
    /// The name of this process as the owner of leases.
    pub owner: Arc<str>,
    pub tasks: Tasks,
    pub notifier: Notifier,
    pub row_cache: RowCache,
    pub changes: Changes,
}
