//! Connect sessions of the host's backends.

use sea_orm::entity::prelude::*;

use super::Relation;
use super::flag::Flag;
use crate::domain::clock::Timestamp;
use crate::domain::connect_session::ConnectSessionStatus;
use crate::domain::external::ExternalUserId;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId, PortalId, UserId};
use crate::domain::origin::{AllowedOrigins, Origin};
use crate::domain::project::ProjectId;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Hash;

/// A permission from the host's backend for one of its users to connect. It leads to at most one connection.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "connect_session")]
pub struct Model {
    /// Its public id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ConnectSessionId,
    /// The hash of its token.
    pub token_hash: Hash,
    /// The host's user who will own the connection.
    pub external_id: ExternalUserId,
    /// The id of the same user here.
    pub user_id: UserId,
    /// The HubSpot app.
    pub client_id: String,
    /// Required scopes, if they differ from the configuration.
    pub scopes: Option<Scopes>,
    /// Scopes that the account may lack, if they differ from the configuration.
    pub optional_scopes: Option<Scopes>,
    /// Whether connecting fails without all required scopes, if this differs from the configuration.
    pub require_scopes: Option<Flag>,
    /// The only account that may be connected.
    pub portal_id: Option<PortalId>,
    /// The origins whose pages may use it; `None` for all of HOST_ORIGINS.
    pub allowed_origins: Option<AllowedOrigins>,
    /// The URL to which the browser returns at the end.
    pub return_url: Option<String>,
    /// The host's metadata of the connection, as JSON.
    pub metadata: Option<String>,
    /// The name of the requester, shown to the user who opens the hosted link.
    pub requested_by: Option<String>,
    /// Whether the host's backend must confirm the connection.
    pub confirm: Flag,
    /// Whether it has a hosted link, which another user may open.
    pub hosted: Flag,
    /// Its status.
    pub status: ConnectSessionStatus,
    /// The reason the last flow failed.
    pub error_code: Option<String>,
    /// The flow that awaits the backend's confirmation.
    pub flow_id: Option<FlowId>,
    /// The connection that was created, or that is to be reconnected.
    pub connection_id: Option<ConnectionId>,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The time until which flows may start.
    pub expires_at: Timestamp,
    /// The time at which it ended.
    pub finished_at: Option<Timestamp>,
    /// The time at which its hosted link was exchanged for a token that only one page knows.
    pub opened_at: Option<Timestamp>,
    /// The project of the key that created it, to which the connection will belong.
    pub project_id: ProjectId,
}

impl Model {
    /// Returns the status at `now`: a session that was not used in time is expired.
    pub(crate) fn status_at(&self, now: Timestamp) -> ConnectSessionStatus {
        match self.status {
            ConnectSessionStatus::Open if self.expires_at <= now => ConnectSessionStatus::Expired,
            status => status,
        }
    }

    /// Returns whether connecting fails without all required scopes; `None` if the configuration decides.
    pub(crate) fn requires_scopes(&self) -> Option<bool> {
        self.require_scopes.map(Flag::is_set)
    }

    /// Returns whether a page of this origin may use it.
    pub(crate) fn admits(&self, page: &Origin) -> bool {
        self.allowed_origins.as_ref().is_none_or(|allowed| allowed.find(page.as_str()).is_some())
    }
}
