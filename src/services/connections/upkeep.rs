//! Connections that change with time: an access token expires, the last session that reached a connection ends.

use crate::config::OnSessionExpiry;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::id::{ConnectionId, UserId};
use crate::services::platform::{Base, Changes};
use crate::store::{ConnectionStore, PlatformStore, Revoke, StoreError};

/// Changes of connections with time. Clones share everything.
#[derive(Debug, Clone)]
pub struct Upkeep {
    connection_store: ConnectionStore,
    platform_store: PlatformStore,
    /// Whether this process is the only writer.
    is_exclusive: bool,
    clock: Clock,
    changes: Changes,
    on_session_expiry: OnSessionExpiry,
}

impl Upkeep {
    pub(super) fn new(base: &Base, on_session_expiry: OnSessionExpiry) -> Self {
        let Base { store, clock, changes, .. } = base.clone();
        let is_exclusive = store.database().is_exclusive();
        Self {
            connection_store: store.connections,
            platform_store: store.platform,
            is_exclusive,
            clock,
            changes,
            on_session_expiry,
        }
    }

    /// Publishes connections whose access token has expired. Returns their number.
    pub async fn note_degraded(&self) -> Result<usize, StoreError> {
        let mut all = 0;
        loop {
            let (users, more) = self.connection_store.note_degraded(self.clock.now()).await?;
            all += users.len();
            let none = users.is_empty();
            for user in users {
                self.changes.publish(user);
            }
            if !more || none {
                return Ok(all);
            }
        }
    }

    /// Ends connections that no session reaches any more. A background job revokes their grants at HubSpot.
    pub(in crate::services) async fn end_unreachable(
        &self,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let users = self.platform_store.users_maybe_unreachable(since, now).await?;
        self.end_of(users).await
    }

    async fn end_of(&self, users: impl IntoIterator<Item = UserId>) -> Result<(), StoreError> {
        let remove = match self.on_session_expiry {
            OnSessionExpiry::Keep => None,
            OnSessionExpiry::Revoke => Some(Revoke(true)),
            OnSessionExpiry::Forget => Some(Revoke(false)),
        };
        for user in users {
            let ended = self.platform_store.remove_unreachable(user, remove).await?;
            if ended > 0 {
                self.changes.publish(user);
                tracing::info!(user = %user, ended, "session expired; connections ended");
            }
        }
        Ok(())
    }

    /// Prepares for serving: frees the leases that this process held when it crashed, and reconciles the first page
    /// of connections.
    pub async fn begin(&self) -> Result<(), StoreError> {
        if self.is_exclusive {
            self.connection_store.clear_leases(self.clock.now()).await?;
        }
        self.reconcile(None).await.map(|_| ())
    }

    /// Reconciles jobs, connections and sessions of one page, after a crash or a restore. Returns the start of the
    /// next page; `None` after the last one.
    pub async fn reconcile(&self, after: Option<ConnectionId>) -> Result<Option<ConnectionId>, StoreError> {
        let found = self.connection_store.reconcile(after).await?;
        if found.made > 0 {
            tracing::warn!(made = found.made, "created missing refresh jobs");
        }
        if self.on_session_expiry != OnSessionExpiry::Keep {
            self.end_of(found.without_session).await?;
        }
        Ok(found.next)
    }
}
