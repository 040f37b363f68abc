//! Forgets what nobody needs any more: spent AuthRequests, expired sessions and what only they could reach.

use std::time::Duration;

use crate::services::Services;
use crate::store::StoreError;

/// How far back a round looks for connects whose session was never written. The look at the start goes back further.
const LOOK_BACK: Duration = Duration::from_secs(3600);

impl Services {
    /// One round of forgetting.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the next round goes on from there.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        let spent = self.0.store.sweep_auth_requests(now).await?;
        if spent > 0 {
            tracing::debug!(spent, "forgot spent auth requests");
        }
        self.end_forgotten_grants(now).await?;
        self.forget_connect_sessions(now).await?;
        self.0.store.sweep_once(now).await?;
        self.webhooks.retention.sweep_events().await?;
        self.marketplace.installs.end_unclaimed_installs(now).await?;
        self.0.store.sweep_anonymous_sessions(now).await?;
        self.connections.upkeep.end_unreachable(now.minus(LOOK_BACK), now).await
    }
}
