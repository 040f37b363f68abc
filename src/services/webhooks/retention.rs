//! Deletion of old events, and expiry of deliveries that have waited for too long.

use super::deliveries::Deliveries;
use crate::store::StoreError;

impl Deliveries {
    /// Deletes old events, and marks deliveries that have waited for too long as failed.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the next round continues from there.
    pub(in crate::services) async fn sweep_events(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let expired = self.store.expire_deliveries(now).await?;
        if expired > 0 {
            self.metrics.webhooks.expired(expired);
            tracing::warn!(expired, "webhook deliveries expired");
        }
        let forgotten = self.store.forget_events(now).await?;
        if forgotten > 0 {
            tracing::debug!(forgotten, "deleted old events");
        }
        Ok(())
    }
}
