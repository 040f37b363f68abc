//! Rows of Event, the outbox: an event and its deliveries are written in the transaction of the change that they
//! report.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::ActiveValue::Set;
use sea_orm::{
    ColumnTrait, EntityTrait, FromQueryResult, Insert, QueryFilter, QueryOrder, QuerySelect, Value,
};
use serde::Serialize;

use crate::domain::clock::Timestamp;
use crate::domain::connection::StoredState;
use crate::domain::event::{
    AppData, ConnectSessionData, ConnectionData, EventType, InstallData, id_of, id_of_install, id_of_session,
    message,
};
use crate::domain::id::{ConnectionId, PortalId};
use crate::domain::project::ProjectId;
use crate::domain::scopes::Scopes;
use crate::store::db::{Row, placeholders, values};
use crate::store::entity::alarm;
use crate::store::entity::columns;
use crate::store::entity::event::{ActiveModel, Column, Entity};
use crate::store::entity::webhook_delivery;
use crate::store::{Event, StoreError, Tx, WebhookStore};

/// The number of events that are deleted per transaction.
const EVENTS_PER_TRANSACTION: i64 = 1_000;

/// The time that a `connection.created` message waits for the domain of its account, which is fetched from HubSpot
/// right after the connection is stored.
const DETAILS_GRACE: Duration = Duration::from_secs(30);

/// Selects the endpoints of an event's project that subscribe to it: by name, or to all but refreshes.
const SUBSCRIBES: &str = "enabled = 1 AND (event.project_id IS NULL OR event.project_id = webhook_endpoint.project_id) \
                     AND (types LIKE '% ' || event.type || ' %' \
                     OR (types IS NULL AND event.type <> 'connection.refreshed'))";

/// A selection of events.
#[derive(Debug, Clone)]
pub struct EventFilter {
    /// Only events of this project and of the whole app.
    pub project: ProjectId,
    /// Only events of this type.
    pub kind: Option<EventType>,
    /// Only events that were created at this time or later.
    pub created_after: Option<Timestamp>,
    /// Only events that were created before this time.
    pub created_before: Timestamp,
    /// Only events after this one.
    pub after: Option<(Timestamp, String)>,
}

impl WebhookStore {
    /// Returns the selected events, the oldest first, at most `limit`.
    pub async fn events(&self, filter: EventFilter, limit: u32) -> Result<Vec<Event>, StoreError> {
        let after = filter.after.unwrap_or((Timestamp::from_unix_ms(0), String::new()));
        let mut values: Vec<Value> = vec![
            filter.project.into(),
            filter.created_after.map_or(after.0, |at| at.max(after.0)).into(),
            filter.created_before.into(),
            after.0.into(),
            after.1.into(),
        ];
        let of_type = if filter.kind.is_some() { "AND type = $6" } else { "" };
        values.extend(filter.kind.map(Into::into));
        let columns = columns::<Entity>();
        // Each part uses the index of its project: with OR, SQLite would sort all events.
        let first = |project: &str| {
            format!(
                "SELECT * FROM (SELECT {columns} FROM event WHERE project_id {project} AND created_at >= $2 \
                 AND created_at < $3 AND (created_at > $4 OR id > $5) {of_type} \
                 ORDER BY created_at, id LIMIT {limit}) AS found"
            )
        };
        let sql =
            format!("{} UNION ALL {} ORDER BY created_at, id LIMIT {limit}", first("= $1"), first("IS NULL"));
        self.db.all(&sql, values).await?.iter().map(Row::model).collect()
    }

    /// Returns the events of a connection after this number, the oldest first.
    pub async fn events_of(
        &self,
        connection: ConnectionId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let later = Entity::find().filter(Column::ConnectionId.eq(connection));
        let later = later.filter(Column::Sequence.gt(after)).order_by_asc(Column::Sequence);
        self.db.find_all(later.limit(u64::from(limit))).await
    }

    /// Returns an event.
    pub async fn event(&self, id: &str) -> Result<Option<Event>, StoreError> {
        self.db.find(Entity::find_by_id(id.to_owned())).await
    }

    /// Deletes events that are older than their type is kept for, with their deliveries. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; what was deleted by then stays so.
    pub async fn forget_events(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut all = 0;
        for kind in EventType::ALL {
            let before = now.minus(kind.kept_for());
            all += self.db.write(move |tx| Box::pin(forget(tx, kind, before))).await?;
        }
        Ok(all)
    }

    /// Records a fault of the whole app, and reports it once: `false` if it is already known.
    pub async fn raise_alarm(&self, kind: EventType, id: String, data: AppData) -> Result<bool, StoreError> {
        self.db
            .write(move |tx| {
                let (id, data) = (id.clone(), data.clone());
                Box::pin(async move {
                    let now = tx.now().await?;
                    if !tx.insert_new(alarm::Model { code: kind, since: now }).await? {
                        return Ok(false);
                    }
                    insert(tx, vec![standalone(id, kind, None, now, data)], Duration::ZERO).await?;
                    Ok(true)
                })
            })
            .await
    }

    /// Clears an alarm.
    pub async fn clear_alarm(&self, kind: EventType) -> Result<(), StoreError> {
        self.db.change(alarm::Entity::delete_by_id(kind)).await.map(|_| ())
    }
}

/// Writes an event of a connection and its deliveries. Callers must call this in the transaction of the change, after
/// the change, but before it if the change removes the connection.
pub(in crate::store) async fn append(
    tx: &Tx<'_>,
    kind: EventType,
    connection: ConnectionId,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    append_all(tx, kind, &[connection], reason).await
}

/// Writes the event of an unclaimed install, in the transaction that stores the install.
pub(in crate::store) async fn append_install(tx: &Tx<'_>, data: InstallData) -> Result<(), StoreError> {
    let id = id_of_install(data.install_id);
    let now = tx.now().await?;
    insert(tx, vec![standalone(id, EventType::InstallUnclaimed, None, now, data)], Duration::ZERO).await
}

/// Writes an event of a connect session, in the transaction that changes its status.
pub(in crate::store) async fn append_session(
    tx: &Tx<'_>,
    kind: EventType,
    project: ProjectId,
    data: ConnectSessionData<'_>,
) -> Result<(), StoreError> {
    let id = id_of_session(data.connect_session_id, kind);
    insert(tx, vec![standalone(id, kind, Some(project), tx.now().await?, data)], Duration::ZERO).await
}

/// Writes an event of many connections, each given once, in as many statements as for one.
pub(in crate::store) async fn append_all(
    tx: &Tx<'_>,
    kind: EventType,
    connections: &[ConnectionId],
    reason: Option<&str>,
) -> Result<(), StoreError> {
    let mut known = snapshots(tx, connections).await?;
    // In order of their ids, so that two replicas that increment the same numbers wait for each other instead of
    // deadlocking.
    known.sort_unstable_by_key(|one| one.id);
    if known.is_empty() {
        return Ok(());
    }
    let numbers = count(tx, &known).await?;
    // A backend that pages through events needs one clock for the events of all replicas.
    let now = tx.now().await?;
    let events = known.iter().map(|one| {
        let sequence = numbers.get(&one.id).copied().ok_or(StoreError::Unreadable("event_sequence"))?;
        Ok(one.event(kind, sequence, now, reason))
    });
    let waits = kind == EventType::ConnectionCreated && known.iter().any(|one| one.hub_domain.is_none());
    let pause = if waits { DETAILS_GRACE } else { Duration::ZERO };
    insert(tx, events.collect::<Result<_, StoreError>>()?, pause).await
}

/// Adds the account's domain to a `connection.created` message, and makes its deliveries due. A message that may
/// already have been sent without it stays as it is.
pub(in crate::store) async fn release_created_event(
    tx: &Tx<'_>,
    connection: ConnectionId,
    hub_domain: &str,
) -> Result<(), StoreError> {
    // Deliveries are scheduled by the database's time.
    let (id, now) = (id_of(connection, 1), tx.now().await?);
    let created = Entity::find_by_id(&id).filter(Column::Kind.eq(EventType::ConnectionCreated));
    let Some(event) = created.one(&tx.db).await? else { return Ok(()) };
    let message = serde_json::from_str::<serde_json::Value>(&event.payload).ok();
    let Some(mut message) = message.filter(|_| now < event.created_at.plus(DETAILS_GRACE)) else {
        return Ok(());
    };
    message["data"]["hub_domain"] = hub_domain.into();
    let known = ActiveModel { payload: Set(message.to_string()), ..Default::default() };
    tx.change(Entity::update_many().set(known).filter(Column::Id.eq(&id))).await?;
    let due = webhook_delivery::ActiveModel { run_at: Set(now), ..Default::default() };
    let deliveries = webhook_delivery::Entity::update_many().set(due);
    tx.change(deliveries.filter(webhook_delivery::Column::EventId.eq(id))).await.map(|_| ())
}

/// Returns an event that belongs to no connection.
pub(in crate::store) fn standalone(
    id: String,
    kind: EventType,
    project_id: Option<ProjectId>,
    at: Timestamp,
    data: impl Serialize,
) -> Event {
    let payload = message(kind, at, data);
    Event { id, kind, connection_id: None, sequence: None, payload, created_at: at, project_id }
}

/// A connection as it is in the middle of its transaction.
#[derive(FromQueryResult)]
struct Snapshot {
    id: ConnectionId,
    external_id: Option<String>,
    portal_id: Option<PortalId>,
    hub_domain: Option<String>,
    state: StoredState,
    /// Empty while they are unknown.
    scopes: Scopes,
    last_error: Option<String>,
    project_id: ProjectId,
}

impl Snapshot {
    fn event(&self, kind: EventType, sequence: i64, at: Timestamp, reason: Option<&str>) -> Event {
        let data = ConnectionData {
            connection_id: self.id,
            sequence,
            external_user_id: self.external_id.as_deref(),
            portal_id: self.portal_id,
            hub_domain: self.hub_domain.as_deref(),
            status: match kind {
                EventType::ConnectionDegraded => "degraded",
                EventType::ConnectionDisconnected => "disconnected",
                _ => self.state.as_str(),
            },
            scopes: Some(&self.scopes).filter(|scopes| !scopes.is_empty()),
            reason: reason.or_else(|| self.last_error.as_deref().filter(|_| kind.has_error())),
        };
        Event {
            id: id_of(self.id, sequence),
            kind,
            connection_id: Some(self.id),
            sequence: Some(sequence),
            payload: message(kind, at, data),
            created_at: at,
            project_id: Some(self.project_id.clone()),
        }
    }
}

async fn snapshots(tx: &Tx<'_>, connections: &[ConnectionId]) -> Result<Vec<Snapshot>, StoreError> {
    if connections.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT id, external_id, portal_id, hub_domain, state, scopes, last_error, token.project_id FROM token \
         LEFT JOIN external_user ON external_user.user_id = token.user_id WHERE id IN ({})",
        placeholders(tx.backend(), connections.len())
    );
    let values = connections.iter().map(|id| (*id).into());
    Ok(Snapshot::find_by_statement(tx.statement(&sql, values)).all(&tx.db).await?)
}

/// Returns the next event number of each connection. The row stays locked until the end of the transaction, so events
/// become visible in the order of their numbers.
async fn count(tx: &Tx<'_>, of: &[Snapshot]) -> Result<HashMap<ConnectionId, i64>, StoreError> {
    let sql = format!(
        "INSERT INTO event_sequence (connection_id, last) {} ON CONFLICT (connection_id) \
         DO UPDATE SET last = event_sequence.last + 1 RETURNING connection_id, last",
        values(tx.backend(), of.len(), 1, ", 1")
    );
    let rows = tx.all(&sql, of.iter().map(|one| one.id.into())).await?;
    rows.iter().map(|row| Ok((row.get("connection_id")?, row.get("last")?))).collect()
}

/// Writes events and their deliveries, which are due after a pause.
async fn insert(tx: &Tx<'_>, events: Vec<Event>, pause: Duration) -> Result<(), StoreError> {
    let ids: Vec<Value> = events.iter().map(|event| event.id.clone().into()).collect();
    tx.change(Insert::<ActiveModel>::many(events)).await?;
    let fan_out = format!(
        "INSERT INTO webhook_delivery (event_id, endpoint_id, connection_id, sequence, queued_at, run_at) \
         SELECT event.id, webhook_endpoint.id, connection_id, sequence, event.created_at, event.created_at + {} \
         FROM event CROSS JOIN webhook_endpoint WHERE {SUBSCRIBES} AND event.id IN ({})",
        pause.as_millis(),
        placeholders(tx.backend(), ids.len())
    );
    tx.run(&fan_out, ids).await.map(|_| ())
}

/// Deletes a page of old events. The counter of a deleted connection is deleted with its last event.
async fn forget(tx: &Tx<'_>, kind: EventType, before: Timestamp) -> Result<u64, StoreError> {
    let sql = "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE type = $1 AND created_at < $2 \
               ORDER BY created_at LIMIT $3) RETURNING connection_id";
    let rows = tx.all(sql, [kind.into(), before.into(), EVENTS_PER_TRANSACTION.into()]).await?;
    if kind == EventType::ConnectionDisconnected && !rows.is_empty() {
        let gone =
            rows.iter().map(|row| row.get::<String>("connection_id")).collect::<Result<Vec<_>, _>>()?;
        let sql = format!(
            "DELETE FROM event_sequence WHERE connection_id IN ({}) \
             AND NOT EXISTS (SELECT 1 FROM token WHERE token.id = connection_id)",
            placeholders(tx.backend(), gone.len())
        );
        tx.run(&sql, gone.into_iter().map(Into::into)).await?;
    }
    Ok(rows.len() as u64)
}
