//! Sign-in of browsers that have no session.

use crate::domain::auth_request::{AuthRequest, FlowState, HANDOFF_WINDOW};
use crate::domain::clock::Clock;
use crate::domain::id::{FlowId, UserId};
use crate::domain::secret::Secret;
use crate::services::connections::ConnectionList;
use crate::services::platform::Base;
use crate::store::{ConnectStore, ConnectionStore, PlatformStore, StoreError};

/// Sign-in of browsers that have no session. Clones share everything.
#[derive(Debug, Clone)]
pub struct SignIns {
    connect_store: ConnectStore,
    connection_store: ConnectionStore,
    platform_store: PlatformStore,
    clock: Clock,
    list: ConnectionList,
}

impl SignIns {
    pub(super) fn new(base: &Base, list: &ConnectionList) -> Self {
        Self {
            connect_store: base.store.connect.clone(),
            connection_store: base.store.connections.clone(),
            platform_store: base.store.platform.clone(),
            clock: base.clock.clone(),
            list: list.clone(),
        }
    }

    /// Returns whether a browser without a session can be signed in as this user: the user has no connections, or the
    /// response with the user's new session was lost.
    pub(super) async fn may_sign_in(&self, user: UserId) -> Result<bool, StoreError> {
        if self.list.connections(user).await?.is_empty() {
            return Ok(true);
        }
        let since = self.clock.now().minus(HANDOFF_WINDOW);
        Ok(!self.platform_store.has_seen_session(user).await?
            && self.platform_store.has_unseen_session(user, since).await?)
    }

    /// Returns the user whose session was lost with the response to the callback, for the browser that holds the
    /// cookie of the request. `None` if the session has been seen, or if the outcome is older than
    /// [`HANDOFF_WINDOW`].
    pub async fn lost_session(&self, flow: FlowId, binding: &Secret) -> Result<Option<UserId>, StoreError> {
        match self.connect_store.flow(flow, binding.hash()).await? {
            Some(request) => self.lost_session_of(&request).await,
            None => Ok(None),
        }
    }

    pub(super) async fn lost_session_of(&self, request: &AuthRequest) -> Result<Option<UserId>, StoreError> {
        let (FlowState::Connected { connection, .. }, None) = (request.state, request.connect_session) else {
            return Ok(None);
        };
        if request.is_over(self.clock.now()) {
            return Ok(None);
        }
        let Some(token) = self.connection_store.token(connection).await? else { return Ok(None) };
        Ok((!self.platform_store.has_seen_session(token.user_id).await?).then_some(token.user_id))
    }
}
