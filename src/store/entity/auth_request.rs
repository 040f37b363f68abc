//! Authorization requests.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::auth_request::{AuthRequest, AuthorizationStatus, FlowState, Mode, OpenerVerification};
use crate::domain::clock::Timestamp;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId, PortalId, UserId};
use crate::domain::origin::{Origin, ReturnUrl};
use crate::domain::scopes::Scopes;
use crate::domain::secret::{Hash, Sealed};
use crate::store::StoreError;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "auth_request")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: FlowId,
    /// The hash of the state that HubSpot sends back.
    pub state_hash: Hash,
    /// The hash of the flow cookie that binds it to the browser.
    pub binding_hash: Hash,
    pub user_id: UserId,
    pub client_id: String,
    pub redirect_uri: String,
    pub scopes: Scopes,
    pub optional_scopes: Scopes,
    pub opener_origin: Option<Origin>,
    pub evidence: Option<OpenerVerification>,
    pub portal_id: Option<PortalId>,
    pub pkce_key_id: Option<String>,
    pub pkce_sealed: Option<String>,
    pub status: AuthorizationStatus,
    /// A failure code. A later release may have written an unknown one.
    pub error_code: Option<String>,
    pub connection_id: Option<ConnectionId>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub consumed_at: Option<Timestamp>,
    /// The time at which it ended.
    pub finished_at: Option<Timestamp>,
    pub delivered_at: Option<Timestamp>,
    pub challenge: Option<Hash>,
    pub opener_challenge: Option<Hash>,
    pub return_url: Option<ReturnUrl>,
    pub mode: Option<Mode>,
    pub token_taken_at: Option<Timestamp>,
    pub connect_session_id: Option<ConnectSessionId>,
}

impl Model {
    fn state(&self) -> Result<FlowState, StoreError> {
        let at = self.finished_at.ok_or(StoreError::Unreadable("finished_at"));
        Ok(match self.status {
            AuthorizationStatus::AwaitingUser => FlowState::AwaitingUser,
            AuthorizationStatus::Exchanging => FlowState::Exchanging,
            AuthorizationStatus::Connected => FlowState::Connected {
                connection: self.connection_id.ok_or(StoreError::Unreadable("connection_id"))?,
                at: at?,
            },
            AuthorizationStatus::Failed => {
                let code = self.error_code.as_deref().and_then(|code| code.parse().ok());
                FlowState::Failed { code: code.unwrap_or(FailureCode::ProviderError), at: at? }
            }
            AuthorizationStatus::Cancelled => FlowState::Cancelled { at: at? },
            AuthorizationStatus::Expired => FlowState::Expired,
        })
    }
}

impl TryFrom<Model> for AuthRequest {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            state: row.state()?,
            id: row.id,
            user_id: row.user_id,
            client_id: row.client_id,
            redirect_uri: row.redirect_uri,
            scopes: row.scopes,
            optional_scopes: row.optional_scopes,
            opener: row.opener_origin,
            challenge: row.challenge,
            opener_challenge: row.opener_challenge,
            opener_verification: row.evidence,
            return_url: row.return_url,
            mode: row.mode.unwrap_or_default(),
            connect_session: row.connect_session_id,
            portal_id: row.portal_id,
            pkce: row
                .pkce_key_id
                .zip(row.pkce_sealed)
                .map(|(key_id, ciphertext)| Sealed { key_id, ciphertext }),
            created_at: row.created_at,
            expires_at: row.expires_at,
            is_handed_off: row.delivered_at.is_some(),
            is_token_taken: row.token_taken_at.is_some(),
        })
    }
}
