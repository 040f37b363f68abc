//! Ends connections: here at once, at HubSpot as soon as it answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{Instrument, error_span};

use crate::crash;
use crate::domain::clock::Clock;
use crate::domain::connection::Revocation;
use crate::domain::id::{ConnectionId, UserId};
use crate::domain::refresh_job::backoff;
use crate::hubspot::HubSpot;
use crate::keyring::{Context, Keyring, OpenError};
use crate::services::platform::{Base, Changes, Tasks};
use crate::store::{ConnectionStore, Removed, RevocationJob, StoreError};

/// The longest wait of a caller for HubSpot's response, before it receives `queued`.
pub(in crate::services) const REVOKE_WAIT: Duration = Duration::from_secs(5);
/// The time after which HubSpot is no longer asked to revoke a token.
const REVOCATION_DEADLINE: Duration = Duration::from_secs(24 * 3600);
/// The lease of a revocation, after which another worker may acquire it.
const REVOCATION_LEASE: Duration = Duration::from_secs(60);

/// A connection that was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnected {
    /// The id of the connection.
    pub connection: ConnectionId,
    /// The result of revoking its grant at HubSpot.
    pub revocation: Revocation,
}

/// A connection that has ended here, and whose grant is being revoked.
pub(in crate::services) struct PendingRevocation {
    connection: ConnectionId,
    at_hubspot: AtHubSpot,
}

enum AtHubSpot {
    Decided(Revocation),
    Asked(JoinHandle<Result<Revocation, StoreError>>),
}

impl PendingRevocation {
    /// Waits for HubSpot's response until this time; after that, the background retries.
    pub async fn wait(self, until: Instant) -> Disconnected {
        let revocation = match self.at_hubspot {
            AtHubSpot::Decided(revocation) => revocation,
            AtHubSpot::Asked(task) => match tokio::time::timeout_at(until, task).await {
                Ok(Ok(Ok(revocation))) => revocation,
                _ => Revocation::Queued,
            },
        };
        Disconnected { connection: self.connection, revocation }
    }
}

/// Ends connections. Clones share everything.
#[derive(Debug, Clone)]
pub struct Disconnects(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: ConnectionStore,
    hubspot: Arc<HubSpot>,
    keyring: Arc<Keyring>,
    clock: Clock,
    tasks: Tasks,
    changes: Changes,
}

impl Disconnects {
    pub(super) fn new(base: &Base) -> Self {
        let Base { store, hubspot, keyring, clock, tasks, changes, .. } = base.clone();
        Self(Arc::new(Parts { store: store.connections, hubspot, keyring, clock, tasks, changes }))
    }

    /// Ends one connection of a user; `None` if the user has no such connection.
    pub async fn disconnect(
        &self,
        user: UserId,
        connection: ConnectionId,
        revoke: bool,
    ) -> Result<Option<Disconnected>, StoreError> {
        let Some(pending_revocation) = self.end(user, connection, revoke).await? else { return Ok(None) };
        Ok(Some(pending_revocation.wait(Instant::now() + REVOKE_WAIT).await))
    }

    /// Ends one connection of any user; `None` if there is none.
    pub(crate) async fn disconnect_any(&self, id: ConnectionId) -> Result<Option<Disconnected>, StoreError> {
        match self.0.store.token(id).await? {
            Some(token) => self.disconnect(token.user_id, id, true).await,
            None => Ok(None),
        }
    }

    /// Ends all connections of a user. All have ended here before it waits for HubSpot's responses.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; connections that have ended by then stay ended.
    pub(in crate::services) async fn disconnect_all(
        &self,
        user: UserId,
        revoke: bool,
    ) -> Result<Vec<Disconnected>, StoreError> {
        let mut pending_revocations = Vec::new();
        for (token, _) in self.0.store.tokens_of(user).await? {
            pending_revocations.extend(self.end(user, token.id, revoke).await?);
        }
        let (mut ended, until) = (Vec::new(), Instant::now() + REVOKE_WAIT);
        for pending_revocation in pending_revocations {
            ended.push(pending_revocation.wait(until).await);
        }
        Ok(ended)
    }

    /// Ends a connection here, and starts to revoke its grant at HubSpot.
    async fn end(
        &self,
        user: UserId,
        connection: ConnectionId,
        revoke: bool,
    ) -> Result<Option<PendingRevocation>, StoreError> {
        let parts = &self.0;
        let removed = parts.store.remove_token(connection, user, revoke, parts.clock.now()).await?;
        Ok(self.begin_revocation(connection, user, removed))
    }

    /// Publishes the removal of a connection and starts to revoke its grant; `None` if there was no connection.
    pub(in crate::services) fn begin_revocation(
        &self,
        connection: ConnectionId,
        user: UserId,
        removed: Removed,
    ) -> Option<PendingRevocation> {
        crash::point("disconnect.removed");
        self.0.changes.publish(user);
        let at_hubspot = match removed {
            Removed::Absent => return None,
            Removed::Shared | Removed::Kept => AtHubSpot::Decided(Revocation::Skipped),
            Removed::Queued(job) => AtHubSpot::Asked(self.revoke_now(job)),
        };
        tracing::info!(connection = %connection, user = %user, "disconnected");
        Some(PendingRevocation { connection, at_hubspot })
    }

    /// Revokes a grant at HubSpot, in its own task.
    fn revoke_now(&self, job: String) -> JoinHandle<Result<Revocation, StoreError>> {
        let disconnects = self.clone();
        self.0.tasks.detach(async move {
            match disconnects.0.store.revocation(&job).await? {
                Some(job) => disconnects.revoke(job).await,
                None => Ok(Revocation::Done),
            }
        })
    }

    /// Runs revocations that are due, concurrently. Returns their number.
    pub async fn revoke_due(&self) -> Result<usize, StoreError> {
        let mut tasks = Vec::new();
        for job in self.0.store.acquire_revocations(8, REVOCATION_LEASE).await? {
            let disconnects = self.clone();
            let span = error_span!("revocation", connection = %job.connection_id);
            let work = async move { disconnects.revoke(job).await };
            tasks.push(self.0.tasks.detach(work.instrument(span)));
        }
        let count = tasks.len();
        for task in tasks {
            if let Ok(Err(why)) = task.await {
                tracing::error!(error = %why, "failed to record a revocation");
            }
        }
        Ok(count)
    }

    async fn revoke(&self, job: RevocationJob) -> Result<Revocation, StoreError> {
        let parts = &self.0;
        let row = job.connection_id.to_string();
        let context =
            Context { kind: "refresh", row: &row, generation: job.generation, client_id: &job.client_id };
        let refresh = match parts.keyring.open(&job.refresh(), context) {
            Ok(refresh) => refresh,
            // The key may be configured again.
            Err(OpenError::UnknownKey(_))
                if parts.clock.now().since(job.created_at) < REVOCATION_DEADLINE =>
            {
                let pause = backoff(job.attempts.saturating_add(1), 1.0);
                parts.store.postpone_revocation(&job.id, parts.clock.now().plus(pause)).await?;
                return Ok(Revocation::Queued);
            }
            Err(_) => {
                tracing::error!(connection = %job.connection_id, "token to revoke could not be decrypted; it stays valid at HubSpot");
                parts.store.finish_revocation(&job.id).await?;
                return Ok(Revocation::Skipped);
            }
        };
        // A reconnect may have stored the same grant since, with the fingerprint under the current APP_SECRET.
        for fingerprint in [&job.refresh_fingerprint, &parts.keyring.fingerprint(&refresh)] {
            if parts.store.is_in_use(fingerprint).await? {
                parts.store.finish_revocation(&job.id).await?;
                return Ok(Revocation::Skipped);
            }
        }
        let Err(failure) = parts.hubspot.revoke(&refresh).await else {
            crash::point("disconnect.revoked");
            parts.store.finish_revocation(&job.id).await?;
            return Ok(Revocation::Done);
        };
        let now = parts.clock.now();
        if now.since(job.created_at) >= REVOCATION_DEADLINE {
            tracing::error!(connection = %job.connection_id, code = failure.code.as_str(), "revocation failed; giving up after a day");
            parts.store.finish_revocation(&job.id).await?;
            return Ok(Revocation::Skipped);
        }
        tracing::warn!(connection = %job.connection_id, code = failure.code.as_str(), "revocation failed; will retry");
        let pause = backoff(job.attempts.saturating_add(1), 1.0);
        parts.store.postpone_revocation(&job.id, now.plus(pause)).await?;
        Ok(Revocation::Queued)
    }
}
