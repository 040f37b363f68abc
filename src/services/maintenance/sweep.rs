//! Forgets what nobody needs any more: spent AuthRequests, expired sessions and what only they could reach.

use std::time::Duration;

use crate::config::OnSessionExpiry;
use crate::domain::clock::Moment;
use crate::domain::id::{ConnectionId, UserId};
use crate::services::Services;
use crate::store::{Revoke, StoreError};

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
        self.sweep_events().await?;
        self.end_unclaimed_installs(now).await?;
        self.0.store.sweep_anonymous_sessions(now).await?;
        self.end_unreachable(now.minus(LOOK_BACK), now).await
    }

    /// Ends connections that no session reaches any more. HubSpot is told by the background.
    async fn end_unreachable(&self, since: Moment, now: Moment) -> Result<(), StoreError> {
        let users = self.0.store.maybe_unreachable(since, now).await?;
        self.end_of(users).await
    }

    async fn end_of(&self, users: Vec<UserId>) -> Result<(), StoreError> {
        let parts = &self.0;
        let remove = match parts.rules.on_session_expiry {
            OnSessionExpiry::Keep => None,
            OnSessionExpiry::Revoke => Some(Revoke(true)),
            OnSessionExpiry::Forget => Some(Revoke(false)),
        };
        for user in users {
            let ended = parts.store.remove_unreachable(user, remove).await?;
            if ended > 0 {
                parts.changes.publish(user);
                tracing::info!(user = %user, ended, "a session has expired; its connections have ended with it");
            }
        }
        Ok(())
    }

    /// What a start does before it serves: frees what this process held when it died, and looks at the first page of
    /// connections.
    pub async fn begin(&self) -> Result<(), StoreError> {
        if self.0.store.is_exclusive() {
            self.0.store.clear_leases(self.0.clock.now()).await?;
        }
        self.reconcile(None).await.map(|_| ())
    }

    /// Brings jobs, connections and sessions of one page together, after a crash or a restore. Says where the next page
    /// begins; `None` after the last one.
    pub async fn reconcile(&self, after: Option<ConnectionId>) -> Result<Option<ConnectionId>, StoreError> {
        let found = self.0.store.reconcile(after).await?;
        if found.made > 0 {
            tracing::warn!(made = found.made, "connections without a refresh job were given one");
        }
        if self.0.rules.on_session_expiry != OnSessionExpiry::Keep {
            self.end_of(found.without_session).await?;
        }
        Ok(found.next)
    }
}
