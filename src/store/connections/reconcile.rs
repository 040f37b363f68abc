//! Bringing rows together that belong together, after a crash or a restore: page by page, so that a million
//! connections cost a start no more than a thousand.

use crate::domain::clock::Moment;
use crate::domain::id::{ConnectionId, UserId};
use crate::store::{ConnectionStore, StoreError, Tx};

/// How many connections are looked at together.
const PAGE: i64 = 2_000;

/// What was found on a page.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// How many active connections had no job; each has one now.
    pub made: u64,
    /// Users of these connections without any session.
    pub without_session: Vec<UserId>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<ConnectionId>,
}

impl ConnectionStore {
    /// Frees what a process held when it died: jobs, and the Webhooks Journal. Only for the one process that serves from this database.
    pub async fn clear_leases(&self, now: Moment) -> Result<(), StoreError> {
        self.db
            .write(move |tx| {
                // A leased job is due for as long as its lease holds.
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

    /// Looks at the page of connections behind `after`: every active one has a job, and no other has.
    pub async fn reconcile(&self, after: Option<ConnectionId>) -> Result<Reconciled, StoreError> {
        let after = after.map_or_else(String::new, |id| id.to_string());
        let page = "SELECT MAX(id) AS last, COUNT(*) AS rows_found FROM \
                    (SELECT id FROM token WHERE id > $1 ORDER BY id LIMIT $2) AS page";
        let Some(row) = self.db.one(page, [after.clone().into(), PAGE.into()]).await? else {
            return Ok(Reconciled::default());
        };
        let Some(last) = row.get::<Option<ConnectionId>>("last")? else { return Ok(Reconciled::default()) };
        let is_full = row.get::<i64>("rows_found")? == PAGE;
        let bounds = [after, last.to_string()];
        let alone = "SELECT DISTINCT user_id FROM token WHERE id > $1 AND id <= $2 \
                     AND NOT EXISTS (SELECT 1 FROM session WHERE session.user_id = token.user_id) \
                     AND NOT EXISTS (SELECT 1 FROM external_user WHERE external_user.user_id = token.user_id)";
        let users = self.db.all(alone, bounds.clone().map(Into::into)).await?;
        Ok(Reconciled {
            made: self.db.write(move |tx| Box::pin(pair(tx, bounds.clone()))).await?,
            without_session: users.iter().map(|row| row.get("user_id")).collect::<Result<_, _>>()?,
            next: is_full.then_some(last),
        })
    }
}

async fn pair(tx: &Tx<'_>, bounds: [String; 2]) -> Result<u64, StoreError> {
    let spare = "DELETE FROM token_refresh_job WHERE connection_id > $1 AND connection_id <= $2 \
                 AND NOT EXISTS (SELECT 1 FROM token WHERE token.id = connection_id AND token.state = 'active')";
    tx.run(spare, bounds.clone().map(Into::into)).await?;
    let missing = "INSERT INTO token_refresh_job (connection_id, run_at, fence) SELECT id, obtained_at, $3 FROM token \
                   WHERE id > $1 AND id <= $2 AND state = 'active' AND NOT EXISTS \
                   (SELECT 1 FROM token_refresh_job WHERE connection_id = token.id) \
                   ON CONFLICT (connection_id) DO NOTHING";
    let [after, last] = bounds.map(sea_orm::Value::from);
    tx.run(missing, [after, last, tx.clock.now().unix_ms().into()]).await
}
