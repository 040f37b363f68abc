//! Grants that await a decision before they become connections.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Timestamp;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId, PendingGrantId, PortalId, UserId};
use crate::domain::pending_grant::GrantSource;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Sealed;

/// A pending grant. It is sealed for the first generation of a connection that does not exist yet.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "pending_grant")]
pub struct Model {
    /// The id of its flow or of its install.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: PendingGrantId,
    /// The reason it is pending.
    pub source: GrantSource,
    /// The owner of the future connection; `None` for an install.
    pub user_id: Option<UserId>,
    /// The connection that it is sealed for.
    pub connection_id: ConnectionId,
    /// The HubSpot app.
    pub client_id: String,
    /// The HubSpot account.
    pub portal_id: PortalId,
    /// The account's website, if HubSpot has named it.
    pub hub_domain: Option<String>,
    /// The e-mail address of the HubSpot user who granted access, if HubSpot has named it. It is not verified.
    pub hub_user: Option<String>,
    /// The granted scopes, if HubSpot has named them.
    pub scopes: Option<Scopes>,
    /// The key of both ciphertexts.
    pub key_id: String,
    /// The access token's ciphertext.
    pub access_sealed: String,
    /// The refresh token's ciphertext.
    pub refresh_sealed: String,
    /// The keyed hash of the refresh token.
    pub refresh_fingerprint: String,
    /// The time at which the tokens were received.
    pub obtained_at: Timestamp,
    /// The expiry time of the access token.
    pub token_expires_at: Timestamp,
    /// The time until which a decision can be made.
    pub expires_at: Timestamp,
    /// The connect session whose backend decides.
    pub connect_session_id: Option<ConnectSessionId>,
}

impl Model {
    /// Returns its flow; `None` for an install.
    pub fn flow(&self) -> Option<FlowId> {
        self.source.flow(self.id)
    }

    /// Returns the access token.
    pub fn access(&self) -> Sealed {
        Sealed { key_id: self.key_id.clone(), ciphertext: self.access_sealed.clone() }
    }

    /// Returns the refresh token.
    pub fn refresh(&self) -> Sealed {
        Sealed { key_id: self.key_id.clone(), ciphertext: self.refresh_sealed.clone() }
    }
}

/// The part of a pending grant that is needed to end it. It can be read even from a damaged row, so that one damaged
/// row does not keep the others from ending.
#[derive(Debug, Clone, Copy, DerivePartialModel)]
#[sea_orm(entity = "Entity")]
pub struct Undecided {
    /// The grant.
    pub id: PendingGrantId,
    /// The reason it is pending.
    pub source: GrantSource,
    /// The connect session whose backend decides.
    pub connect_session_id: Option<ConnectSessionId>,
}
