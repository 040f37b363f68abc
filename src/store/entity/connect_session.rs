//! What the host's backends have said of who is connecting.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Moment;
use crate::domain::connect_session::{ConnectSession, ConnectSessionStatus};
use crate::domain::external::ExternalUserId;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId, PortalId, UserId};
use crate::domain::origin::Origin;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Hash;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "connect_session")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ConnectSessionId,
    /// Of the token that opens it.
    pub token_hash: Hash,
    pub external_id: ExternalUserId,
    pub user_id: UserId,
    pub client_id: String,
    pub scopes: Option<Scopes>,
    pub optional_scopes: Option<Scopes>,
    pub portal_id: Option<PortalId>,
    /// Origins, separated by spaces.
    pub allowed_origins: Option<String>,
    pub return_url: Option<String>,
    pub metadata: Option<String>,
    pub requested_by: Option<String>,
    /// 1 or 0.
    pub confirm: i64,
    /// 1 or 0.
    pub hosted: i64,
    pub status: ConnectSessionStatus,
    pub error_code: Option<String>,
    pub flow_id: Option<FlowId>,
    pub connection_id: Option<ConnectionId>,
    pub created_at: Moment,
    pub expires_at: Moment,
    pub finished_at: Option<Moment>,
    pub opened_at: Option<Moment>,
}

impl Model {
    /// Returns a session as it is stored under the hash of its token.
    pub fn new(session: ConnectSession, token_hash: Hash) -> Self {
        let joined = |origins: Vec<Origin>| origins.iter().map(Origin::as_str).collect::<Vec<_>>().join(" ");
        Self {
            id: session.id,
            token_hash,
            external_id: session.external_id,
            user_id: session.user_id,
            client_id: session.client_id,
            scopes: session.scopes,
            optional_scopes: session.optional_scopes,
            portal_id: session.portal_id,
            allowed_origins: session.allowed_origins.map(joined),
            return_url: session.return_url,
            metadata: session.metadata,
            requested_by: session.requested_by,
            confirm: session.confirm.into(),
            hosted: session.hosted.into(),
            status: session.status,
            error_code: session.error_code,
            flow_id: session.flow_id,
            connection_id: session.connection_id,
            created_at: session.created_at,
            expires_at: session.expires_at,
            finished_at: session.finished_at,
            opened_at: session.opened_at,
        }
    }
}

impl From<Model> for ConnectSession {
    fn from(row: Model) -> Self {
        let split = |text: String| text.split(' ').map(|one| Origin::stored(one.to_owned())).collect();
        Self {
            id: row.id,
            external_id: row.external_id,
            user_id: row.user_id,
            client_id: row.client_id,
            scopes: row.scopes,
            optional_scopes: row.optional_scopes,
            portal_id: row.portal_id,
            allowed_origins: row.allowed_origins.map(split),
            return_url: row.return_url,
            metadata: row.metadata,
            requested_by: row.requested_by,
            confirm: row.confirm != 0,
            hosted: row.hosted != 0,
            status: row.status,
            error_code: row.error_code,
            flow_id: row.flow_id,
            connection_id: row.connection_id,
            created_at: row.created_at,
            expires_at: row.expires_at,
            finished_at: row.finished_at,
            opened_at: row.opened_at,
        }
    }
}
