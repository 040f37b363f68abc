//! Connections with their tokens.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Timestamp;
use crate::domain::connection::StoredState;
use crate::domain::id::{ConnectionId, PortalId, UserId};
use crate::domain::project::ProjectId;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Sealed;
use crate::domain::token::Token;

/// A connection as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "token")]
pub struct Model {
    /// The connection's id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ConnectionId,
    /// The owner.
    pub user_id: UserId,
    /// The HubSpot app that the tokens were granted to.
    pub client_id: String,
    /// The HubSpot account, if it is known.
    pub portal_id: Option<PortalId>,
    /// The customer's website, if HubSpot has named it.
    pub hub_domain: Option<String>,
    /// The e-mail address of the HubSpot user who granted access.
    pub hub_user: Option<String>,
    /// The account's time zone.
    pub time_zone: Option<String>,
    /// The granted scopes; empty while they are unknown.
    pub scopes: Scopes,
    /// The requested scopes.
    pub wanted_scopes: Scopes,
    /// Its state.
    pub state: StoredState,
    /// Incremented with every new pair of tokens.
    pub generation: i64,
    /// The key of both ciphertexts.
    pub key_id: String,
    /// The access token's ciphertext.
    pub access_sealed: String,
    /// The refresh token's ciphertext.
    pub refresh_sealed: String,
    /// The keyed hash of the refresh token.
    pub refresh_fingerprint: String,
    /// The time at which the access token was received.
    pub obtained_at: Timestamp,
    /// The expiry time of the access token.
    pub expires_at: Timestamp,
    /// The code of the last failed refresh, until one succeeds.
    pub last_error: Option<String>,
    /// The time since which refreshes fail.
    pub error_since: Option<Timestamp>,
    /// The time at which the background job fetches the account's details, unless they are known.
    pub details_due_at: Option<Timestamp>,
    /// The number of failed attempts to fetch them.
    pub details_attempts: i64,
    /// The time of the first authorization.
    pub created_at: Timestamp,
    /// The time of the last authorization by the user.
    pub connected_at: Timestamp,
    /// The time at which a problem was reported to the host's backend, until the connection recovers.
    pub degraded_since: Option<Timestamp>,
    /// The host's metadata, as JSON.
    pub metadata: Option<String>,
    /// The keyed hash of the refresh token that it was imported with.
    pub imported_fingerprint: Option<String>,
    /// The required scopes, if the granted ones are not known yet and must contain them.
    pub unsettled_scopes: Option<Scopes>,
    /// The project of its user. It never changes.
    pub project_id: ProjectId,
}

impl From<Model> for Token {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            client_id: row.client_id,
            portal_id: row.portal_id,
            hub_domain: row.hub_domain,
            hub_user: row.hub_user,
            time_zone: row.time_zone,
            scopes: Some(row.scopes).filter(|scopes| !scopes.is_empty()),
            wanted_scopes: row.wanted_scopes,
            state: row.state,
            generation: row.generation,
            access: Sealed { key_id: row.key_id.clone(), ciphertext: row.access_sealed },
            refresh: Sealed { key_id: row.key_id, ciphertext: row.refresh_sealed },
            refresh_fingerprint: row.refresh_fingerprint,
            obtained_at: row.obtained_at,
            expires_at: row.expires_at,
            last_error: row.last_error,
            error_since: row.error_since,
            created_at: row.created_at,
            connected_at: row.connected_at,
            details_due_at: row.details_due_at,
            details_attempts: row.details_attempts,
        }
    }
}
