//! Refresh tokens that must be revoked at HubSpot.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Timestamp;
use crate::domain::id::ConnectionId;
use crate::domain::secret::Sealed;

/// A refresh token that must still be revoked at HubSpot.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "revocation_job")]
pub struct Model {
    /// The connection's id and the generation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The connection that the token belonged to.
    pub connection_id: ConnectionId,
    /// The HubSpot app.
    pub client_id: String,
    /// The key of the ciphertext.
    pub key_id: String,
    /// The refresh token's ciphertext.
    pub refresh_sealed: String,
    /// The keyed hash of the refresh token.
    pub refresh_fingerprint: String,
    /// The generation that it was sealed for.
    pub generation: i64,
    /// The time at which the revocation was queued.
    pub created_at: Timestamp,
    /// The time of the next attempt.
    pub run_at: Timestamp,
    /// Failed attempts so far.
    pub attempts: i64,
}

impl Model {
    /// Returns a job, due at once, that revokes the grant that a connection had, or would have had, in this generation.
    pub fn new(
        connection_id: ConnectionId,
        generation: i64,
        client_id: String,
        refresh: Sealed,
        refresh_fingerprint: String,
        now: Timestamp,
    ) -> Self {
        Self {
            id: Self::id_of(connection_id, generation),
            connection_id,
            client_id,
            key_id: refresh.key_id,
            refresh_sealed: refresh.ciphertext,
            refresh_fingerprint,
            generation,
            created_at: now,
            run_at: now,
            attempts: 0,
        }
    }

    /// Returns the id of the job for this generation of a connection.
    pub fn id_of(connection: ConnectionId, generation: i64) -> String {
        format!("{connection}/{generation}")
    }

    /// Returns the refresh token.
    pub fn refresh(&self) -> Sealed {
        Sealed { key_id: self.key_id.clone(), ciphertext: self.refresh_sealed.clone() }
    }
}
