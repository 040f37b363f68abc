//! Rows of TokenRefreshJob: reschedule, fail, give up.

use crate::domain::clock::Timestamp;
use crate::domain::connection::StoredState;
use crate::domain::failure::FailureCode;
use crate::domain::id::ConnectionId;
use crate::domain::refresh_job::{Next, TokenRefreshJob};
use crate::store::connections::token::suspend;
use crate::store::db::values;
use crate::store::{Backlog, ConnectionStore, StoreError, Tx};

impl ConnectionStore {
    /// Returns the time of the next refresh of a connection.
    pub async fn refresh_due_at(&self, id: ConnectionId) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT run_at FROM token_refresh_job WHERE connection_id = $1";
        self.db.one(sql, [id.into()]).await?.map(|row| row.get("run_at")).transpose()
    }

    /// Returns the due refreshes.
    pub async fn due_refreshes(&self, now: Timestamp) -> Result<Backlog, StoreError> {
        let sql =
            "SELECT COUNT(*) AS waiting, MIN(run_at) AS oldest FROM token_refresh_job WHERE run_at <= $1";
        self.db.backlog(sql, [now.into()]).await
    }

    /// Returns the number of connections with one `invalid_grant` response and no second attempt yet, for which HubSpot
    /// has announced no uninstall.
    pub async fn count_invalid_grants(&self) -> Result<u64, StoreError> {
        let sql =
            "SELECT COUNT(*) AS struck FROM token_refresh_job WHERE strikes > 0 AND announced_at IS NULL";
        let row = self.db.one(sql, []).await?;
        row.map_or(Ok(0), |row| row.get::<i64>("struck")).map(|count| u64::try_from(count).unwrap_or(0))
    }

    /// Records a failure and the next step.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the lease then expires by itself.
    pub async fn fail_refresh(
        &self,
        job: TokenRefreshJob,
        error: FailureCode,
        next: Next,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.db.write(move |tx| Box::pin(fail(tx, job.clone(), error, next.clone(), now))).await
    }
}

/// Creates the jobs of these connections, or resets them: the raised fence rejects the holder of a lease. A recreated
/// job starts above every fence of the deleted one.
pub(in crate::store) async fn schedule(
    tx: &Tx<'_>,
    due: impl ExactSizeIterator<Item = (ConnectionId, Timestamp)>,
) -> Result<(), StoreError> {
    if due.len() == 0 {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO token_refresh_job (connection_id, run_at, fence) {} ON CONFLICT (connection_id) \
         DO UPDATE SET run_at = excluded.run_at, attempts = 0, strikes = 0, lease_owner = NULL, \
         lease_until = NULL, intent_at = NULL, announced_at = NULL, fence = token_refresh_job.fence + 1",
        values(tx.backend(), due.len(), 3, "")
    );
    let fence = tx.clock.now().unix_ms();
    let rows = due.flat_map(|(connection, run_at)| [connection.into(), run_at.into(), fence.into()]);
    tx.run(&sql, rows).await.map(|_| ())
}

async fn fail(
    tx: &Tx<'_>,
    job: TokenRefreshJob,
    error: FailureCode,
    next: Next,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let id = job.connection_id;
    let Next::Retry { run_at, attempts, invalid_grant_count } = next else {
        let lock = tx.for_update();
        let held =
            format!("SELECT 1 AS held FROM token_refresh_job WHERE connection_id = $1 AND fence = $2 {lock}");
        if tx.one(&held, [id.into(), job.fence.into()]).await?.is_none() {
            return Ok(false);
        }
        suspend(tx, id, StoredState::NeedsReauth, error, now).await?;
        return Ok(true);
    };
    // The time that replicas agree on: one with a slow clock must not shorten the pause.
    let run_at = tx.now().await?.plus(run_at.since(now));
    let sql = "UPDATE token_refresh_job SET run_at = $3, attempts = $4, strikes = $5, lease_owner = NULL, \
               lease_until = NULL, intent_at = NULL WHERE connection_id = $1 AND fence = $2";
    let values = [id.into(), job.fence.into(), run_at.into(), attempts.into(), invalid_grant_count.into()];
    if tx.run(sql, values).await? == 0 {
        return Ok(false);
    }
    // The error time of an `invalid_grant` is that of the first such response, whatever has failed before it.
    let since = if job.invalid_grant_count == 0 && invalid_grant_count > 0 {
        "$3"
    } else {
        "COALESCE(error_since, $3)"
    };
    let sql = &format!("UPDATE token SET last_error = $2, error_since = {since} WHERE id = $1");
    tx.run(sql, [id.into(), error.into(), now.into()]).await.map(|_| true)
}
