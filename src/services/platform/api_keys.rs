//! Recognises API keys. They are created and revoked on the command line.
//!
//! A key is recognised by its hash, in a cache that is at most a second old: reading a token needs no query for the
//! key, and a key that is revoked by another process works for at most a second longer.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;

use super::base::Base;
use super::tasks::Tasks;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::id::ApiKeyId;
use crate::domain::secret::Secret;
use crate::store::{ApiKey, PlatformStore, StoreError};

/// The time for which a key is used without asking the database.
const MAX_KEY_AGE: Duration = Duration::from_secs(1);
/// The precision of the time of the last use.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);
/// The number of cached keys.
const MAX_CACHED_KEYS: usize = 1000;

/// A key as it was last read.
#[derive(Debug, Clone)]
struct CachedKey {
    key: Arc<ApiKey>,
    read_at: Timestamp,
    touched_at: Option<Timestamp>,
}

impl CachedKey {
    /// Returns whether the key may be used without a query. A clock that was set back makes nothing fresh.
    fn is_fresh(&self, now: Timestamp) -> bool {
        now >= self.read_at && now.since(self.read_at) < MAX_KEY_AGE && self.is_touched(now)
    }

    fn is_touched(&self, now: Timestamp) -> bool {
        self.touched_at.is_some_and(|at| now.since(at) < TOUCH_INTERVAL)
    }
}

/// API keys. Clones share everything.
#[derive(Debug, Clone)]
pub struct ApiKeys(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: PlatformStore,
    clock: Clock,
    tasks: Tasks,
    known_keys: Cache<[u8; 32], CachedKey>,
}

impl ApiKeys {
    pub(super) fn new(base: &Base) -> Self {
        let Base { store, clock, tasks, .. } = base.clone();
        Self(Arc::new(Parts { store: store.platform, clock, tasks, known_keys: Cache::new(MAX_CACHED_KEYS) }))
    }

    /// Returns the key that the caller shows, if it exists and is not revoked.
    pub async fn authenticate(&self, shown: &Secret) -> Result<Option<Arc<ApiKey>>, StoreError> {
        let parts = &self.0;
        let (hash, now) = (shown.hash(), parts.clock.now());
        let known = || parts.known_keys.get(hash.bytes());
        if let Some(known) = known().filter(|known| known.is_fresh(now)) {
            return Ok(Some(known.key));
        }
        let Some(key) = parts.store.api_key(hash).await? else {
            return Ok(None);
        };
        let noted = known().and_then(|known| known.touched_at).or(key.last_used_at);
        let mut found = CachedKey { key: Arc::new(key), read_at: now, touched_at: noted };
        if !found.is_touched(now) {
            found.touched_at = Some(now);
            self.note_use(found.key.id, now);
        }
        let key = Arc::clone(&found.key);
        parts.known_keys.insert(*hash.bytes(), found);
        Ok(Some(key))
    }

    /// Records the use in the background: a use that is not recorded does no harm.
    fn note_use(&self, id: ApiKeyId, now: Timestamp) {
        let keys = self.clone();
        self.0.tasks.detach(async move {
            if let Err(why) = keys.0.store.touch_api_key(id, now).await {
                tracing::warn!(error = %why, "failed to record the use of an API key");
            }
        });
    }
}
