//! Connections as they are looked at: those of a user, and those of the host's users as its backend looks through them.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::domain::clock::Clock;
use crate::domain::external::ExternalUserId;
use crate::domain::id::{ConnectionId, UserId};
use crate::domain::project::ProjectId;
use crate::services::platform::{Base, Connection, RowCache, UserConnections};
use crate::store::{
    ConnectionFilter, ConnectionStore, Event, ListedConnection, PlatformStore, StoreError, WebhookStore,
};

/// How many connections are cached with their project.
const MAX_CACHED_PROJECTS: usize = 10_000;

/// The connections. Clones share everything.
#[derive(Debug, Clone)]
pub struct ConnectionList {
    connection_store: ConnectionStore,
    platform_store: PlatformStore,
    webhook_store: WebhookStore,
    clock: Clock,
    row_cache: RowCache,
    projects: Arc<Cache<ConnectionId, ProjectId>>,
}

impl ConnectionList {
    pub(super) fn new(base: &Base) -> Self {
        Self {
            connection_store: base.store.connections.clone(),
            platform_store: base.store.platform.clone(),
            webhook_store: base.store.webhooks.clone(),
            clock: base.clock.clone(),
            row_cache: base.row_cache.clone(),
            projects: Arc::new(Cache::new(MAX_CACHED_PROJECTS)),
        }
    }

    /// Returns whether a connection belongs to this project. A connection never changes its project, so the result is cached
    /// where others write, too.
    pub async fn is_in_project(&self, project: &ProjectId, id: ConnectionId) -> Result<bool, StoreError> {
        if let Some(known) = self.projects.get(&id) {
            return Ok(known == *project);
        }
        let Some(found) = self.connection_store.project_of(id).await? else { return Ok(false) };
        self.projects.insert(id, found.clone());
        Ok(found == *project)
    }

    /// Connections of a project, at most `limit`; of one of the host's users, if one is named.
    pub async fn list_connections(
        &self,
        external: Option<&ExternalUserId>,
        filter: ConnectionFilter,
        limit: u32,
    ) -> Result<Vec<ListedConnection>, StoreError> {
        let user = match external {
            None => None,
            Some(external) => match self.platform_store.find_external(&filter.project, external).await? {
                Some(user) => Some(user),
                // Nobody has named that user: there is nothing of theirs.
                None => return Ok(Vec::new()),
            },
        };
        self.connection_store.page(ConnectionFilter { user, ..filter }, self.clock.now(), limit).await
    }

    /// One connection, whoever owns it: for callers who may see all of them.
    pub async fn connection(&self, id: ConnectionId) -> Result<Option<ListedConnection>, StoreError> {
        self.connection_store.find_listed(id).await
    }

    /// Replaces what the host keeps with a connection, if it is there.
    pub async fn set_metadata(&self, id: ConnectionId, metadata: Option<String>) -> Result<(), StoreError> {
        self.connection_store.set_metadata(id, metadata).await
    }

    /// What has happened to a connection after the event with this number, the oldest first.
    pub async fn events(&self, id: ConnectionId, after: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.webhook_store.events_of(id, after, limit).await
    }

    /// A user's connections.
    pub async fn connections(&self, user: UserId) -> Result<UserConnections, StoreError> {
        if let Some(known) = self.row_cache.connections(user) {
            return Ok(known);
        }
        let epoch = self.row_cache.read_epoch();
        let rows = self.connection_store.tokens_of(user).await?;
        let connections: UserConnections =
            Arc::new(rows.into_iter().map(|(token, refresh_at)| Connection { token, refresh_at }).collect());
        self.row_cache.keep_connections(epoch, user, &connections);
        Ok(connections)
    }

    /// How many connections there are of each status.
    pub(crate) async fn connection_counts(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.connection_store.count_tokens().await
    }
}
