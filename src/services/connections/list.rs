//! Connections to read: those of a user, and those of the host's users for its backend.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::domain::clock::{Clock, Timestamp};
use crate::domain::connection::ConnectionStatus;
use crate::domain::external::ExternalUserId;
use crate::domain::id::{ConnectionId, UserId};
use crate::domain::project::ProjectId;
use crate::services::platform::{Base, Connection, RowCache, UserConnections};
use crate::store::{
    Backlog, ConnectionFilter, ConnectionStore, Event, ListedConnection, PlatformStore, StoreError,
    WebhookStore,
};

/// The number of connections whose project is cached.
const MAX_CACHED_PROJECTS: usize = 10_000;

/// Reads connections. Clones share everything.
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

    /// Returns whether a connection belongs to this project. A connection never changes its project, so the result is
    /// cached even if other replicas write.
    pub async fn is_in_project(&self, project: &ProjectId, id: ConnectionId) -> Result<bool, StoreError> {
        if let Some(known) = self.projects.get(&id) {
            return Ok(known == *project);
        }
        let Some(found) = self.connection_store.project_of(id).await? else { return Ok(false) };
        self.projects.insert(id, found.clone());
        Ok(found == *project)
    }

    /// Returns connections of a project, at most `limit`; only those of one of the host's users, if one is named.
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
                // The user is unknown, and so has no connections.
                None => return Ok(Vec::new()),
            },
        };
        self.connection_store.page(ConnectionFilter { user, ..filter }, self.clock.now(), limit).await
    }

    /// Returns one connection of any user, for callers that may see all connections.
    pub async fn connection(&self, id: ConnectionId) -> Result<Option<ListedConnection>, StoreError> {
        self.connection_store.find_listed(id).await
    }

    /// Replaces the host's metadata of a connection, if the connection exists.
    pub async fn set_metadata(&self, id: ConnectionId, metadata: Option<String>) -> Result<(), StoreError> {
        self.connection_store.set_metadata(id, metadata).await
    }

    /// Returns the events of a connection after the event with this number, oldest first.
    pub async fn events(&self, id: ConnectionId, after: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.webhook_store.events_of(id, after, limit).await
    }

    /// Returns the connections of a user.
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

    /// Returns the number of connections with each status.
    pub(in crate::services) async fn count_by_status(
        &self,
        now: Timestamp,
    ) -> Result<[(ConnectionStatus, i64); ConnectionStatus::ALL.len()], StoreError> {
        let degraded = self.connection_store.count_degraded(now).await?;
        let stored = self.connection_store.count_tokens().await?;
        let stored = |state| stored.iter().find(|(name, _)| name == state).map_or(0, |(_, count)| *count);
        let count = |status: ConnectionStatus| match status {
            // Both numbers are read one after the other.
            ConnectionStatus::Active => stored(status.as_str()).saturating_sub(degraded).max(0),
            ConnectionStatus::Degraded => degraded,
            ConnectionStatus::NeedsReauth | ConnectionStatus::IntegrityError => stored(status.as_str()),
        };
        Ok(ConnectionStatus::ALL.map(|status| (status, count(status))))
    }

    /// Returns the due refreshes.
    pub(in crate::services) async fn due_refreshes(&self, now: Timestamp) -> Result<Backlog, StoreError> {
        self.connection_store.due_refreshes(now).await
    }
}
