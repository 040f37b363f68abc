//! Uninstalls the app from a whole HubSpot account, and ends the connection by which that was asked for.

use std::sync::Arc;
use std::time::Duration;

use super::access_token::{AccessError, AccessTokens};
use super::disconnect::{Disconnected, Disconnects};
use crate::domain::failure::FailureCode;
use crate::domain::id::ConnectionId;
use crate::hubspot::HubSpot;
use crate::services::platform::{Base, Tasks, joined};
use crate::store::{ConnectionStore, StoreError};

/// What became of an app that was to be uninstalled.
#[derive(Debug)]
pub struct Uninstalled {
    /// The code of what went wrong at HubSpot; `None` if the app is uninstalled.
    pub failed: Option<FailureCode>,
    /// What became of the connection here.
    pub ended: Disconnected,
    /// How many other connections there are to the same account: their grants have ended with the app.
    pub others: u64,
}

/// Apps, uninstalled. Clones share everything.
#[derive(Debug, Clone)]
pub struct Uninstalls {
    store: ConnectionStore,
    hubspot: Arc<HubSpot>,
    tasks: Tasks,
    access_tokens: AccessTokens,
    disconnects: Disconnects,
}

impl Uninstalls {
    pub(super) fn new(base: &Base, access_tokens: &AccessTokens, disconnects: &Disconnects) -> Self {
        let Base { store, hubspot, tasks, .. } = base.clone();
        let (access_tokens, disconnects) = (access_tokens.clone(), disconnects.clone());
        Self { store: store.connections, hubspot, tasks, access_tokens, disconnects }
    }

    /// Uninstalls the app from the account of a connection, then ends the connection, whatever HubSpot has answered.
    /// `None` if there is no such connection.
    ///
    /// Other connections to the account are left to their refreshes: HubSpot refuses these, twice, and nobody has to
    /// believe that this account was all that was meant.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the app may be uninstalled by then, and the same call may be made again.
    pub async fn uninstall(&self, id: ConnectionId) -> Result<Option<Uninstalled>, StoreError> {
        // It goes on although the caller goes away: an app that is uninstalled leaves no connection behind.
        let uninstalls = self.clone();
        let work = self.tasks.detach(async move { uninstalls.uninstall_all(id).await });
        joined(work).await
    }

    async fn uninstall_all(&self, id: ConnectionId) -> Result<Option<Uninstalled>, StoreError> {
        let others = self.store.count_siblings(id).await?;
        let failed = match self.access_tokens.access_token(id, Duration::ZERO).await {
            Ok(access) => self.hubspot.uninstall(&access.token).await.err().map(|failure| failure.code),
            Err(AccessError::Unknown) => return Ok(None),
            Err(AccessError::NeedsReauth) => Some(FailureCode::GrantDead),
            Err(AccessError::Unreadable) => Some(FailureCode::IntegrityError),
            Err(AccessError::Unavailable { .. }) => Some(FailureCode::TokenUnavailable),
            Err(AccessError::Store(why)) => return Err(why),
        };
        match failed {
            None => tracing::info!(connection = %id, others, "the app was uninstalled from an account"),
            Some(code) => {
                tracing::warn!(connection = %id, code = code.as_str(), "the app could not be uninstalled; its connection ends");
            }
        }
        // The row goes, and what is to be revoked is noted, in one transaction: a crash leaves nothing undone.
        let ended = self.disconnects.disconnect_any(id).await?;
        Ok(ended.map(|ended| Uninstalled { failed, ended, others }))
    }
}
