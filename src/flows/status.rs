//! Connected or not, and how each connection fares.

use std::sync::Arc;
use std::time::Duration;

use super::Flows;
use crate::domain::clock::Moment;
use crate::domain::id::UserId;
use crate::domain::token::Token;
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

impl Flows {
    /// A user's connections.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn connections(&self, user: UserId) -> Result<Connections, StoreError> {
        let rows = self.0.store.tokens_of(user).await?;
        Ok(Arc::new(
            rows.into_iter()
                .map(|(token, refresh_at)| Connection { token, refresh_at })
                .collect(),
        ))
    }

    /// Resolves when something may have changed: a change in this process, or a second later, for those of others.
    pub async fn changed(&self) {
        let mut changes = self.0.changes.subscribe();
        let _ = tokio::time::timeout(Duration::from_secs(1), changes.changed()).await;
    }
}
