//! Connected or not, and how each connection fares.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Flows;
use crate::domain::clock::Moment;
use crate::domain::id::UserId;
use crate::domain::token::Token;
use crate::store::StoreError;

/// How soon a change that another process has made is noticed.
const NOTICE: Duration = Duration::from_secs(1);

/// A connection with the time of its next refresh.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The connection.
    pub token: Token,
    /// When it is refreshed next; `None` where nothing is planned.
    pub refresh_at: Option<Moment>,
}

/// A user's connections, the newest first.
pub type Connections = Arc<Vec<Connection>>;

/// Notices changes from the moment it is made.
#[derive(Debug)]
pub struct Changes(watch::Receiver<u64>);

impl Changes {
    /// Resolves when something may have changed since the last call.
    pub async fn next(&mut self) {
        // No change and a second later is a time to look again, too.
        let _ = tokio::time::timeout(NOTICE, self.0.changed()).await;
    }
}

impl Flows {
    /// A user's connections.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn connections(&self, user: UserId) -> Result<Connections, StoreError> {
        let parts = &self.0;
        if let Some(known) = parts.memory.connections(user) {
            return Ok(known);
        }
        let ticket = parts.memory.ticket();
        let rows = parts.store.tokens_of(user).await?;
        let connections: Connections =
            Arc::new(rows.into_iter().map(|(token, refresh_at)| Connection { token, refresh_at }).collect());
        parts.memory.keep_connections(ticket, user, &connections);
        Ok(connections)
    }

    /// Notices changes from now on: to be called before the state is read that is to be compared.
    pub fn changes(&self) -> Changes {
        Changes(self.0.changes.subscribe())
    }
}
