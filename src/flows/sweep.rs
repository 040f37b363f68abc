//! Forgets what nobody needs any more: spent AuthRequests, expired sessions and what only they could reach.

use super::Flows;
use crate::config::OnSessionExpiry;
use crate::store::StoreError;

impl Flows {
    /// One round of forgetting.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let parts = &self.0;
        let now = parts.clock.now();
        let spent = parts.store.sweep_auth_requests(now).await?;
        if spent > 0 {
            tracing::debug!(spent, "forgot spent auth requests");
        }
        for user in parts.store.sweep_sessions(now).await? {
            let revoke = match parts.rules.on_session_expiry {
                OnSessionExpiry::Keep => continue,
                OnSessionExpiry::Revoke => true,
                OnSessionExpiry::Forget => false,
            };
            self.disconnect_all(user, revoke).await?;
        }
        Ok(())
    }

    /// Brings jobs and connections together after a crash or a restore.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn reconcile(&self) -> Result<(), StoreError> {
        let made = self.0.store.reconcile_jobs().await?;
        if made > 0 {
            tracing::warn!(made, "connections without a refresh job were given one");
        }
        Ok(())
    }
}
