//! API keys, recognised. They are made and revoked on the command line.
//!
//! A key is recognised by its hash, from a memory that is at most a second old: whoever reads a token pays for no query
//! of its own, and a key that is revoked elsewhere opens nothing for longer than that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::base::Base;
use super::tasks::Tasks;
use crate::domain::clock::{Clock, Moment};
use crate::domain::id::ApiKeyId;
use crate::domain::secret::{Hash, Secret};
use crate::store::{ApiKey, Store, StoreError};

/// For how long a key is taken for good without asking the database.
const FRESH: Duration = Duration::from_secs(1);
/// How exactly the last use is kept.
const TOUCH: Duration = Duration::from_secs(60);
/// How many keys are remembered at once.
const MOST: usize = 1000;

/// Keys as they were last read.
#[derive(Debug, Default)]
struct KnownKeys(Mutex<HashMap<[u8; 32], Known>>);

#[derive(Debug, Clone)]
struct Known {
    key: Arc<ApiKey>,
    read_at: Moment,
    touched_at: Option<Moment>,
}

impl KnownKeys {
    fn fresh(&self, hash: &Hash, now: Moment) -> Option<Arc<ApiKey>> {
        let known = self.0.lock().expect("nothing panics while it holds this lock");
        let found = known.get(hash.bytes()).filter(|found| {
            // A clock that was set back makes nothing fresh.
            now >= found.read_at && now.since(found.read_at) < FRESH && is_touched(found, now)
        });
        found.map(|found| Arc::clone(&found.key))
    }

    fn keep(&self, hash: &Hash, found: Known) {
        let mut known = self.0.lock().expect("nothing panics while it holds this lock");
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(*hash.bytes(), found);
    }

    fn touched_at(&self, hash: &Hash) -> Option<Moment> {
        let known = self.0.lock().expect("nothing panics while it holds this lock");
        known.get(hash.bytes()).and_then(|found| found.touched_at)
    }
}

fn is_touched(found: &Known, now: Moment) -> bool {
    found.touched_at.is_some_and(|at| now.since(at) < TOUCH)
}

/// API keys, recognised. Clones share everything.
#[derive(Debug, Clone)]
pub struct ApiKeys(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Store,
    clock: Clock,
    tasks: Tasks,
    known_keys: KnownKeys,
}

impl ApiKeys {
    pub(super) fn new(base: &Base) -> Self {
        Self(Arc::new(Parts {
            store: base.store.clone(),
            clock: base.clock.clone(),
            tasks: base.tasks.clone(),
            known_keys: KnownKeys::default(),
        }))
    }

    /// The key that somebody shows, if it is one and was not revoked.
    pub async fn recognise(&self, shown: &Secret) -> Result<Option<Arc<ApiKey>>, StoreError> {
        let parts = &self.0;
        let (hash, now) = (shown.hash(), parts.clock.now());
        if let Some(key) = parts.known_keys.fresh(&hash, now) {
            return Ok(Some(key));
        }
        let Some(key) = parts.store.api_key(hash).await? else {
            return Ok(None);
        };
        let noted = parts.known_keys.touched_at(&hash).or(key.last_used_at);
        let mut found = Known { key: Arc::new(key), read_at: now, touched_at: noted };
        if !is_touched(&found, now) {
            found.touched_at = Some(now);
            self.note_use(found.key.id, now);
        }
        let key = Arc::clone(&found.key);
        parts.known_keys.keep(&hash, found);
        Ok(Some(key))
    }

    /// Nobody waits for it: a use that goes unnoted harms nobody.
    fn note_use(&self, id: ApiKeyId, now: Moment) {
        let keys = self.clone();
        self.0.tasks.detach(async move {
            if let Err(why) = keys.0.store.touch_api_key(id, now).await {
                tracing::warn!(error = %why, "could not note that an API key was used");
            }
        });
    }
}
