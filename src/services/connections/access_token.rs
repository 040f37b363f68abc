//! Access tokens for callers that call HubSpot on a connection's behalf: a token that works now, refreshed first if
//! necessary.
//!
//! However many callers ask at once, in this process and in others, HubSpot is asked once: in this process they wait
//! for one refresh, and among replicas the lease decides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::circuit_breaker::CircuitBreaker;
use super::refresh::Refreshes;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::connection::StoredState;
use crate::domain::id::{ConnectionId, PortalId};
use crate::domain::scopes::Scopes;
use crate::domain::secret::Secret;
use crate::domain::token::MIN_REFRESH_INTERVAL;
use crate::keyring::{Context, Keyring};
use crate::services::platform::{Base, RowCache, Tasks};
use crate::store::{AccessRow, AcquireResult, ConnectionStore, StoreError};

/// The longest wait of a caller for a refresh: somewhat longer than a call to HubSpot may take.
const CALLER_WAIT: Duration = Duration::from_secs(25);
/// The longest wait of a caller whose token is still valid, in case HubSpot does not respond.
const SHORT_CALLER_WAIT: Duration = Duration::from_secs(5);
/// The longest wait for a refresh that another replica has started.
const OTHER_REPLICA_WAIT: Duration = Duration::from_secs(5);
/// The interval between polls for that refresh.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// An access token for a caller.
#[derive(Debug)]
pub struct Access {
    /// The token.
    pub token: Secret,
    /// The time at which the token expires. That may be sooner than requested, if the token cannot be refreshed now.
    pub expires_at: Timestamp,
    /// The generation of the connection's tokens, which rises with every refresh.
    pub generation: i64,
    /// The granted scopes; unknown until HubSpot has returned them.
    pub scopes: Option<Scopes>,
    /// The client id of the HubSpot app to which it was granted.
    pub client_id: String,
    /// The HubSpot account; unknown until HubSpot has returned it.
    pub portal_id: Option<PortalId>,
}

/// The reason for returning no access token.
#[derive(Debug)]
pub enum AccessError {
    /// There is no such connection.
    Unknown,
    /// HubSpot has ended the grant: the user has to reconnect.
    NeedsReauth,
    /// The stored token is damaged or misplaced, or sealed with a key that is not configured.
    Unreadable,
    /// The token has expired and could not be refreshed yet.
    Unavailable {
        /// A stable code: that of the last failed refresh, or `refresh_in_progress`.
        code: String,
        /// The time to wait before the next request.
        retry_after: Duration,
    },
    /// The database failed.
    Store(StoreError),
}

impl From<StoreError> for AccessError {
    fn from(why: StoreError) -> Self {
        Self::Store(why)
    }
}

/// Access tokens of connections. Clones share everything.
#[derive(Debug, Clone)]
pub struct AccessTokens(pub(super) Arc<Parts>);

#[derive(Debug)]
pub(super) struct Parts {
    store: ConnectionStore,
    pub(super) keyring: Arc<Keyring>,
    pub(super) clock: Clock,
    row_cache: RowCache,
    owner: Arc<str>,
    tasks: Tasks,
    circuit_breaker: Arc<CircuitBreaker>,
    refreshes: Refreshes,
    /// The refreshes that callers in this process wait for.
    in_flight: Mutex<HashMap<ConnectionId, watch::Receiver<()>>>,
    /// The number of these refreshes that may call HubSpot at once.
    slots: Semaphore,
}

impl AccessTokens {
    pub(super) fn new(
        base: &Base,
        circuit_breaker: &Arc<CircuitBreaker>,
        refreshes: &Refreshes,
        max_in_flight: usize,
    ) -> Self {
        let Base { store, keyring, clock, row_cache, owner, tasks, .. } = base.clone();
        Self(Arc::new(Parts {
            store: store.connections,
            keyring,
            clock,
            row_cache,
            owner,
            tasks,
            circuit_breaker: Arc::clone(circuit_breaker),
            refreshes: refreshes.clone(),
            in_flight: Mutex::default(),
            slots: Semaphore::new(max_in_flight),
        }))
    }

    fn lock_in_flight(&self) -> MutexGuard<'_, HashMap<ConnectionId, watch::Receiver<()>>> {
        self.0.in_flight.lock().expect("nothing panics while it holds this lock")
    }

    /// Returns the access token of a connection, with at least `min_ttl` left if possible. At most half of a token's
    /// lifetime can be requested, or every call would refresh it.
    ///
    /// A token that is still valid is returned even if it cannot be refreshed. If the caller goes away, a refresh
    /// that was started is finished.
    ///
    /// # Errors
    /// [`AccessError`] names the reason, and when to retry.
    pub async fn access_token(&self, id: ConnectionId, min_ttl: Duration) -> Result<Access, AccessError> {
        let row = self.valid_row(id, min_ttl).await?;
        self.to_access(&row)
    }

    pub(in crate::services) fn to_access(&self, row: &AccessRow) -> Result<Access, AccessError> {
        Ok(Access {
            token: open_row(&self.0.keyring, row)?,
            expires_at: row.expires_at,
            generation: row.generation,
            scopes: row.scopes.clone(),
            client_id: row.client_id.clone(),
            portal_id: row.portal_id,
        })
    }

    /// Waits for the refresh of tokens of this generation, at most [`CALLER_WAIT`].
    pub(in crate::services) async fn await_refresh_of(&self, id: ConnectionId, generation: i64) {
        // The sender is dropped when the refresh ends, and sends nothing. That may take for ever, while new tokens
        // cannot be written.
        let _ = timeout(CALLER_WAIT, self.shared_refresh(id, generation).changed()).await;
    }

    /// Returns whether a caller in this process has a refresh in progress.
    pub(in crate::services) fn is_refreshing(&self, id: ConnectionId) -> bool {
        self.lock_in_flight().contains_key(&id)
    }

    /// Returns the row of [`AccessTokens::access_token`], with the token still sealed.
    pub(super) async fn valid_row(
        &self,
        id: ConnectionId,
        min_ttl: Duration,
    ) -> Result<Arc<AccessRow>, AccessError> {
        let row = match self.0.row_cache.access(id) {
            Some(row) => row,
            None => self.reread(id).await?,
        };
        let now = self.0.clock.now();
        let wanted = min_ttl.min(row.expires_at.since(row.obtained_at) / 2);
        if row.expires_at > now.plus(wanted) {
            return Ok(row);
        }
        let left = row.expires_at.since(now);
        let wait = if left.is_zero() { CALLER_WAIT } else { SHORT_CALLER_WAIT.min(left / 2) };
        let _ = timeout(wait, self.shared_refresh(id, row.generation).changed()).await;
        let row = self.reread(id).await?;
        if row.expires_at > self.0.clock.now() {
            return Ok(row);
        }
        Err(self.unavailable(&row).await?)
    }

    /// Refreshes a connection's tokens now, however long they are still valid. Tokens that were received within
    /// [`MIN_REFRESH_INTERVAL`] are new enough: then they are not refreshed, and the result is `false`.
    ///
    /// # Errors
    /// [`AccessError`] names the reason, and when to retry.
    pub(crate) async fn refresh_now(&self, id: ConnectionId) -> Result<(Arc<AccessRow>, bool), AccessError> {
        let parts = &self.0;
        let row = self.reread(id).await?;
        if parts.clock.now().since(row.obtained_at) < MIN_REFRESH_INTERVAL {
            return Ok((row, false));
        }
        self.await_refresh_of(id, row.generation).await;
        let after = self.reread(id).await?;
        if after.generation == row.generation {
            return Err(self.unavailable(&after).await?);
        }
        Ok((after, true))
    }

    /// Reads the stored row. Only the row of an active connection is cached.
    pub(in crate::services) async fn reread(&self, id: ConnectionId) -> Result<Arc<AccessRow>, AccessError> {
        let parts = &self.0;
        let epoch = parts.row_cache.read_epoch();
        let row = parts.store.access_row(id).await?.ok_or(AccessError::Unknown)?;
        match row.state {
            StoredState::Active => {}
            StoredState::NeedsReauth => return Err(AccessError::NeedsReauth),
            StoredState::IntegrityError => return Err(AccessError::Unreadable),
        }
        parts.row_cache.keep_access(epoch, &row);
        Ok(row)
    }

    async fn unavailable(&self, row: &AccessRow) -> Result<AccessError, StoreError> {
        let parts = &self.0;
        let code = row.last_error.clone().unwrap_or_else(|| "refresh_in_progress".to_owned());
        let due = parts.store.refresh_due_at(row.id).await?.unwrap_or_else(|| parts.clock.now());
        // The time of the next scheduled refresh does not limit when one on demand may be retried.
        let longest = if row.last_error.is_some() { Duration::MAX } else { MIN_REFRESH_INTERVAL };
        let retry_after = due.since(parts.clock.now()).min(longest).max(Duration::from_secs(1));
        Ok(AccessError::Unavailable { code, retry_after })
    }

    /// Returns the refresh of this connection: the one in progress, or a new one.
    fn shared_refresh(&self, id: ConnectionId, generation: i64) -> watch::Receiver<()> {
        let mut in_flight_refreshes = self.lock_in_flight();
        if let Some(in_flight) = in_flight_refreshes.get(&id) {
            return in_flight.clone();
        }
        let (tx, rx) = watch::channel(());
        in_flight_refreshes.insert(id, rx.clone());
        drop(in_flight_refreshes);
        let refresh = InFlightRefresh { tokens: self.clone(), id, _tx: tx };
        self.0.tasks.detach(async move {
            if let Err(why) = refresh.tokens.run_refresh(id, generation).await {
                tracing::error!(connection = %id, error = %why, "refresh on demand failed");
            }
        });
        rx
    }

    async fn run_refresh(&self, id: ConnectionId, generation: i64) -> Result<(), StoreError> {
        let parts = &self.0;
        let _slot = parts.slots.acquire().await;
        let now = parts.clock.now();
        if parts.circuit_breaker.admit(1, now) == 0 {
            return Ok(());
        }
        let acquire = parts.store.acquire_one(&parts.owner, id, generation).await;
        if !matches!(acquire, Ok(AcquireResult::Acquired(_))) {
            parts.circuit_breaker.release(1, now);
        }
        match acquire? {
            AcquireResult::Acquired(acquired) => {
                let _ = parts.refreshes.refresh(*acquired).await;
                Ok(())
            }
            AcquireResult::Held => self.await_other_replica(id, generation).await,
            AcquireResult::NotNow => Ok(()),
        }
    }

    /// Waits until the holder of the lease has stored new tokens, or has given up.
    async fn await_other_replica(&self, id: ConnectionId, generation: i64) -> Result<(), StoreError> {
        let polls = OTHER_REPLICA_WAIT.as_millis() / POLL_INTERVAL.as_millis();
        for _ in 0..polls {
            tokio::time::sleep(POLL_INTERVAL).await;
            match self.0.store.is_refreshing(id, generation).await? {
                true => {}
                false => break,
            }
        }
        Ok(())
    }
}

/// A refresh in progress. However it ends, its waiters continue.
struct InFlightRefresh {
    tokens: AccessTokens,
    id: ConnectionId,
    _tx: watch::Sender<()>,
}

impl Drop for InFlightRefresh {
    fn drop(&mut self) {
        self.tokens.lock_in_flight().remove(&self.id);
    }
}

/// Opens an access token for a caller.
pub(super) fn open_row(keyring: &Keyring, row: &AccessRow) -> Result<Secret, AccessError> {
    let id = row.id.to_string();
    let context = Context { kind: "access", row: &id, generation: row.generation, client_id: &row.client_id };
    keyring.open(&row.access, context).map_err(|_| AccessError::Unreadable)
}
