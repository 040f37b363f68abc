//! Deletes rows that are no longer needed: spent authorization requests, and expired sessions with what only they
//! could reach.

use std::time::Duration;

use super::Maintenance;
use crate::store::StoreError;

/// The time span before each round that is searched for connections whose session was never written. The check at
/// startup goes back further.
const SWEEP_OVERLAP: Duration = Duration::from_secs(3600);

impl Maintenance {
    /// Runs one round of the sweep.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the next round continues from there.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let spent = self.connect_store.sweep_auth_requests(now).await?;
        if spent > 0 {
            tracing::debug!(spent, "deleted finished authorization requests");
        }
        self.pending_grants.end_forgotten_grants(now).await?;
        // An authorization request that started before a link expired may still lead to a connection.
        self.connect_store.expire_connect_sessions(now.minus(self.flow_ttl)).await?;
        self.connect_store.sweep_connect_sessions(now).await?;
        self.platform_store.sweep_once(now).await?;
        self.deliveries.sweep_events().await?;
        self.marketplace_store.sweep_installs(now).await?;
        self.platform_store.sweep_anonymous_sessions(now).await?;
        self.upkeep.end_unreachable(now.minus(SWEEP_OVERLAP), now).await
    }
}
