//! Repairs connections and jobs that do not match after a crash or a restore. Works page by page, so that a start with
//! a million connections takes no longer than with a thousand.

use std::collections::BTreeSet;

use crate::domain::clock::Timestamp;
use crate::domain::connection::StoredState;
use crate::domain::id::{ConnectionId, UserId};
use crate::store::{ConnectionStore, StoreError, Tx};

/// The number of connections per page.
const CONNECTIONS_PER_TRANSACTION: u32 = 500;

/// The result of reconciling a page.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// The number of active connections without a job; each has one now.
    pub made: u64,
    /// Owners of these connections who have no session.
    pub without_session: BTreeSet<UserId>,
    /// The start of the next page; `None` after the last one.
    pub next: Option<ConnectionId>,
}

impl ConnectionStore {
    /// Releases the leases of a process that died, on jobs and on the Webhooks Journal. Only for the one process that
    /// serves from this database.
    pub async fn clear_leases(&self, now: Timestamp) -> Result<(), StoreError> {
        self.db
            .write(move |tx| {
                // A leased job stays due for as long as its lease holds.
                let sql = "UPDATE token_refresh_job SET lease_owner = NULL, lease_until = NULL \
                           WHERE run_at <= $1 AND lease_until IS NOT NULL";
                let journal = "UPDATE journal_reader SET lease_owner = NULL, lease_until = NULL";
                Box::pin(async move {
                    tx.run(sql, [now.into()]).await?;
                    tx.run(journal, []).await.map(|_| ())
                })
            })
            .await
    }

    /// Repairs the page of connections after `after`: active connections get a job, and others lose theirs.
    pub async fn reconcile(&self, after: Option<ConnectionId>) -> Result<Reconciled, StoreError> {
        let after = after.map_or_else(String::new, |id| id.to_string());
        // The states are compared in code: in the statement, the comparison would make SQLite read all active
        // connections.
        let page = "SELECT token.id, token.state, job.connection_id AS job, \
                    (SELECT token.user_id WHERE \
                     NOT EXISTS (SELECT 1 FROM session WHERE session.user_id = token.user_id) \
                    AND NOT EXISTS (SELECT 1 FROM external_user WHERE external_user.user_id = token.user_id)) AS alone \
                    FROM token LEFT JOIN token_refresh_job AS job ON job.connection_id = token.id \
                    WHERE token.id > $1 ORDER BY token.id LIMIT $2";
        let rows = self.db.all(page, [after.into(), i64::from(CONNECTIONS_PER_TRANSACTION).into()]).await?;
        let mut found = Reconciled::default();
        let (mut missing, mut spare) = (Vec::new(), Vec::new());
        for row in &rows {
            let id: ConnectionId = row.get("id")?;
            let is_active = row.get::<StoredState>("state")? == StoredState::Active;
            match (is_active, row.get::<Option<ConnectionId>>("job")?.is_some()) {
                (true, false) => missing.push(id),
                (false, true) => spare.push(id),
                _ => {}
            }
            found.without_session.extend(row.get::<Option<UserId>>("alone")?);
            found.next = (rows.len() == CONNECTIONS_PER_TRANSACTION as usize).then_some(id);
        }
        // Usually there is nothing to repair.
        if !missing.is_empty() || !spare.is_empty() {
            found.made = self.db.write(move |tx| Box::pin(pair(tx, missing.clone(), spare.clone()))).await?;
        }
        Ok(found)
    }
}

/// Creates the missing jobs and deletes the spare ones. The states of the connections may have changed since.
async fn pair(tx: &Tx<'_>, missing: Vec<ConnectionId>, spare: Vec<ConnectionId>) -> Result<u64, StoreError> {
    for id in spare {
        let delete = "DELETE FROM token_refresh_job WHERE connection_id = $1 \
                      AND NOT EXISTS (SELECT 1 FROM token WHERE id = $1 AND state = 'active')";
        tx.run(delete, [id.into()]).await?;
    }
    let mut made = 0;
    for id in missing {
        let insert = "INSERT INTO token_refresh_job (connection_id, run_at, fence) SELECT id, obtained_at, $2 \
                      FROM token WHERE id = $1 AND state = 'active' ON CONFLICT (connection_id) DO NOTHING";
        made += tx.run(insert, [id.into(), tx.clock.now().unix_ms().into()]).await?;
    }
    Ok(made)
}
