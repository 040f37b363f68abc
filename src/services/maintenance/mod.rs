//! Maintenance: the sweep of old rows, readiness, and measurements.

mod measurements;
mod readiness;
mod sweep;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::connections::{CircuitBreaker, Connections, Upkeep};
use super::pending_grants::PendingGrants;
use super::platform::Base;
use super::webhooks::{Deliveries, Webhooks};
use crate::config::Config;
use crate::domain::clock::Clock;
use crate::store::{ConnectStore, Database, MarketplaceStore, PlatformStore};
use measurements::Measurements;

/// Maintenance of a process. Clones share everything.
#[derive(Debug, Clone)]
pub struct Maintenance {
    connect_store: ConnectStore,
    marketplace_store: MarketplaceStore,
    platform_store: PlatformStore,
    database: Database,
    clock: Clock,
    pending_grants: PendingGrants,
    deliveries: Deliveries,
    upkeep: Upkeep,
    circuit_breaker: Arc<CircuitBreaker>,
    pub(crate) measurements: Measurements,
    /// The lifetime of an authorization request.
    flow_ttl: Duration,
    stopping: Arc<AtomicBool>,
}

impl Maintenance {
    pub(super) fn new(
        base: &Base,
        config: &Config,
        pending_grants: PendingGrants,
        connections: &Connections,
        webhooks: &Webhooks,
        stopping: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            connect_store: base.store.connect.clone(),
            marketplace_store: base.store.marketplace.clone(),
            platform_store: base.store.platform.clone(),
            database: base.store.database().clone(),
            clock: base.clock.clone(),
            pending_grants,
            deliveries: webhooks.deliveries.clone(),
            upkeep: connections.upkeep.clone(),
            circuit_breaker: Arc::clone(&connections.circuit_breaker),
            measurements: Measurements::new(base, connections, webhooks),
            flow_ttl: config.security.flow_ttl,
            stopping: Arc::clone(stopping),
        }
    }
}
