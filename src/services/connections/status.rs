//! Connected or not, and how each connection fares.

use std::sync::Arc;

use crate::domain::id::UserId;
use crate::services::Services;
use crate::services::platform::{Connection, Connections};
use crate::store::StoreError;

impl Services {
    /// A user's connections.
    pub async fn connections(&self, user: UserId) -> Result<Connections, StoreError> {
        let parts = &self.0;
        if let Some(known) = parts.row_cache.connections(user) {
            return Ok(known);
        }
        let ticket = parts.row_cache.ticket();
        let rows = parts.store.tokens_of(user).await?;
        let connections: Connections =
            Arc::new(rows.into_iter().map(|(token, refresh_at)| Connection { token, refresh_at }).collect());
        parts.row_cache.keep_connections(ticket, user, &connections);
        Ok(connections)
    }
}
