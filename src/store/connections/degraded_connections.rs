//! Degraded connections, whose access token has expired without a successful refresh: found and reported once.

use crate::domain::clock::Timestamp;
use crate::domain::event::EventType;
use crate::domain::id::{ConnectionId, UserId};
use crate::store::db::placeholders;
use crate::store::webhooks::event;
use crate::store::{ConnectionStore, StoreError, Tx};

/// The number of connections that are marked per transaction.
const CONNECTIONS_PER_TRANSACTION: u32 = 500;

impl ConnectionStore {
    /// Marks connections that have become degraded. Returns their owners, and whether there may be more.
    pub async fn note_degraded(&self, now: Timestamp) -> Result<(Vec<UserId>, bool), StoreError> {
        // Usually there are none, and nothing needs to be written.
        let candidates =
            self.db.all(&due(""), [now.into(), i64::from(CONNECTIONS_PER_TRANSACTION).into()]).await?;
        if candidates.is_empty() {
            return Ok((Vec::new(), false));
        }
        let users = self.db.write(move |tx| Box::pin(note(tx, now))).await?;
        Ok((users, candidates.len() == CONNECTIONS_PER_TRANSACTION as usize))
    }
}

/// Returns the query for newly degraded connections. Only a connection that was not refreshed in time has a job that is
/// overdue or has failed. There are few of these, so no index of all tokens by expiry has to be updated with every
/// refresh.
fn due(lock: &str) -> String {
    format!(
        "WITH late AS MATERIALIZED (SELECT connection_id FROM token_refresh_job WHERE run_at <= $1 \
         UNION SELECT connection_id FROM token_refresh_job WHERE attempts > 0) \
         SELECT id, user_id FROM late CROSS JOIN token WHERE token.id = late.connection_id AND state = 'active' \
         AND degraded_since IS NULL AND expires_at <= $1 ORDER BY id LIMIT $2 {lock}"
    )
}

async fn note(tx: &Tx<'_>, now: Timestamp) -> Result<Vec<UserId>, StoreError> {
    let lock =
        if tx.backend() == sea_orm::DbBackend::Postgres { "FOR UPDATE OF token SKIP LOCKED" } else { "" };
    let rows = tx.all(&due(lock), [now.into(), i64::from(CONNECTIONS_PER_TRANSACTION).into()]).await?;
    let ids = rows.iter().map(|row| row.get("id")).collect::<Result<Vec<ConnectionId>, _>>()?;
    mark(tx, &ids, Some(now)).await?;
    event::append_all(tx, EventType::ConnectionDegraded, &ids, None).await?;
    rows.iter().map(|row| row.get("user_id")).collect()
}

/// Clears the mark of connections that work again, and reports their recovery.
pub(in crate::store) async fn recovered(tx: &Tx<'_>, ids: &[ConnectionId]) -> Result<(), StoreError> {
    mark(tx, ids, None).await?;
    event::append_all(tx, EventType::ConnectionRecovered, ids, None).await
}

async fn mark(tx: &Tx<'_>, ids: &[ConnectionId], since: Option<Timestamp>) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let since = since.map_or_else(|| "NULL".to_owned(), |since| since.unix_ms().to_string());
    let placeholders = placeholders(tx.backend(), ids.len());
    let sql = format!("UPDATE token SET degraded_since = {since} WHERE id IN ({placeholders})");
    tx.run(&sql, ids.iter().map(|id| (*id).into())).await.map(|_| ())
}
