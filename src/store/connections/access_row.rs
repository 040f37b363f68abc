//! The columns that are read to return an access token. This is the most frequent read of all, so it reads no more than
//! necessary, and never the refresh token.

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

/// A connection's sealed access token and the related columns.
#[derive(Debug, Clone)]
pub struct AccessRow {
    /// The connection.
    pub id: ConnectionId,
    /// The owner.
    pub user_id: UserId,
    /// The HubSpot app.
    pub client_id: String,
    /// The HubSpot account, if it is known.
    pub portal_id: Option<PortalId>,
    /// The granted scopes.
    pub scopes: Option<Scopes>,
    /// The scopes that were requested but not granted.
    pub missing_scopes: Scopes,
    /// Its state.
    pub state: StoredState,
    /// Incremented with every new pair of tokens.
    pub generation: i64,
    /// The access token.
    pub access: Sealed,
    /// The time at which it was received.
    pub obtained_at: Timestamp,
    /// The expiry time.
    pub expires_at: Timestamp,
    /// The code of the last failed refresh, until one succeeds.
    pub last_error: Option<String>,
    /// The time since which refreshes fail.
    pub error_since: Option<Timestamp>,
}

impl ConnectionStore {
    /// Returns the access token of a connection of any user. On PostgreSQL, concurrent calls share a query.
    pub async fn access_row(&self, id: ConnectionId) -> Result<Option<Arc<AccessRow>>, StoreError> {
        match &self.access {
            Some(read_batcher) => read_batcher.read(id).await,
            None => read_all(&self.db, &[id]).await?.remove(&id).transpose(),
        }
    }
}

/// Reads these connections. A row that cannot be read does not affect the others.
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
