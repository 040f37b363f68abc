//! What is read of a connection for lending its access token: the most frequent read of all, so no more than is needed,
//! and the refresh token least of all.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::clock::Timestamp;
use crate::domain::connection::StoredState;
use crate::domain::id::{ConnectionId, PortalId, UserId};
use crate::domain::scopes::Scopes;
use crate::domain::secret::Sealed;
use crate::domain::token::missing;
use crate::store::db::{Database, Row, placeholders};
use crate::store::{ConnectionStore, StoreError};

const COLUMNS: &str = "id, user_id, client_id, portal_id, scopes, wanted_scopes, state, generation, key_id, \
    access_sealed, obtained_at, expires_at, last_error, error_since";

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
    pub scopes: Option<Scopes>,
    /// What was asked for and not granted.
    pub missing_scopes: Scopes,
    /// Its state.
    pub state: StoredState,
    /// Rises with every new pair of tokens.
    pub generation: i64,
    /// The access token.
    pub access: Sealed,
    /// When it was received.
    pub obtained_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The code of the last failed refresh, until one succeeds.
    pub last_error: Option<String>,
    /// Since when refreshes fail.
    pub error_since: Option<Timestamp>,
}

impl ConnectionStore {
    /// Returns the access token of one connection, whoever owns it. PostgreSQL is asked once for callers that come at the same
    /// time.
    pub async fn access_row(&self, id: ConnectionId) -> Result<Option<Arc<AccessRow>>, StoreError> {
        match &self.access {
            Some(read_batcher) => read_batcher.read(id).await,
            None => read_all(&self.db, &[id]).await?.remove(&id).transpose(),
        }
    }
}

/// Reads these connections. A row that cannot be read spoils no other.
pub(in crate::store) async fn read_all(db: &Database, ids: &[ConnectionId]) -> Result<Found, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM token WHERE id IN ({})", placeholders(db.backend(), ids.len()));
    let rows = db.all(&sql, ids.iter().map(|id| (*id).into())).await?;
    rows.iter().map(|row| row.get("id").map(|id| (id, read(id, row).map(Arc::new)))).collect()
}

/// Rows by their ids.
pub(in crate::store) type Found = HashMap<ConnectionId, Result<Arc<AccessRow>, StoreError>>;

fn read(id: ConnectionId, row: &Row) -> Result<AccessRow, StoreError> {
    let scopes = row.granted_scopes("scopes")?;
    Ok(AccessRow {
        id,
        user_id: row.get("user_id")?,
        client_id: row.get("client_id")?,
        portal_id: row.get("portal_id")?,
        missing_scopes: missing(&row.get::<Scopes>("wanted_scopes")?, scopes.as_ref()),
        scopes,
        state: row.get("state")?,
        generation: row.get("generation")?,
        access: row.sealed("key_id", "access_sealed")?,
        obtained_at: row.get("obtained_at")?,
        expires_at: row.get("expires_at")?,
        last_error: row.get("last_error")?,
        error_since: row.get("error_since")?,
    })
}
