//! What is read of a connection for lending its access token: the most frequent read of all, so no more than is needed,
//! and the refresh token least of all.

use super::row::Row;
use super::{Store, StoreError};
use crate::domain::clock::Moment;
use crate::domain::connection::ConnectionState;
use crate::domain::id::{ConnectionId, PortalId, UserId};
use crate::domain::scopes::Scopes;
use crate::domain::secret::Sealed;

const SQL: &str = "SELECT user_id, client_id, portal_id, scopes, wanted_scopes, state, generation, key_id, \
    access_sealed, obtained_at, expires_at, last_error, error_since FROM token WHERE id = $1";

/// A connection's access token, sealed, and what goes with it.
#[derive(Debug, Clone)]
pub struct AccessRow {
    /// The connection.
    pub id: ConnectionId,
    /// Who owns it.
    pub user_id: UserId,
    /// The HubSpot app.
    pub client_id: String,
    /// Which account, where it is known.
    pub portal_id: Option<PortalId>,
    /// What was granted.
    pub scopes: Scopes,
    /// What was asked for and not granted.
    pub missing_scopes: Scopes,
    /// Its state.
    pub state: ConnectionState,
    /// Rises with every new pair of tokens.
    pub generation: i64,
    /// The access token.
    pub access: Sealed,
    /// When it was received.
    pub obtained_at: Moment,
    /// When it expires.
    pub expires_at: Moment,
    /// The code of the last failed refresh, until one succeeds.
    pub last_error: Option<String>,
    /// Since when refreshes fail.
    pub error_since: Option<Moment>,
}

impl Store {
    /// The access token of one connection, whoever owns it.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn access_row(&self, id: ConnectionId) -> Result<Option<AccessRow>, StoreError> {
        self.one(SQL, [id.to_string().into()]).await?.map(|row| read(id, &row)).transpose()
    }
}

fn read(id: ConnectionId, row: &Row) -> Result<AccessRow, StoreError> {
    let scopes = row.scopes("scopes")?;
    Ok(AccessRow {
        id,
        user_id: row.parsed("user_id")?,
        client_id: row.get("client_id")?,
        portal_id: row.get::<Option<i64>>("portal_id")?.map(PortalId),
        missing_scopes: row.scopes("wanted_scopes")?.missing_from(&scopes),
        scopes,
        state: row.parsed("state")?,
        generation: row.get("generation")?,
        access: row.sealed("key_id", "access_sealed")?,
        obtained_at: row.moment("obtained_at")?,
        expires_at: row.moment("expires_at")?,
        last_error: row.get("last_error")?,
        error_since: row.maybe_moment("error_since")?,
    })
}
