//! What a process does for itself: it forgets, and says how it is.

mod readiness;
mod sweep;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::connect::{Connect, ConnectSessions};
use super::connections::{CircuitBreaker, Connections, Upkeep};
use super::marketplace::{Installs, Marketplace};
use super::pending_grants::PendingGrants;
use super::platform::Base;
use super::webhooks::{Deliveries, Webhooks};
use crate::domain::clock::Clock;
use crate::store::Store;

/// What a process does for itself. Clones share everything.
#[derive(Debug, Clone)]
pub struct Maintenance {
    store: Store,
    clock: Clock,
    connect_sessions: ConnectSessions,
    pending_grants: PendingGrants,
    installs: Installs,
    deliveries: Deliveries,
    upkeep: Upkeep,
    circuit_breaker: Arc<CircuitBreaker>,
    stopping: Arc<AtomicBool>,
}

impl Maintenance {
    pub(super) fn new(
        base: &Base,
        connect: &Connect,
        connections: &Connections,
        marketplace: &Marketplace,
        webhooks: &Webhooks,
        stopping: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            store: base.store.clone(),
            clock: base.clock.clone(),
            connect_sessions: connect.sessions.clone(),
            pending_grants: connect.pending_grants.clone(),
            installs: marketplace.installs.clone(),
            deliveries: webhooks.deliveries.clone(),
            upkeep: connections.upkeep.clone(),
            circuit_breaker: Arc::clone(&connections.circuit_breaker),
            stopping: Arc::clone(stopping),
        }
    }
}
