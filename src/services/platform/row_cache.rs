//! Rows cached in this process, if it is the only writer: sessions and connections are read far more often than they
//! change.
//!
//! A read that overlaps a change must not be cached: it may be older than the change. So a reader takes a
//! [`ReadEpoch`] first, and its rows are kept only if nothing has been removed since.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use quick_cache::unsync::Cache;

use crate::domain::clock::Timestamp;
use crate::domain::id::{ConnectionId, UserId};
use crate::domain::secret::Hash;
use crate::domain::token::Token;
use crate::store::{AccessRow, SessionRow};

/// A connection with the time of its next refresh.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The connection.
    pub token: Token,
    /// The time of the next refresh; `None` if none is scheduled.
    pub refresh_at: Option<Timestamp>,
}

/// A user's connections, newest first.
pub type UserConnections = Arc<Vec<Connection>>;

/// The number of cached sessions, users' connections and access tokens, each.
const MAX_CACHED_ROWS: usize = 10_000;

/// Rows as they were last read. Clones share them.
#[derive(Debug, Clone)]
pub(in crate::services) struct RowCache(Arc<Mutex<Rows>>);

#[derive(Debug)]
struct Rows {
    sessions: Cache<[u8; 32], SessionRow>,
    connections: Cache<UserId, UserConnections>,
    /// Access tokens, sealed as they are stored: an opened token is never kept. Each is valid while the entry of its
    /// user exists.
    access: Cache<ConnectionId, (Weak<()>, Arc<AccessRow>)>,
    users: Cache<UserId, Arc<()>>,
    forgotten: u64,
}

/// The time at which a read began, counted in removals.
#[derive(Debug, Clone, Copy)]
pub(in crate::services) struct ReadEpoch(u64);

impl RowCache {
    /// Returns a cache that keeps rows if this process is the only writer, and nothing otherwise.
    pub fn new(is_only_writer: bool) -> Self {
        let capacity = if is_only_writer { MAX_CACHED_ROWS } else { 0 };
        Self(Arc::new(Mutex::new(Rows {
            sessions: Cache::new(capacity),
            connections: Cache::new(capacity),
            access: Cache::new(capacity),
            users: Cache::new(capacity),
            forgotten: 0,
        })))
    }

    /// Returns the current epoch. It must be taken before a read whose rows are cached.
    pub fn read_epoch(&self) -> ReadEpoch {
        ReadEpoch(self.rows().forgotten)
    }

    pub fn session(&self, key: Hash) -> Option<SessionRow> {
        self.rows().sessions.get(key.bytes()).cloned()
    }

    pub fn keep_session(&self, epoch: ReadEpoch, row: &SessionRow) {
        if let Some(mut rows) = self.current(epoch) {
            rows.sessions.insert(*row.key_hash.bytes(), row.clone());
        }
    }

    pub fn forget_session(&self, key: Hash) {
        let mut rows = self.rows();
        rows.sessions.remove(key.bytes());
        rows.forgotten += 1;
    }

    pub fn connections(&self, user: UserId) -> Option<UserConnections> {
        self.rows().connections.get(&user).cloned()
    }

    pub fn keep_connections(&self, epoch: ReadEpoch, user: UserId, connections: &UserConnections) {
        if let Some(mut rows) = self.current(epoch) {
            rows.connections.insert(user, UserConnections::clone(connections));
        }
    }

    pub fn access(&self, id: ConnectionId) -> Option<Arc<AccessRow>> {
        let rows = self.rows();
        let (user, row) = rows.access.get(&id)?;
        (user.strong_count() > 0).then(|| Arc::clone(row))
    }

    pub fn keep_access(&self, epoch: ReadEpoch, row: &Arc<AccessRow>) {
        if let Some(mut rows) = self.current(epoch) {
            let user = rows.users.get(&row.user_id).cloned().unwrap_or_default();
            rows.access.insert(row.id, (Arc::downgrade(&user), Arc::clone(row)));
            rows.users.insert(row.user_id, user);
        }
    }

    /// Removes a user's connections, and their access tokens with them.
    pub fn forget_connections(&self, user: UserId) {
        let mut rows = self.rows();
        rows.connections.remove(&user);
        rows.users.remove(&user);
        rows.forgotten += 1;
    }

    /// Returns the rows if what was read in this epoch may be cached.
    fn current(&self, epoch: ReadEpoch) -> Option<MutexGuard<'_, Rows>> {
        Some(self.rows()).filter(|rows| rows.forgotten == epoch.0)
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::random::Random;

    #[test]
    fn reads_that_overlap_a_change_are_not_cached() {
        let (row_cache, user) = (RowCache::new(true), UserId::random(&Random::seeded(1)));
        let before = row_cache.read_epoch();
        row_cache.forget_connections(user);
        row_cache.keep_connections(before, user, &UserConnections::default());
        assert!(row_cache.connections(user).is_none());
        row_cache.keep_connections(row_cache.read_epoch(), user, &UserConnections::default());
        assert!(row_cache.connections(user).is_some());
    }

    #[test]
    fn nothing_is_cached_where_others_write() {
        let (row_cache, user) = (RowCache::new(false), UserId::random(&Random::seeded(1)));
        row_cache.keep_connections(row_cache.read_epoch(), user, &UserConnections::default());
        assert!(row_cache.connections(user).is_none());
    }
}
