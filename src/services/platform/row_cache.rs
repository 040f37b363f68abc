//! What this process remembers of rows, where it is the only one that writes them: sessions and connections are read
//! far more often than they change.
//!
//! A read that overlaps a change must not be remembered: it may be older than the change. So a reader takes a
//! [`ReadEpoch`] first, and what it read is kept only if nothing has been forgotten since.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::domain::clock::Moment;
use crate::domain::id::{ConnectionId, UserId};
use crate::domain::secret::Hash;
use crate::domain::token::Token;
use crate::store::{AccessRow, SessionRow};

/// A connection with the time of its next refresh.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The connection.
    pub token: Token,
    /// When it is refreshed next; `None` where nothing is planned.
    pub refresh_at: Option<Moment>,
}

/// A user's connections, the newest first.
pub type UserConnections = Arc<Vec<Connection>>;

/// How many sessions, users' connections and access tokens are remembered at once.
const MOST: usize = 10_000;

/// Rows as they were last read. Clones share them.
#[derive(Debug, Clone, Default)]
pub(in crate::services) struct RowCache {
    /// Whether anything may be remembered at all.
    on: bool,
    rows: Arc<Mutex<Rows>>,
}

#[derive(Debug, Default)]
struct Rows {
    sessions: HashMap<[u8; 32], SessionRow>,
    connections: HashMap<UserId, UserConnections>,
    /// Access tokens, sealed as they are stored: what is opened is never kept.
    access: HashMap<ConnectionId, Arc<AccessRow>>,
    /// Whose they are.
    lent: HashMap<UserId, Vec<ConnectionId>>,
    forgotten: u64,
}

/// The moment at which a read began.
#[derive(Debug, Clone, Copy)]
pub(in crate::services) struct ReadEpoch(u64);

impl RowCache {
    /// A memory that works only where this process is the only writer.
    pub fn new(on: bool) -> Self {
        Self { on, rows: Arc::default() }
    }

    /// To be taken before a read that is to be remembered.
    pub fn ticket(&self) -> ReadEpoch {
        ReadEpoch(self.rows().forgotten)
    }

    pub fn session(&self, key: Hash) -> Option<SessionRow> {
        self.rows().sessions.get(key.bytes()).cloned()
    }

    pub fn keep_session(&self, ticket: ReadEpoch, row: &SessionRow) {
        let mut rows = self.rows();
        if self.on && rows.forgotten == ticket.0 {
            make_room(&mut rows.sessions);
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

    pub fn keep_connections(&self, ticket: ReadEpoch, user: UserId, connections: &UserConnections) {
        let mut rows = self.rows();
        if self.on && rows.forgotten == ticket.0 {
            make_room(&mut rows.connections);
            rows.connections.insert(user, UserConnections::clone(connections));
        }
    }

    pub fn access(&self, id: ConnectionId) -> Option<Arc<AccessRow>> {
        self.on.then(|| self.rows().access.get(&id).cloned()).flatten()
    }

    pub fn keep_access(&self, ticket: ReadEpoch, row: &Arc<AccessRow>) {
        let mut rows = self.rows();
        if self.on && rows.forgotten == ticket.0 {
            if rows.access.len() >= MOST {
                rows.access.clear();
                rows.lent.clear();
            }
            if rows.access.insert(row.id, Arc::clone(row)).is_none() {
                rows.lent.entry(row.user_id).or_default().push(row.id);
            }
        }
    }

    /// Forgets a user's connections, and their access tokens with them.
    pub fn forget_connections(&self, user: UserId) {
        let mut rows = self.rows();
        rows.connections.remove(&user);
        for connection in rows.lent.remove(&user).unwrap_or_default() {
            rows.access.remove(&connection);
        }
        rows.forgotten += 1;
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().expect("nothing panics while it holds this lock")
    }
}

/// A full memory starts anew: simpler than knowing who was here last, and soon as good as before.
fn make_room<K, V>(remembered: &mut HashMap<K, V>) {
    if remembered.len() >= MOST {
        remembered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chance::Chance;

    #[test]
    fn a_read_that_overlaps_a_change_is_not_remembered() {
        let (row_cache, user) = (RowCache::new(true), UserId::random(&Chance::seeded(1)));
        let before = row_cache.ticket();
        row_cache.forget_connections(user);
        row_cache.keep_connections(before, user, &UserConnections::default());
        assert!(row_cache.connections(user).is_none());
        row_cache.keep_connections(row_cache.ticket(), user, &UserConnections::default());
        assert!(row_cache.connections(user).is_some());
    }

    #[test]
    fn nothing_is_remembered_where_others_write() {
        let (row_cache, user) = (RowCache::new(false), UserId::random(&Chance::seeded(1)));
        row_cache.keep_connections(row_cache.ticket(), user, &UserConnections::default());
        assert!(row_cache.connections(user).is_none());
    }
}
