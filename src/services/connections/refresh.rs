//! Refreshes a token once, across replicas, and never loses the new one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::circuit_breaker::CircuitBreaker;
use super::credentials_alarm::CredentialsAlarm;
use super::token_seal::{context, open_refresh};
use crate::crash;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::id::ConnectionId;
use crate::domain::journal::concerned_until;
use crate::domain::random::Random;
use crate::domain::refresh_job::{Next, TokenRefreshJob};
use crate::domain::secret::Secret;
use crate::domain::token::{RefreshPolicy, Token};
use crate::hubspot::{Grant, HubSpot};
use crate::keyring::{Context, Keyring, OpenError};
use crate::services::platform::{Base, Changes, Tasks, retry_write};
use crate::store::{AcquiredJob, ConnectionStore, RefreshedTokens, RevocationJob, StoreError};
use crate::telemetry::metrics::Metrics;

/// The time for which a commit is retried, practically the life of the process: the database is unavailable, and the
/// new tokens are stored nowhere else.
const COMMIT_RETRY: Duration = Duration::from_secs(24 * 3600);

/// The time for which connections are kept although HubSpot refuses many of them at once.
const MAX_MASS_EVENT: Duration = Duration::from_secs(24 * 3600);

/// The time for which the row that was read with the lease counts as current. A process that was paused in between
/// must not spend a token that another replica is spending, or has spent.
const MAX_JOB_AGE: Duration = Duration::from_secs(1);

/// Refreshes connections. Clones share everything.
#[derive(Debug, Clone)]
pub struct Refreshes(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: ConnectionStore,
    hubspot: Arc<HubSpot>,
    keyring: Arc<Keyring>,
    clock: Clock,
    random: Random,
    metrics: Arc<Metrics>,
    owner: Arc<str>,
    tasks: Tasks,
    changes: Changes,
    policy: RefreshPolicy,
    circuit_breaker: Arc<CircuitBreaker>,
    credentials: CredentialsAlarm,
    /// The connections that this process is refreshing.
    busy: Mutex<HashSet<ConnectionId>>,
}

impl Refreshes {
    pub(super) fn new(base: &Base, policy: RefreshPolicy, circuit_breaker: &Arc<CircuitBreaker>) -> Self {
        let Base { store, hubspot, keyring, clock, random, metrics, owner, tasks, changes, .. } =
            base.clone();
        Self(Arc::new(Parts {
            store: store.connections,
            hubspot,
            keyring,
            clock,
            random,
            metrics,
            owner,
            tasks,
            changes,
            policy,
            circuit_breaker: Arc::clone(circuit_breaker),
            credentials: CredentialsAlarm::new(base),
            busy: Mutex::default(),
        }))
    }

    /// Acquires up to `wanted` due jobs. Each acquired job must be passed to [`Refreshes::refresh`].
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; then HubSpot is not called.
    pub async fn acquire_refreshes(&self, wanted: u32) -> Result<Vec<AcquiredJob>, StoreError> {
        let parts = &self.0;
        let now = parts.clock.now();
        let admitted = parts.circuit_breaker.admit(wanted, now);
        if admitted == 0 {
            return Ok(Vec::new());
        }
        let acquired = parts.store.acquire_due(&parts.owner, admitted).await;
        let begun = acquired.as_ref().map_or(0, Vec::len);
        parts.circuit_breaker.release(admitted.saturating_sub(u32::try_from(begun).unwrap_or(admitted)), now);
        acquired
    }

    /// Refreshes one acquired connection. It runs to its end even if the caller goes away.
    pub fn refresh(&self, acquired: AcquiredJob) -> tokio::task::JoinHandle<()> {
        let refreshes = self.clone();
        self.0.tasks.detach(async move {
            let connection = acquired.job.connection_id;
            // A response for this connection may still be waiting to be written, if the database was unavailable for
            // longer than a lease. Asking again would send a token that is spent.
            let Some(_busy) = BusyGuard::enter(&refreshes, connection) else { return };
            if let Err(why) = refreshes.refresh_under_lease(acquired).await {
                tracing::error!(connection = %connection, error = %why, "failed to record a refresh");
            }
        })
    }

    async fn refresh_under_lease(&self, acquired: AcquiredJob) -> Result<(), StoreError> {
        let parts = &self.0;
        let AcquiredJob { job, mut token, at } = acquired;
        if parts.clock.now().since(at) > MAX_JOB_AGE {
            let Some(newer) = parts.store.token_under(&job).await? else { return Ok(()) };
            token = newer;
        }
        let refresh = match open_refresh(&parts.keyring, &token) {
            Ok(refresh) => refresh,
            Err(why) => {
                let noted = self.unreadable(&token, job, &why).await;
                parts.changes.publish(token.user_id);
                return noted;
            }
        };
        if job.was_interrupted {
            tracing::warn!(connection = %token.id, "earlier refresh was interrupted; retrying with the same refresh token");
        }
        crash::point("refresh.claimed");
        let asked_at = parts.clock.now();
        let answer = parts.hubspot.refresh(&refresh).await;
        parts.metrics.refreshes.answered_after(parts.clock.now().since(asked_at));
        let noted = match answer {
            Ok(grant) => {
                crash::point("refresh.answered");
                parts.circuit_breaker.succeeded(parts.clock.now());
                parts.credentials.note(Ok(())).await;
                self.commit(&token, job, &refresh, grant, asked_at).await
            }
            Err(failure) => {
                crash::point("refresh.failed");
                parts.circuit_breaker.failed(Some(token.id), &failure, parts.clock.now());
                parts.credentials.note(Err(&failure)).await;
                self.note_failure(&token, job, &failure).await
            }
        };
        parts.changes.publish(token.user_id);
        noted
    }

    async fn commit(
        &self,
        token: &Token,
        job: TokenRefreshJob,
        old: &Secret,
        grant: Grant,
        obtained_at: Timestamp,
    ) -> Result<(), StoreError> {
        let parts = &self.0;
        let refresh = grant.refresh.as_ref().unwrap_or(old);
        let row = token.id.to_string();
        let generation = token.generation + 1;
        let next = |kind| Context { generation, ..context(token, kind, &row) };
        let expires_at = obtained_at.plus(grant.expires_in);
        let committed = RefreshedTokens {
            job,
            generation: token.generation,
            access: parts.keyring.seal(&grant.access, next("access")),
            refresh: parts.keyring.seal(refresh, next("refresh")),
            refresh_fingerprint: parts.keyring.fingerprint(refresh),
            other_scopes: grant
                .scopes
                .as_ref()
                .is_some_and(|granted| token.scopes.as_ref().is_some_and(|known| !granted.is_same_as(known))),
            first_scopes: token.scopes.is_none(),
            scopes: grant.scopes,
            obtained_at,
            expires_at,
            refresh_at: parts.policy.refresh_at(obtained_at, expires_at, parts.random.unit()),
        };
        let write = || parts.store.commit_refresh(committed.clone());
        if retry_write(COMMIT_RETRY, write).await? {
            crash::point("refresh.stored");
            parts.metrics.refreshes.succeeded();
            tracing::info!(connection = %token.id, generation, "refreshed");
            return Ok(());
        }
        tracing::info!(connection = %token.id, "refresh result discarded: the connection has changed");
        self.drop_result(token, &committed).await
    }

    /// Revokes the grant that a late refresh has returned, if it is a new one and no connection has it.
    async fn drop_result(&self, token: &Token, late: &RefreshedTokens) -> Result<(), StoreError> {
        let parts = &self.0;
        if late.refresh_fingerprint == token.refresh_fingerprint
            || parts.store.token(token.id).await?.is_some()
            || parts.store.is_in_use(&late.refresh_fingerprint).await?
        {
            return Ok(());
        }
        let orphan = RevocationJob::new(
            token.id,
            late.generation + 1,
            token.client_id.clone(),
            late.refresh.clone(),
            late.refresh_fingerprint.clone(),
            parts.clock.now(),
        );
        parts.store.queue_revocation(orphan).await
    }

    async fn note_failure(
        &self,
        token: &Token,
        job: TokenRefreshJob,
        failure: &Failure,
    ) -> Result<(), StoreError> {
        let parts = &self.0;
        let now = parts.clock.now();
        // Refusals that HubSpot itself has announced are no mass event, however many connections an account has.
        let is_announced = job.announced_at.is_some_and(|at| token.obtained_at <= concerned_until(at));
        if failure.class == FailureClass::GrantDead && job.invalid_grant_count == 0 && !is_announced {
            parts.circuit_breaker.note_invalid_grant();
        }
        let next = match job.after(failure, now, parts.random.unit(), parts.circuit_breaker.is_outage()) {
            Next::GiveUp if !is_announced && self.is_mass_event(token, now).await? => {
                tracing::error!(connection = %token.id, "HubSpot rejects many grants at once; connections are kept and retried");
                job.kept(now, parts.random.unit())
            }
            next => next,
        };
        parts.metrics.refreshes.failed(failure);
        match &next {
            Next::GiveUp => {
                tracing::error!(connection = %token.id, code = failure.code.as_str(), "grant revoked at HubSpot; the user must reconnect");
            }
            Next::Retry { run_at, attempts, .. } => {
                tracing::warn!(connection = %token.id, code = failure.code.as_str(), uncertain = failure.uncertain, attempts,
                    retry_at = run_at.rfc3339(), "refresh failed; will retry");
            }
        }
        parts.store.fail_refresh(job, failure.code, next, now).await.map(|_| ())
    }

    /// Returns whether HubSpot or our configuration is more likely to blame than this connection. A connection that
    /// has been refused for longer than [`MAX_MASS_EVENT`] is no longer kept.
    async fn is_mass_event(&self, token: &Token, now: Timestamp) -> Result<bool, StoreError> {
        let parts = &self.0;
        let is_old = token.error_since.is_some_and(|since| now.since(since) > MAX_MASS_EVENT);
        Ok(!is_old && parts.circuit_breaker.is_mass_event(parts.store.count_invalid_grants().await?, now))
    }

    async fn unreadable(
        &self,
        token: &Token,
        job: TokenRefreshJob,
        why: &OpenError,
    ) -> Result<(), StoreError> {
        let parts = &self.0;
        let now = parts.clock.now();
        tracing::error!(connection = %token.id, error = %why, "stored token could not be decrypted");
        parts.metrics.integrity_errors.inc();
        match why {
            // The key may be configured again; a damaged or misplaced ciphertext cannot be repaired.
            OpenError::UnknownKey(_) => {
                let next =
                    job.after(&Failure::our_fault(FailureCode::UnknownKey), now, parts.random.unit(), false);
                parts.store.fail_refresh(job, FailureCode::UnknownKey, next, now).await.map(|_| ())
            }
            OpenError::Damaged | OpenError::Misplaced => {
                parts.store.mark_damaged(token.id, token.generation, FailureCode::IntegrityError, now).await
            }
        }
    }
}

/// A connection that this process is refreshing, for as long as this lives.
struct BusyGuard(Refreshes, ConnectionId);

impl BusyGuard {
    /// Returns `None` if the connection is being refreshed already.
    fn enter(refreshes: &Refreshes, connection: ConnectionId) -> Option<Self> {
        let mut busy = refreshes.0.busy.lock().expect("nothing panics while it holds this lock");
        let is_new = busy.insert(connection);
        refreshes.0.metrics.refreshes.set_in_flight(busy.len());
        is_new.then(|| Self(refreshes.clone(), connection))
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        let parts = &self.0.0;
        let mut busy = parts.busy.lock().expect("nothing panics while it holds this lock");
        busy.remove(&self.1);
        parts.metrics.refreshes.set_in_flight(busy.len());
    }
}
