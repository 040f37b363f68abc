//! Acquires refresh jobs: under a lease, one process at a time refreshes a connection.

use std::collections::HashMap;

use sea_orm::{DbBackend, EntityTrait, Value};

use crate::domain::clock::Timestamp;
use crate::domain::id::ConnectionId;
use crate::domain::refresh_job::{REFRESH_LEASE, TokenRefreshJob};
use crate::domain::token::{MIN_REFRESH_INTERVAL, Token};
use crate::store::db::{padded, placeholders};
use crate::store::entity::{columns, token, token_refresh_job};
use crate::store::{ConnectionStore, StoreError, Tx};

/// A job under a lease of this process, with the connection at the time of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcquiredJob {
    /// The right to refresh the connection.
    pub job: TokenRefreshJob,
    /// The connection.
    pub token: Token,
    /// The time of the lease, by the clock of this process.
    pub at: Timestamp,
}

/// The result of acquiring the job of one connection.
#[derive(Debug)]
pub enum AcquireResult {
    /// This process holds the lease.
    Acquired(Box<AcquiredJob>),
    /// Another holder has the lease.
    Held,
    /// The job waits after a failure, or the connection has other tokens by now, or is deleted.
    NotNow,
}

impl ConnectionStore {
    /// Acquires up to `limit` due jobs. The lease is committed before HubSpot is called, so a database that cannot be
    /// written to costs no refresh token.
    pub async fn acquire_due(&self, owner: &str, limit: u32) -> Result<Vec<AcquiredJob>, StoreError> {
        let owner = owner.to_owned();
        self.db.write(move |tx| Box::pin(acquire(tx, owner.clone(), limit))).await
    }

    /// Acquires the job of one connection even if it is not due, for a caller that needs a newer token than that of
    /// this generation. Pauses after failures are kept.
    pub async fn acquire_one(
        &self,
        owner: &str,
        id: ConnectionId,
        generation: i64,
    ) -> Result<AcquireResult, StoreError> {
        let owner = owner.to_owned();
        self.db.write(move |tx| Box::pin(acquire_one(tx, owner.clone(), id, generation))).await
    }

    /// Returns the connection of a job, unless another lease was taken since.
    pub async fn token_under(&self, job: &TokenRefreshJob) -> Result<Option<Token>, StoreError> {
        let sql = format!(
            "SELECT {} FROM token WHERE id = $1 AND EXISTS \
             (SELECT 1 FROM token_refresh_job WHERE connection_id = id AND fence = $2)",
            columns::<token::Entity>()
        );
        let found = self.db.one(&sql, [job.connection_id.into(), job.fence.into()]).await?;
        found.map(|row| row.model::<token::Model>().map(Token::from)).transpose()
    }

    /// Returns whether there still is a lease on a connection with tokens of this generation.
    pub async fn is_refreshing(&self, id: ConnectionId, generation: i64) -> Result<bool, StoreError> {
        let sql = "SELECT 1 AS found FROM token JOIN token_refresh_job ON connection_id = id \
                   WHERE id = $1 AND generation = $2 AND lease_until IS NOT NULL";
        Ok(self.db.one(sql, [id.into(), generation.into()]).await?.is_some())
    }
}

/// Takes the lease: `$1` is the time, `$2` the new holder, `$3` the end of the lease. The job must be due already or be
/// made due, so that it is found again if its holder dies.
const TAKE_LEASE: &str = "UPDATE token_refresh_job SET lease_owner = $2, lease_until = $3, fence = fence + 1, \
                    interrupted = CASE WHEN intent_at IS NULL THEN 0 ELSE 1 END, intent_at = $1";

/// Returns the statement that acquires due jobs: `$1` is the time, `$2` the new holder, `$3` the end of the lease, `$4`
/// the limit. If others may acquire jobs concurrently, their rows are skipped.
pub fn acquire_sql(skip_locked: bool) -> String {
    let skip = if skip_locked { "FOR UPDATE SKIP LOCKED" } else { "" };
    // The candidates are fixed first: PostgreSQL may otherwise run a limited subquery again for each row.
    format!(
        "WITH due AS MATERIALIZED (SELECT connection_id FROM token_refresh_job WHERE run_at <= $1 \
         AND (lease_until IS NULL OR lease_until <= $1) ORDER BY run_at LIMIT $4 {skip}) \
         {TAKE_LEASE} WHERE connection_id IN (SELECT connection_id FROM due) RETURNING {}",
        columns::<token_refresh_job::Entity>()
    )
}

async fn acquire(tx: &Tx<'_>, owner: String, limit: u32) -> Result<Vec<AcquiredJob>, StoreError> {
    let now = tx.now().await?;
    let sql = acquire_sql(tx.backend() == DbBackend::Postgres);
    let values = [now.into(), owner.into(), now.plus(REFRESH_LEASE).into(), i64::from(limit).into()];
    with_tokens(tx, take(tx, &sql, values).await?).await
}

/// The update requires the fence that was read: a process that has taken the job since, and may even have finished, has
/// raised it.
async fn acquire_one(
    tx: &Tx<'_>,
    owner: String,
    id: ConnectionId,
    generation: i64,
) -> Result<AcquireResult, StoreError> {
    let now = tx.now().await?;
    let read = "SELECT generation, obtained_at, fence, attempts, run_at, lease_until FROM token \
                JOIN token_refresh_job ON connection_id = id WHERE id = $1";
    let Some(row) = tx.one(read, [id.into()]).await? else { return Ok(AcquireResult::NotNow) };
    if row.get::<i64>("generation")? != generation {
        return Ok(AcquireResult::NotNow);
    }
    if row.get::<Option<Timestamp>>("lease_until")?.is_some_and(|until| until > now) {
        return Ok(AcquireResult::Held);
    }
    // A token that is already expired when it is received must not cause a hot loop.
    let is_new = row.get::<Timestamp>("obtained_at")?.plus(MIN_REFRESH_INTERVAL) > now;
    if is_new || row.get::<i64>("attempts")? > 0 && row.get::<Timestamp>("run_at")? > now {
        return Ok(AcquireResult::NotNow);
    }
    let returned = columns::<token_refresh_job::Entity>();
    let sql = format!(
        "{TAKE_LEASE}, run_at = CASE WHEN run_at > $1 THEN $1 ELSE run_at END \
         WHERE connection_id = $4 AND fence = $5 RETURNING {returned}"
    );
    let fence: i64 = row.get("fence")?;
    let values = [now.into(), owner.into(), now.plus(REFRESH_LEASE).into(), id.into(), fence.into()];
    let acquired = with_tokens(tx, take(tx, &sql, values).await?).await?.pop();
    Ok(acquired.map_or(AcquireResult::Held, |acquired| AcquireResult::Acquired(Box::new(acquired))))
}

/// Reads the connections of these jobs while their rows are locked. A job is deleted with its connection.
async fn with_tokens(tx: &Tx<'_>, jobs: Vec<TokenRefreshJob>) -> Result<Vec<AcquiredJob>, StoreError> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let at = tx.clock.now();
    let ids = padded(jobs.iter().map(|job| job.connection_id.into()).collect());
    let sql = format!(
        "SELECT {} FROM token WHERE id IN ({})",
        columns::<token::Entity>(),
        placeholders(tx.backend(), ids.len())
    );
    let rows = token::Entity::find().from_raw_sql(tx.statement(&sql, ids)).all(&tx.db).await?;
    let mut tokens: HashMap<_, Token> = rows.into_iter().map(|row| (row.id, row.into())).collect();
    let acquired = jobs.into_iter().filter_map(|job| {
        let token = tokens.remove(&job.connection_id)?;
        Some(AcquiredJob { job, token, at })
    });
    Ok(acquired.collect())
}

async fn take(
    tx: &Tx<'_>,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<TokenRefreshJob>, StoreError> {
    let taken = token_refresh_job::Entity::find().from_raw_sql(tx.statement(sql, values));
    Ok(taken.all(&tx.db).await?.into_iter().map(TokenRefreshJob::from).collect())
}
