//! Old events, forgotten; deliveries that have waited for too long, given up.

use std::sync::Arc;

use crate::domain::clock::Clock;
use crate::services::platform::Base;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// How long events and their deliveries are kept. Clones share everything.
#[derive(Debug, Clone)]
pub(in crate::services) struct Retention {
    store: Store,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Retention {
    pub(super) fn new(base: &Base) -> Self {
        Self { store: base.store.clone(), clock: base.clock.clone(), metrics: Arc::clone(&base.metrics) }
    }

    /// Forgets old events, and gives up deliveries that have waited for too long.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the next round goes on from there.
    pub async fn sweep_events(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let expired = self.store.expire_deliveries(now).await?;
        if expired > 0 {
            self.metrics.webhooks.expired(expired);
            tracing::warn!(expired, "webhooks have waited for too long and are given up");
        }
        let forgotten = self.store.forget_events(now).await?;
        if forgotten > 0 {
            tracing::debug!(forgotten, "forgot old events");
        }
        Ok(())
    }
}
