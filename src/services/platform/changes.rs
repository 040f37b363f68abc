//! Publishes changes of a user's connections in this process.

use super::notifier::{Key, Notifier};
use super::row_cache::RowCache;
use crate::domain::id::UserId;

/// Publishes changes: removes cached rows and wakes waiting requests. Clones share everything.
#[derive(Debug, Clone)]
pub(in crate::services) struct Changes {
    row_cache: RowCache,
    notifier: Notifier,
}

impl Changes {
    pub fn new(row_cache: RowCache, notifier: Notifier) -> Self {
        Self { row_cache, notifier }
    }

    /// Removes the cached connections of a user, without waking any request.
    pub fn forget(&self, user: UserId) {
        self.row_cache.forget_connections(user);
    }

    /// Publishes a change. It must be called after every change to a user's connections, before any caller is
    /// informed of it.
    pub fn publish(&self, user: UserId) {
        self.forget(user);
        self.notifier.wake(Key::User(user));
    }
}
