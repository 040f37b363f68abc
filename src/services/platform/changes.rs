//! Changes of a user's connections, made known in this process.

use super::notifier::{Key, Notifier};
use super::row_cache::RowCache;
use crate::domain::id::UserId;

/// Makes changes known: what was cached is forgotten, and who waits is woken. Clones share everything.
#[derive(Debug, Clone)]
pub(in crate::services) struct Changes {
    row_cache: RowCache,
    notifier: Notifier,
}

impl Changes {
    pub fn new(row_cache: RowCache, notifier: Notifier) -> Self {
        Self { row_cache, notifier }
    }

    /// Forgets what was cached of a user's connections. Nobody is woken yet.
    pub fn forget(&self, user: UserId) {
        self.row_cache.forget_connections(user);
    }

    /// To be called after every change to a user's connections, and before it is told to anybody.
    pub fn publish(&self, user: UserId) {
        self.forget(user);
        self.notifier.wake(Key::User(user));
    }
}
