//! Rows of TokenRefreshJob: claim what is due, commit, reschedule, give up, reconcile.

use super::token::park;
use super::{Store, StoreError, Tx};
use crate::domain::clock::Moment;
use crate::domain::connection::ConnectionState;
use crate::domain::refresh_job::{LEASE, Next, TokenRefreshJob};
use crate::domain::scopes::Scopes;
use crate::domain::secret::Sealed;

/// Jobs that are ours for the time of a lease.
pub type Claimed = Vec<TokenRefreshJob>;

/// New tokens from a refresh, sealed for the generation after the one that was read.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The job under whose lease they were fetched.
    pub job: TokenRefreshJob,
    /// The generation that was read.
    pub generation: i64,
    /// The access token.
    pub access: Sealed,
    /// The refresh token, new or kept.
    pub refresh: Sealed,
    /// The keyed hash of the refresh token.
    pub refresh_fingerprint: String,
    /// What is granted now, where HubSpot said so.
    pub scopes: Option<Scopes>,
    /// When the access token was received.
    pub obtained_at: Moment,
    /// When it expires.
    pub expires_at: Moment,
    /// When it is refreshed next.
    pub refresh_at: Moment,
}

impl Store {
    /// Claims up to `limit` due jobs. The claim is a commit of its own, before HubSpot is asked: a database that cannot
    /// be written to costs no refresh token.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; nothing is claimed then.
    pub async fn claim_due(&self, owner: &str, limit: u32) -> Result<Claimed, StoreError> {
        let owner = owner.to_owned();
        self.write(move |tx| {
            let owner = owner.clone();
            Box::pin(async move { claim(tx, owner, limit).await })
        })
        .await
    }

    /// Stores refreshed tokens and reschedules the job. `false` if the connection is gone or has other tokens by now.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails: the tokens are still only in memory, so try again.
    pub async fn commit_refresh(&self, new: Committed) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let new = new.clone();
            Box::pin(async move { commit(tx, &new).await })
        })
        .await
    }

    /// Notes a failure and what follows from it.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the lease then runs out by itself.
    pub async fn fail_refresh(
        &self,
        job: TokenRefreshJob,
        error: &'static str,
        next: Next,
        now: Moment,
    ) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let (job, next) = (job.clone(), next.clone());
            Box::pin(async move { fail(tx, &job, error, &next, now).await })
        })
        .await
    }

    /// Brings jobs and connections together after a crash or a restore: every active connection has one, and no job is
    /// without. Says how many were made.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn reconcile_jobs(&self) -> Result<u64, StoreError> {
        let exclusive = self.is_exclusive();
        self.write(move |tx| {
            Box::pin(async move {
                let orphans = "DELETE FROM token_refresh_job WHERE NOT EXISTS (SELECT 1 FROM token \
                               WHERE token.id = connection_id AND token.state = 'active')";
                tx.run(orphans, []).await?;
                if exclusive {
                    // Nobody else serves from this file, so whoever held these leases is gone.
                    let leases = "UPDATE token_refresh_job SET lease_owner = NULL, lease_until = NULL \
                                  WHERE lease_until IS NOT NULL";
                    tx.run(leases, []).await?;
                }
                let missing = "INSERT INTO token_refresh_job (connection_id, run_at) SELECT id, obtained_at \
                               FROM token WHERE state = 'active' AND NOT EXISTS \
                               (SELECT 1 FROM token_refresh_job WHERE connection_id = token.id) \
                               ON CONFLICT (connection_id) DO NOTHING";
                tx.run(missing, []).await
            })
        })
        .await
    }
}

async fn claim(tx: &Tx<'_>, owner: String, limit: u32) -> Result<Claimed, StoreError> {
    let now = tx.now().await?;
    let skip = if tx.backend() == sea_orm::DbBackend::Postgres { "FOR UPDATE SKIP LOCKED" } else { "" };
    // The candidates are fixed first: PostgreSQL may otherwise run a limited subquery again for each row.
    let sql = format!(
        "WITH due AS MATERIALIZED (SELECT connection_id FROM token_refresh_job WHERE run_at <= $1 \
         AND (lease_until IS NULL OR lease_until <= $1) ORDER BY run_at LIMIT $2 {skip}) \
         UPDATE token_refresh_job SET lease_owner = $3, lease_until = $4, fence = fence + 1, \
         interrupted = CASE WHEN intent_at IS NULL THEN 0 ELSE 1 END, intent_at = $1 \
         WHERE connection_id IN (SELECT connection_id FROM due) \
         RETURNING connection_id, fence, attempts, strikes, interrupted"
    );
    let values =
        [now.unix_ms().into(), i64::from(limit).into(), owner.into(), now.plus(LEASE).unix_ms().into()];
    let rows = tx.all(&sql, values).await?;
    rows.iter()
        .map(|row| {
            Ok(TokenRefreshJob {
                connection_id: row.parsed("connection_id")?,
                fence: row.get("fence")?,
                attempts: row.get("attempts")?,
                strikes: row.get("strikes")?,
                was_interrupted: row.get::<i64>("interrupted")? != 0,
            })
        })
        .collect()
}

/// The tokens go by their generation alone: whoever has claimed the job meanwhile has asked with the older ones, and
/// these are nowhere else. So the connection is well whatever the other one was told, and the raised fence refuses it.
async fn commit(tx: &Tx<'_>, new: &Committed) -> Result<bool, StoreError> {
    let id = new.job.connection_id.to_string();
    let sql = "UPDATE token SET state = 'active', generation = generation + 1, key_id = $3, access_sealed = $4, refresh_sealed = $5, \
               refresh_fingerprint = $6, obtained_at = $7, expires_at = $8, scopes = COALESCE($9, scopes), \
               last_error = NULL, error_since = NULL WHERE id = $1 AND generation = $2";
    let values = [
        id.clone().into(),
        new.generation.into(),
        new.refresh.key_id.clone().into(),
        new.access.ciphertext.clone().into(),
        new.refresh.ciphertext.clone().into(),
        new.refresh_fingerprint.clone().into(),
        new.obtained_at.unix_ms().into(),
        new.expires_at.unix_ms().into(),
        new.scopes.as_ref().map(Scopes::to_string).into(),
    ];
    if tx.run(sql, values).await? == 0 {
        return Ok(false);
    }
    schedule(tx, id, new.refresh_at).await?;
    Ok(true)
}

/// Creates a connection's job, or takes it over: a raised fence refuses whoever holds its lease.
pub(super) async fn schedule(tx: &Tx<'_>, connection: String, run_at: Moment) -> Result<(), StoreError> {
    let sql = "INSERT INTO token_refresh_job (connection_id, run_at) VALUES ($1, $2) ON CONFLICT (connection_id) \
               DO UPDATE SET run_at = excluded.run_at, attempts = 0, strikes = 0, lease_owner = NULL, \
               lease_until = NULL, intent_at = NULL, fence = token_refresh_job.fence + 1";
    tx.run(sql, [connection.into(), run_at.unix_ms().into()]).await.map(|_| ())
}

async fn fail(
    tx: &Tx<'_>,
    job: &TokenRefreshJob,
    error: &str,
    next: &Next,
    now: Moment,
) -> Result<bool, StoreError> {
    let id = job.connection_id.to_string();
    let Next::Retry { run_at, attempts, strikes } = next else {
        let lock = tx.for_update();
        let held =
            format!("SELECT 1 AS held FROM token_refresh_job WHERE connection_id = $1 AND fence = $2 {lock}");
        if tx.one(&held, [id.into(), job.fence.into()]).await?.is_none() {
            return Ok(false);
        }
        park(tx, job.connection_id, ConnectionState::NeedsReauth, error, now).await?;
        return Ok(true);
    };
    let sql = "UPDATE token_refresh_job SET run_at = $3, attempts = $4, strikes = $5, lease_owner = NULL, \
               lease_until = NULL, intent_at = NULL WHERE connection_id = $1 AND fence = $2";
    let values =
        [id.clone().into(), job.fence.into(), run_at.unix_ms().into(), (*attempts).into(), (*strikes).into()];
    if tx.run(sql, values).await? == 0 {
        return Ok(false);
    }
    let sql = "UPDATE token SET last_error = $2, error_since = COALESCE(error_since, $3) WHERE id = $1";
    tx.run(sql, [id.into(), error.to_owned().into(), now.unix_ms().into()]).await.map(|_| true)
}
