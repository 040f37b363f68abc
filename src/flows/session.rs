//! Browser sessions: loaded, saved, ended.

use std::collections::HashMap;
use std::time::Duration;

use super::Flows;
use crate::domain::clock::Moment;
use crate::domain::id::UserId;
use crate::domain::secret::{Hash, Secret};
use crate::store::{SessionRow, StoreError};

/// How exactly the last use is kept: a write per request would cost more than it tells.
const TOUCH: Duration = Duration::from_secs(60);
/// How many sessions are remembered at once.
const REMEMBERED: usize = 10_000;

/// The values of a session.
pub type SessionValues = HashMap<String, String>;

/// The value that says who it is, as the session layer encodes it (JSON).
const USER: &str = "user_id";
/// The value that says since when, in Unix milliseconds; it outlives a change of the session's key.
const SINCE: &str = "since";

/// A session and who it is.
#[derive(Debug)]
pub struct LoadedSession {
    /// Its values.
    pub values: SessionValues,
}

/// A session row as it was last read or written by this process.
#[derive(Debug, Clone)]
pub(super) struct Remembered(SessionRow);

impl Flows {
    /// The session with this key, unless it has expired.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn load_session(&self, key: &Secret) -> Result<Option<SessionValues>, StoreError> {
        let now = self.0.clock.now();
        let hash = key.hash();
        let row = match self.recall(hash, now) {
            Some(row) => row,
            None => match self.0.store.session(hash, now).await? {
                Some(row) => row,
                None => return Ok(None),
            },
        };
        let values = serde_json::from_str(&row.state).unwrap_or_default();
        if now.since(row.seen_at) >= TOUCH.min(self.0.rules.session_idle / 4) {
            let expires_at = self.expiry(row.created_at, now);
            self.keep_session(SessionRow {
                seen_at: now,
                expires_at,
                ..row
            })
            .await?;
        } else {
            self.remember(row);
        }
        Ok(Some(values))
    }

    /// Saves a session under a key. It counts from its first day, whatever its key was then.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn save_session(&self, key: &Secret, mut values: SessionValues) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        let since = values
            .entry(SINCE.to_owned())
            .or_insert_with(|| now.unix_ms().to_string());
        let created_at = since.parse().map_or(now, Moment::from_unix_ms);
        let user = values
            .get(USER)
            .and_then(|text| serde_json::from_str::<UserId>(text).ok());
        let state = serde_json::to_string(&values).unwrap_or_default();
        let expires_at = self.expiry(created_at, now);
        self.keep_session(SessionRow {
            key_hash: key.hash(),
            user,
            state,
            created_at,
            seen_at: now,
            expires_at,
        })
        .await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn end_session(&self, key: &Secret) -> Result<(), StoreError> {
        let hash = key.hash();
        self.remembered().remove(&hash.text());
        self.0.store.delete_session(hash).await
    }

    /// A new session key.
    pub fn new_session_key(&self) -> Secret {
        Secret::random(&self.0.chance)
    }

    async fn keep_session(&self, row: SessionRow) -> Result<(), StoreError> {
        self.0.store.save_session(row.clone()).await?;
        self.remember(row);
        Ok(())
    }

    fn expiry(&self, created_at: Moment, now: Moment) -> Moment {
        let rules = &self.0.rules;
        now.plus(rules.session_idle)
            .min(created_at.plus(rules.session_max))
    }

    /// What this process remembers is only asked where no other process writes.
    fn recall(&self, hash: Hash, now: Moment) -> Option<SessionRow> {
        let mut remembered = self.remembered();
        let row = remembered.get(&hash.text())?.0.clone();
        if row.expires_at > now {
            return Some(row);
        }
        remembered.remove(&hash.text());
        None
    }

    fn remember(&self, row: SessionRow) {
        if !self.0.store.is_exclusive() {
            return;
        }
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(row.key_hash.text(), Remembered(row));
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, std::collections::BTreeMap<String, Remembered>> {
        self.0
            .remembered
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}
