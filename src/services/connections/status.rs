//! Connected or not, and how each connection fares.

use std::sync::Arc;

use crate::domain::clock::Moment;
use crate::domain::id::UserId;
use crate::domain::token::Token;
use crate::services::Services;
use crate::store::StoreError;

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

impl Services {
    /// A user's connections.
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
}
