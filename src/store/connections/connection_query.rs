//! Connections as operators and the host's backend see them: everything except the tokens.

use std::time::Duration;

use sea_orm::{DbBackend, Value};

use crate::domain::clock::Timestamp;
use crate::domain::connection::ConnectionStatus;
use crate::domain::describe::RefreshPlan;
use crate::domain::external::ExternalUserId;
use crate::domain::id::{ConnectionId, PortalId, UserId};
use crate::domain::metadata::MetadataFilter;
use crate::domain::order::Order;
use crate::domain::project::ProjectId;
use crate::domain::token::{MIN_REFRESH_INTERVAL, Token};
use crate::store::db::Row;
use crate::store::entity::columns;
use crate::store::entity::token::Entity;
use crate::store::{ConnectionStore, StoreError, TokenRow};

/// A connection with the state of its job.
#[derive(Debug, Clone)]
pub struct ListedConnection {
    /// The connection.
    pub token: Token,
    /// Its refresh schedule.
    pub plan: RefreshPlan,
    /// The host's id of its owner, if it belongs to one of the host's users.
    pub external_user: Option<ExternalUserId>,
    /// The host's metadata: a JSON object.
    pub metadata: Option<String>,
    /// The project that it belongs to.
    pub project: ProjectId,
}

/// A selection of connections.
#[derive(Debug, Clone, Default)]
pub struct ConnectionFilter {
    /// Only connections of this project.
    pub project: ProjectId,
    /// Only connections of this user, who belongs to the project.
    pub user: Option<UserId>,
    /// Only connections to this account.
    pub portal: Option<PortalId>,
    /// Only connections with this status.
    pub status: Option<ConnectionStatus>,
    /// Only connections with this entry in their metadata.
    pub metadata: Option<MetadataFilter>,
    /// Only connections that were created at this time or later.
    pub created_after: Option<Timestamp>,
    /// Only connections that were created before this time.
    pub created_before: Option<Timestamp>,
    /// The order of creation.
    pub order: Order,
    /// Only connections after this one in that order.
    pub after: Option<(Timestamp, ConnectionId)>,
}

impl ConnectionStore {
    /// Returns connections in order of their ids, after `after`.
    pub async fn list_tokens(&self, after: &str, limit: u32) -> Result<Vec<ListedConnection>, StoreError> {
        let sql = format!("{} WHERE id > $1 ORDER BY id LIMIT $2", select());
        let rows = self.db.all(&sql, [after.to_owned().into(), i64::from(limit).into()]).await?;
        rows.iter().map(read).collect()
    }

    /// Returns a connection of any user.
    pub async fn find_listed(&self, id: ConnectionId) -> Result<Option<ListedConnection>, StoreError> {
        let sql = format!("{} WHERE id = $1", select());
        self.db.one(&sql, [id.into()]).await?.map(|row| read(&row)).transpose()
    }

    /// Returns the project of a connection, which never changes.
    pub async fn project_of(&self, id: ConnectionId) -> Result<Option<ProjectId>, StoreError> {
        let row = self.db.one("SELECT project_id FROM token WHERE id = $1", [id.into()]).await?;
        row.map(|row| row.get("project_id")).transpose()
    }

    /// Returns the selected connections in the selected order.
    pub async fn page(
        &self,
        filter: ConnectionFilter,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ListedConnection>, StoreError> {
        let order = filter.order;
        let may_scan = filter.metadata.is_some();
        let (conditions, values) = conditions(filter, now, self.db.backend());
        let sql = format!("{} {conditions} ORDER BY created_at {order}, id {order} LIMIT {limit}", select());
        let rows = match may_scan {
            true => self.db.all_on_own_thread(&sql, values).await?,
            false => self.db.all(&sql, values).await?,
        };
        rows.iter().map(read).collect()
    }

    /// Returns the number of connections per stored state.
    pub async fn count_tokens(&self) -> Result<Vec<(String, i64)>, StoreError> {
        // Only inactive connections have an index by state.
        let sql = "SELECT state, COUNT(*) AS uses FROM token WHERE state <> 'active' GROUP BY state UNION ALL \
                   SELECT 'active', COUNT(*) - (SELECT COUNT(*) FROM token WHERE state <> 'active') FROM token \
                   ORDER BY state";
        let rows = self.db.all_on_own_thread(sql, []).await?;
        let counts = rows.iter().map(|row| Ok((row.get("state")?, row.get("uses")?)));
        counts.filter(|count| !matches!(count, Ok((_, 0)))).collect()
    }

    /// Returns the number of degraded connections.
    pub async fn count_degraded(&self, now: Timestamp) -> Result<i64, StoreError> {
        let condition = DEGRADED.replacen('?', "$1", 1).replacen('?', "$2", 1);
        let sql = format!("SELECT COUNT(*) AS degraded FROM token WHERE {condition}");
        let values = [now.into(), now.plus(EARLIEST_REFRESH).into()];
        self.db.all_on_own_thread(&sql, values).await?.first().map_or(Ok(0), |row| row.get("degraded"))
    }
}

/// The condition of a degraded connection, with the current time and that of the earliest refresh of a new token. An
/// expired connection has failed before, or is due: this finds it without reading all healthy ones.
const DEGRADED: &str = "state = 'active' AND expires_at <= ? AND id IN (SELECT id FROM token \
                        WHERE error_since IS NOT NULL \
                        UNION ALL SELECT connection_id FROM token_refresh_job WHERE run_at <= ?)";

fn select() -> String {
    format!(
        "SELECT {}, job.run_at, job.attempts, job.lease_until, (SELECT external_id FROM external_user \
         WHERE external_user.user_id = token.user_id) AS external_id FROM token \
         LEFT JOIN token_refresh_job AS job ON job.connection_id = id",
        columns::<Entity>()
    )
}

fn conditions(filter: ConnectionFilter, now: Timestamp, backend: DbBackend) -> (String, Vec<Value>) {
    let mut conditions: Vec<String> = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let mut add = |condition: &str, given: &[Value]| {
        let mut condition = condition.to_owned();
        for value in given {
            values.push(value.clone());
            condition = condition.replacen('?', &format!("${}", values.len()), 1);
        }
        conditions.push(condition);
    };
    match (filter.user, filter.status) {
        // All connections of a user belong to one project; with both conditions, SQLite would use the project's index.
        (Some(user), _) => add("user_id = ?", &[user.into()]),
        (None, Some(ConnectionStatus::Degraded)) => add("project_id || '' = ?", &[filter.project.into()]),
        (None, _) => add("project_id = ?", &[filter.project.into()]),
    }
    if let Some(portal) = filter.portal {
        add("portal_id = ?", &[portal.into()]);
    }
    match filter.status {
        None => {}
        Some(ConnectionStatus::Active) => add("state = 'active' AND expires_at > ?", &[now.into()]),
        Some(ConnectionStatus::Degraded) => add(DEGRADED, &[now.into(), now.plus(EARLIEST_REFRESH).into()]),
        // The first condition is that of the index, which SQLite uses only if it is repeated.
        Some(ConnectionStatus::NeedsReauth) => add("state <> 'active' AND state = 'needs_reauth'", &[]),
        Some(ConnectionStatus::IntegrityError) => add("state <> 'active' AND state = 'integrity_error'", &[]),
    }
    // Both databases return the JSON of the entry as it was written. No index helps here.
    match (filter.metadata, backend) {
        (None, _) => {}
        (Some(MetadataFilter { key, value }), DbBackend::Sqlite) => {
            add("metadata -> ? = ?", &[format!("$.\"{key}\"").into(), value.into()]);
        }
        (Some(MetadataFilter { key, value }), _) => {
            add("CAST(CAST(metadata AS json) -> CAST(? AS text) AS text) = ?", &[key.into(), value.into()]);
        }
    }
    if let Some(at) = filter.created_after {
        add("created_at >= ?", &[at.into()]);
    }
    if let Some(at) = filter.created_before {
        add("created_at < ?", &[at.into()]);
    }
    if let Some((at, id)) = filter.after {
        let further = if filter.order == Order::Asc { ">" } else { "<" };
        add(&format!("(created_at, id) {further} (?, ?)"), &[at.into(), id.into()]);
    }
    (format!("WHERE {}", conditions.join(" AND ")), values)
}

/// The delay of the refresh of a token that is already expired when it is received.
const EARLIEST_REFRESH: Duration = MIN_REFRESH_INTERVAL;

fn read(row: &Row) -> Result<ListedConnection, StoreError> {
    let token: TokenRow = row.model()?;
    Ok(ListedConnection {
        plan: RefreshPlan {
            run_at: row.get("run_at")?,
            attempts: row.get::<Option<i64>>("attempts")?.unwrap_or(0),
            lease_until: row.get("lease_until")?,
        },
        external_user: row.get("external_id")?,
        metadata: token.metadata.clone(),
        project: token.project_id.clone(),
        token: token.into(),
    })
}
