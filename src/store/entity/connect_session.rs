//! What the host's backends have said of who is connecting.

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

/// A host's word that one of its users may connect. It leads to one connection at most.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "connect_session")]
pub struct Model {
    /// Its public id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ConnectSessionId,
    /// Of the token that opens it.
    pub token_hash: Hash,
    /// The host's user whose connection it is to be.
    pub external_id: ExternalUserId,
    /// The same user, here.
    pub user_id: UserId,
    /// The HubSpot app.
    pub client_id: String,
    /// Required scopes, if other than the configured ones.
    pub scopes: Option<Scopes>,
    /// Scopes that the account may lack, if other than the configured ones.
    pub optional_scopes: Option<Scopes>,
    /// Whether connecting fails without all required scopes, if other than configured.
    pub require_scopes: Option<Flag>,
    /// The one account that may be connected.
    pub portal_id: Option<PortalId>,
    /// The pages that may use it; `None` for all that are listed in HOST_ORIGINS.
    pub allowed_origins: Option<AllowedOrigins>,
    /// Where the browser goes in the end.
    pub return_url: Option<String>,
    /// What the host keeps with the connection, as JSON.
    pub metadata: Option<String>,
    /// Who is asking, for the person who opens the hosted link.
    pub requested_by: Option<String>,
    /// Whether the host's backend must confirm the connection.
    pub confirm: Flag,
    /// Whether it goes by a link that somebody else may open.
    pub hosted: Flag,
    /// How far it has come.
    pub status: ConnectSessionStatus,
    /// Why the last attempt came to nothing.
    pub error_code: Option<String>,
    /// The attempt that awaits the backend's word.
    pub flow_id: Option<FlowId>,
    /// What it led to; of one that is to renew a connection, that connection.
    pub connection_id: Option<ConnectionId>,
    /// When the backend made it.
    pub created_at: Timestamp,
    /// Until when attempts may begin.
    pub expires_at: Timestamp,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
    /// When its hosted link was exchanged for a token that one page alone knows.
    pub opened_at: Option<Timestamp>,
    /// The project of the key that made it. The HubSpot connection will belong to it.
    pub project_id: ProjectId,
}

impl Model {
    /// How far it has come, seen at `now`: one that nobody used in time is expired.
    pub(crate) fn status_at(&self, now: Timestamp) -> ConnectSessionStatus {
        match self.status {
            ConnectSessionStatus::Open if self.expires_at <= now => ConnectSessionStatus::Expired,
            status => status,
        }
    }

    /// Whether connecting fails without all required scopes; `None` if the configuration decides.
    pub(crate) fn requires_scopes(&self) -> Option<bool> {
        self.require_scopes.map(Flag::is_set)
    }

    /// Whether a page of this origin may use it.
    pub(crate) fn admits(&self, page: &Origin) -> bool {
        self.allowed_origins.as_ref().is_none_or(|allowed| allowed.find(page.as_str()).is_some())
    }
}
