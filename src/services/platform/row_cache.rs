//! What this process remembers of rows, where it is the only one that writes them: sessions and connections are read
//! far more often than they change.
//!
//! A read that overlaps a change must not be remembered: it may be older than the change. So a reader takes a
//! [`Ticket`] first, and what it read is kept only if nothing has been forgotten since.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::domain::id::{ConnectionId, UserId};
use crate::domain::secret::Hash;
use crate::services::connections::status::Connections;
use crate::store::{AccessRow, SessionRow};

/// How many sessions, users' connections and access tokens are remembered at once.
const MOST: usize = 10_000;

/// Rows as they were last read.
#[derive(Debug, Default)]
pub(in crate::services) struct Memory {
    /// Whether anything may be remembered at all.
    on: bool,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    sessions: HashMap<[u8; 32], SessionRow>,
    connections: HashMap<UserId, Connections>,
    /// Access tokens, sealed as they are stored: what is opened is never kept.
    access: HashMap<ConnectionId, Arc<AccessRow>>,
    /// Whose they are.
    lent: HashMap<UserId, Vec<ConnectionId>>,
    forgotten: u64,
}

/// The moment at which a read began.
#[derive(Debug, Clone, Copy)]
pub(in crate::services) struct Ticket(u64);

impl Memory {
    /// A memory that works only where this process is the only writer.
    pub fn new(on: bool) -> Self {
        Self { on, rows: Mutex::default() }
    }

    /// To be taken before a read that is to be remembered.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.rows().forgotten)
    }

    pub fn session(&self, key: Hash) -> Option<SessionRow> {
        self.rows().sessions.get(key.bytes()).cloned()
    }

    pub fn keep_session(&self, ticket: Ticket, row: &SessionRow) {
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

    pub fn connections(&self, user: UserId) -> Option<Connections> {
        self.rows().connections.get(&user).cloned()
    }

    pub fn keep_connections(&self, ticket: Ticket, user: UserId, connections: &Connections) {
        let mut rows = self.rows();
        if self.on && rows.forgotten == ticket.0 {
            make_room(&mut rows.connections);
            rows.connections.insert(user, Connections::clone(connections));
        }
    }

    pub fn access(&self, id: ConnectionId) -> Option<Arc<AccessRow>> {
        self.on.then(|| self.rows().access.get(&id).cloned()).flatten()
    }

    pub fn keep_access(&self, ticket: Ticket, row: &Arc<AccessRow>) {
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
        let (memory, user) = (Memory::new(true), UserId::random(&Chance::seeded(1)));
        let before = memory.ticket();
        memory.forget_connections(user);
        memory.keep_connections(before, user, &Connections::default());
        assert!(memory.connections(user).is_none());
        memory.keep_connections(memory.ticket(), user, &Connections::default());
        assert!(memory.connections(user).is_some());
    }

    #[test]
    fn nothing_is_remembered_where_others_write() {
        let (memory, user) = (Memory::new(false), UserId::random(&Chance::seeded(1)));
        memory.keep_connections(memory.ticket(), user, &Connections::default());
        assert!(memory.connections(user).is_none());
    }
}
