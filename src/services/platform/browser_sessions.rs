//! Browser sessions: load, save, end.

use std::collections::HashMap;
use std::time::Duration;

use super::base::Base;
use super::row_cache::RowCache;
use crate::config;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::id::UserId;
use crate::domain::random::Random;
use crate::domain::secret::Secret;
use crate::store::{PlatformStore, SessionRow, StoreError};

/// The precision of the time of the last use: a write per request would cost more than it is worth.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// The values of a session.
pub type SessionValues = HashMap<String, String>;

/// The key of the user's id in the values, as the session layer encodes it (JSON).
const USER: &str = "user_id";
/// The key of the time at which the session ends, in Unix milliseconds. It comes from the row and is not stored among
/// the values.
pub const ENDS_AT: &str = "ends_at";
/// The key of the time at which the session began, in Unix milliseconds; it outlives a change of the session's key.
const SINCE: &str = "since";

/// The effect of a request on its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// An action of the user, which keeps the session alive.
    Action,
    /// A poll, which does not: an open page would keep its session alive all night.
    Poll,
}

/// Browser sessions. Clones share everything.
#[derive(Debug, Clone)]
pub struct BrowserSessions {
    store: PlatformStore,
    clock: Clock,
    random: Random,
    row_cache: RowCache,
    /// The lifetime of a session without an action.
    idle: Duration,
    /// The maximum lifetime of a session.
    max: Duration,
}

impl BrowserSessions {
    pub(super) fn new(base: &Base, settings: &config::Security) -> Self {
        let Base { store, clock, random, row_cache, .. } = base.clone();
        let config::Security { session_idle: idle, session_max: max, .. } = *settings;
        Self { store: store.platform, clock, random, row_cache, idle, max }
    }

    /// Returns the session with this key, unless it has expired.
    pub async fn load_session(&self, key: &Secret, by: Use) -> Result<Option<SessionValues>, StoreError> {
        let (now, hash, epoch) = (self.clock.now(), key.hash(), self.row_cache.read_epoch());
        let known = self.row_cache.session(hash).filter(|row| row.expires_at > now);
        let mut fresh = known.is_none();
        let Some(mut row) = (match known {
            Some(row) => Some(row),
            None => self.store.session(hash, now).await?,
        }) else {
            return Ok(None);
        };
        let is_used = by == Use::Action && now.since(row.seen_at) >= TOUCH_INTERVAL.min(self.idle / 4);
        if is_used {
            (row.seen_at, row.expires_at) = (now, self.expiry(row.created_at, now));
        }
        if is_used || !row.seen.is_set() {
            row.seen = true.into();
            // Only a session that still exists is kept alive: one that has just ended must stay ended.
            if !self.store.touch_session(hash, row.seen_at, row.expires_at).await? {
                self.row_cache.forget_session(hash);
                return Ok(None);
            }
            fresh = true;
        }
        if fresh {
            self.row_cache.keep_session(epoch, &row);
        }
        let mut values: SessionValues = serde_json::from_str(&row.state).unwrap_or_default();
        values.insert(ENDS_AT.to_owned(), row.expires_at.unix_ms().to_string());
        Ok(Some(values))
    }

    /// Saves a new session. Its lifetime counts from its beginning, even if its key has changed since.
    pub async fn save_session(&self, mut values: SessionValues) -> Result<Secret, StoreError> {
        let key = Secret::random(&self.random);
        let now = self.clock.now();
        values.remove(ENDS_AT);
        let since = values.entry(SINCE.to_owned()).or_insert_with(|| now.unix_ms().to_string());
        let created_at = since.parse().map_or(now, Timestamp::from_unix_ms);
        let user_id = values.get(USER).and_then(|text| serde_json::from_str::<UserId>(text).ok());
        let state = serde_json::to_string(&values).unwrap_or_default();
        let expires_at = self.expiry(created_at, now);
        let key_hash = key.hash();
        let row =
            SessionRow { key_hash, user_id, state, created_at, seen_at: now, expires_at, seen: false.into() };
        let epoch = self.row_cache.read_epoch();
        self.store.insert_session(row.clone()).await?;
        self.row_cache.keep_session(epoch, &row);
        Ok(key)
    }

    /// Ends a session.
    pub async fn end_session(&self, key: &Secret) -> Result<(), StoreError> {
        let hash = key.hash();
        self.store.delete_session(hash).await?;
        self.row_cache.forget_session(hash);
        Ok(())
    }

    fn expiry(&self, created_at: Timestamp, now: Timestamp) -> Timestamp {
        now.plus(self.idle).min(created_at.plus(self.max))
    }
}
