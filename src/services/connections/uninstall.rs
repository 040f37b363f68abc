//! Uninstalls the app from a whole HubSpot account, and ends the connection that was used for it.

use std::sync::Arc;
use std::time::Duration;

use super::access_token::{AccessError, AccessTokens};
use super::disconnect::{Disconnected, Disconnects};
use crate::domain::clock::Clock;
use crate::domain::failure::FailureCode;
use crate::domain::id::ConnectionId;
use crate::hubspot::HubSpot;
use crate::services::platform::{Base, Changes, Tasks, joined};
use crate::store::{ConnectionStore, StoreError};

/// The result of uninstalling the app.
#[derive(Debug)]
pub struct Uninstalled {
    /// The code of the failure at HubSpot; `None` if the app is uninstalled.
    pub failed: Option<FailureCode>,
    /// The connection that was ended here.
    pub ended: Disconnected,
    /// The number of other connections to the same account that were suspended.
    pub others: usize,
}

/// Uninstalls the app from accounts. Clones share everything.
#[derive(Debug, Clone)]
pub struct Uninstalls {
    store: ConnectionStore,
    hubspot: Arc<HubSpot>,
    clock: Clock,
    tasks: Tasks,
    changes: Changes,
    access_tokens: AccessTokens,
    disconnects: Disconnects,
}

impl Uninstalls {
    pub(super) fn new(base: &Base, access_tokens: &AccessTokens, disconnects: &Disconnects) -> Self {
        let Base { store, hubspot, clock, tasks, changes, .. } = base.clone();
        let (access_tokens, disconnects) = (access_tokens.clone(), disconnects.clone());
        Self { store: store.connections, hubspot, clock, tasks, changes, access_tokens, disconnects }
    }

    /// Uninstalls the app from the account of a connection, then ends the connection, whatever HubSpot has answered.
    /// `None` if there is no such connection.
    ///
    /// If HubSpot has uninstalled it, the other connections to the account become `needs_reauth`: HubSpot accepts
    /// none of their tokens from now on.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the app may be uninstalled by then, and the same call may be made again.
    pub async fn uninstall(&self, id: ConnectionId) -> Result<Option<Uninstalled>, StoreError> {
        // Continues when the caller goes away: an app that is uninstalled must leave no connection behind.
        let uninstalls = self.clone();
        let work = self.tasks.detach(async move { uninstalls.uninstall_all(id).await });
        joined(work).await
    }

    async fn uninstall_all(&self, id: ConnectionId) -> Result<Option<Uninstalled>, StoreError> {
        let asked_at = self.clock.now();
        let failed = match self.access_tokens.access_token(id, Duration::ZERO).await {
            Ok(access) => self.hubspot.uninstall(&access.token).await.err().map(|failure| failure.code),
            Err(AccessError::Unknown) => return Ok(None),
            Err(AccessError::NeedsReauth) => Some(FailureCode::GrantDead),
            Err(AccessError::Unreadable) => Some(FailureCode::IntegrityError),
            Err(AccessError::Unavailable { .. }) => Some(FailureCode::TokenUnavailable),
            Err(AccessError::Store(why)) => return Err(why),
        };
        let mut others = 0;
        match failed {
            None => {
                let users = self.store.suspend_siblings(id, asked_at, self.clock.now()).await?;
                others = users.len();
                users.into_iter().for_each(|user| self.changes.publish(user));
                tracing::info!(connection = %id, others, "app uninstalled");
            }
            Some(code) => {
                tracing::warn!(connection = %id, code = code.as_str(), "uninstalling the app failed; connection disconnected");
            }
        }
        // The row is deleted and its revocation queued in one transaction: a crash leaves nothing undone.
        let ended = self.disconnects.disconnect_any(id).await?;
        Ok(ended.map(|ended| Uninstalled { failed, ended, others }))
    }
}
