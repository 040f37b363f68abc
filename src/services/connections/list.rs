//! The connections of the host's users, as its backend looks through them.

use crate::domain::event::Event;
use crate::domain::external::ExternalUserId;
use crate::domain::id::ConnectionId;
use crate::services::{Disconnected, Services};
use crate::store::{Listed, StoreError, Wanted};

impl Services {
    /// Connections in the order in which they were made, at most `limit`; of one of the host's users, if one is named.
    pub async fn catalogue(
        &self,
        external: Option<&ExternalUserId>,
        wanted: Wanted,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        let parts = &self.0;
        let user = match external {
            None => None,
            Some(external) => match parts.store.find_external(external).await? {
                Some(user) => Some(user),
                // Nobody has named that user: there is nothing of theirs.
                None => return Ok(Vec::new()),
            },
        };
        parts.store.page(Wanted { user, ..wanted }, parts.clock.now(), limit).await
    }

    /// One connection, whoever owns it: for callers who may see all of them.
    pub async fn connection(&self, id: ConnectionId) -> Result<Option<Listed>, StoreError> {
        self.0.store.listed(id).await
    }

    /// What has happened to a connection after the event with this number, the oldest first.
    pub async fn events(&self, id: ConnectionId, after: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.0.store.events_of(id, after, limit).await
    }

    /// Ends one connection, whoever owns it; `None` if there is none.
    pub async fn disconnect_any(&self, id: ConnectionId) -> Result<Option<Disconnected>, StoreError> {
        match self.0.store.token(id).await? {
            Some(token) => self.disconnect(token.user_id, id, true).await,
            None => Ok(None),
        }
    }
}
