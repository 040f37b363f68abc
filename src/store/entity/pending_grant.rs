//! Grants that await a decision before they become connections.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Timestamp;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId, PendingGrantId, PortalId, UserId};
use crate::domain::pending_grant::GrantSource;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Sealed;

/// A pending grant. It is sealed for the first generation of a connection yet to be made.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "pending_grant")]
pub struct Model {
    /// The id of the flow that it came by, or of the install.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: PendingGrantId,
    /// Why it is pending.
    pub source: GrantSource,
    /// Whose connection it would become; none for an install.
    pub user_id: Option<UserId>,
    /// The connection that it is sealed for.
    pub connection_id: ConnectionId,
    /// The HubSpot app.
    pub client_id: String,
    /// The HubSpot account.
    pub portal_id: PortalId,
    /// The account's website, where HubSpot has told it.
    pub hub_domain: Option<String>,
    /// The e-mail address of the person who granted it, where HubSpot has told it. It proves nothing.
    pub hub_user: Option<String>,
    /// What was granted, where HubSpot has told it.
    pub scopes: Option<Scopes>,
    /// The key of both ciphertexts.
    pub key_id: String,
    /// The access token's ciphertext.
    pub access_sealed: String,
    /// The refresh token's ciphertext.
    pub refresh_sealed: String,
    /// The keyed hash of the refresh token.
    pub refresh_fingerprint: String,
    /// When the tokens were received.
    pub obtained_at: Timestamp,
    /// When the access token expires.
    pub token_expires_at: Timestamp,
    /// Until when somebody may decide.
    pub expires_at: Timestamp,
    /// The connect session whose backend decides.
    pub connect_session_id: Option<ConnectSessionId>,
}

impl Model {
    /// Returns the flow that it came by; none for an install.
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

/// What ending a pending grant takes. Of a damaged row it can be read all the same, so that the row keeps no other.
#[derive(Debug, Clone, Copy, DerivePartialModel)]
#[sea_orm(entity = "Entity")]
pub struct Undecided {
    /// The grant.
    pub id: PendingGrantId,
    /// Why it is pending.
    pub source: GrantSource,
    /// The connect session whose backend decides.
    pub connect_session_id: Option<ConnectSessionId>,
}
