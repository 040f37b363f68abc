//! Rows of WebhookDelivery: acquired under a lease, finished under its fence, given up in time.

use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, Condition, DbBackend, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, RelationTrait, UpdateMany, Value,
};

use crate::domain::clock::Timestamp;
use crate::domain::event::{EventType, TestData};
use crate::domain::id::WebhookId;
use crate::domain::webhook::{
    After, Attempt, DELIVERY_LEASE, DeliveryStatus, DisabledReason, MAX_DELIVERY_AGE, MAX_WAITING_DELIVERIES,
};
use crate::store::entity::flag::Flag;
use crate::store::entity::webhook_delivery::{ActiveModel, Column, Entity, Relation};
use crate::store::entity::webhook_endpoint;
use crate::store::webhooks::event;
use crate::store::{Backlog, Endpoint, StoreError, Tx, WebhookDelivery, WebhookStore};

/// A delivery under a lease of this process.
#[derive(Debug, Clone)]
pub struct AcquiredDelivery {
    /// The endpoint, as it was at the time of the lease.
    pub endpoint: Endpoint,
    /// The id of the event.
    pub event_id: String,
    /// The message.
    pub payload: String,
    /// The number of failed attempts so far.
    pub attempts: i64,
    /// The number under which the outcome is recorded.
    pub fence: i64,
}

/// The delivery after which a page starts.
pub type DeliveryCursor = (Timestamp, String);

/// A selection of deliveries.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryFilter {
    /// Only deliveries with this status.
    pub status: Option<DeliveryStatus>,
    /// Only deliveries that were queued at this time or later.
    pub queued_after: Option<Timestamp>,
    /// Only deliveries that were queued before this time.
    pub queued_before: Option<Timestamp>,
}

impl DeliveryFilter {
    fn of(self, endpoint: WebhookId) -> Condition {
        Condition::all()
            .add(Column::EndpointId.eq(endpoint))
            .add_option(self.status.map(|status| Column::Status.eq(status)))
            .add_option(self.queued_after.map(|at| Column::QueuedAt.gte(at)))
            .add_option(self.queued_before.map(|at| Column::QueuedAt.lt(at)))
    }
}

impl WebhookStore {
    /// Returns the enabled endpoints with due deliveries.
    pub async fn endpoints_due(&self, now: Timestamp) -> Result<Vec<WebhookId>, StoreError> {
        let sql = "SELECT id FROM webhook_endpoint WHERE enabled = 1 AND EXISTS (SELECT 1 FROM webhook_delivery \
                   WHERE endpoint_id = webhook_endpoint.id AND status = 'pending' AND run_at <= $1)";
        self.db.all(sql, [now.into()]).await?.iter().map(|row| row.get("id")).collect()
    }

    /// Acquires up to `limit` due deliveries to one endpoint. An event waits until the earlier ones of the same
    /// connection have been attempted.
    pub async fn acquire_deliveries(
        &self,
        owner: &str,
        endpoint: WebhookId,
        limit: u32,
    ) -> Result<Vec<AcquiredDelivery>, StoreError> {
        let owner = owner.to_owned();
        self.db.write(move |tx| Box::pin(acquire(tx, owner.clone(), endpoint, limit))).await
    }

    /// Records the outcome of an attempt and the next step. Returns `false` if another process has the lease by now.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the lease then expires by itself.
    pub async fn note_delivery(
        &self,
        acquired: &AcquiredDelivery,
        attempt: Attempt,
        after: After,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let endpoint = acquired.endpoint.id;
        let ours = of(&acquired.event_id, endpoint).filter(Column::Fence.eq(acquired.fence));
        self.db.write(move |tx| Box::pin(note(tx, endpoint, ours.clone(), attempt.clone(), after, now))).await
    }

    /// Returns deliveries to an endpoint, the newest first, after `cursor`.
    pub async fn deliveries(
        &self,
        endpoint: WebhookId,
        filter: DeliveryFilter,
        cursor: Option<DeliveryCursor>,
        limit: u32,
    ) -> Result<Vec<WebhookDelivery>, StoreError> {
        let mut found = Entity::find().join(JoinType::InnerJoin, Relation::Event.def());
        found = found.filter(filter.of(endpoint));
        if let Some((at, event)) = cursor {
            let place = Expr::tuple([Column::QueuedAt.into_expr(), Column::EventId.into_expr()]);
            found = found.filter(place.lt(Expr::tuple([Expr::val(at), Expr::val(event)])));
        }
        let newest = found.order_by_desc(Column::QueuedAt).order_by_desc(Column::EventId);
        self.db.find_parts(newest.limit(u64::from(limit))).await
    }

    /// Returns a delivery.
    pub async fn delivery(
        &self,
        endpoint: WebhookId,
        event: &str,
    ) -> Result<Option<WebhookDelivery>, StoreError> {
        let found = Entity::find_by_id((event.to_owned(), endpoint));
        Ok(self.db.find_parts(found.join(JoinType::InnerJoin, Relation::Event.def())).await?.pop())
    }

    /// Queues a delivery again, whatever its status. Returns `false` if there is none.
    pub async fn replay_delivery(
        &self,
        endpoint: WebhookId,
        event: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.db.change(queued_again(of(event, endpoint), now)).await? == 1)
    }

    /// Queues up to `most` deliveries again, the oldest first. Returns how many.
    pub async fn replay_deliveries(
        &self,
        endpoint: WebhookId,
        filter: DeliveryFilter,
        most: u64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let oldest = Entity::find().select_only().column(Column::EventId).filter(filter.of(endpoint));
        let oldest = oldest.order_by_asc(Column::QueuedAt).order_by_asc(Column::EventId).limit(most);
        // The condition is repeated for the rows themselves, so that two concurrent replays share them.
        let all = Entity::update_many().filter(filter.of(endpoint));
        let all = all.filter(Column::EventId.in_subquery(oldest.into_query()));
        self.db.change(queued_again(all, now)).await
    }

    /// Queues a test message for this endpoint only.
    pub async fn queue_test(&self, to: &Endpoint, id: &str, now: Timestamp) -> Result<(), StoreError> {
        let (endpoint, project) = (to.id, Some(to.project_id.clone()));
        let data = TestData { webhook_id: endpoint };
        let event = event::standalone(id.to_owned(), EventType::WebhookTest, project, now, data);
        self.db
            .write(move |tx| {
                let event = event.clone();
                let delivery = ActiveModel {
                    event_id: Set(event.id.clone()),
                    endpoint_id: Set(endpoint),
                    queued_at: Set(now),
                    run_at: Set(now),
                    ..Default::default()
                };
                Box::pin(async move {
                    tx.insert_new(event).await?;
                    tx.insert_new(delivery).await.map(|_| ())
                })
            })
            .await
    }

    /// Gives up deliveries that have waited for too long, and the oldest if too many wait. Returns how many.
    pub async fn expire_deliveries(&self, now: Timestamp) -> Result<u64, StoreError> {
        let aged = "UPDATE webhook_delivery SET status = 'failed', last_error = 'expired' WHERE status = 'pending' \
                    AND queued_at < $1";
        let mut expired = self.db.run(aged, [now.minus(MAX_DELIVERY_AGE).into()]).await?;
        for endpoint in self.endpoints().await? {
            let waits = "SELECT queued_at FROM webhook_delivery WHERE endpoint_id = $1 AND status = 'pending' \
                         ORDER BY queued_at DESC LIMIT 1 OFFSET $2";
            let most = i64::try_from(MAX_WAITING_DELIVERIES).unwrap_or(i64::MAX);
            let id = Value::from(endpoint.id);
            let Some(row) = self.db.one(waits, [id.clone(), most.into()]).await? else { continue };
            let crowded = "UPDATE webhook_delivery SET status = 'failed', last_error = 'too_many_waiting' \
                           WHERE endpoint_id = $1 AND status = 'pending' AND queued_at <= $2";
            expired += self.db.run(crowded, [id, row.get::<Timestamp>("queued_at")?.into()]).await?;
        }
        Ok(expired)
    }

    /// Returns the waiting deliveries.
    pub async fn waiting_deliveries(&self) -> Result<Backlog, StoreError> {
        let sql = "SELECT COUNT(*) AS waiting, MIN(queued_at) AS oldest FROM webhook_delivery \
                   WHERE status = 'pending'";
        self.db.backlog(sql, []).await
    }
}

/// Queues deliveries again.
fn queued_again(deliveries: UpdateMany<Entity>, now: Timestamp) -> UpdateMany<Entity> {
    let queued = ActiveModel {
        status: Set(DeliveryStatus::Pending),
        attempts: Set(0),
        queued_at: Set(now),
        run_at: Set(now),
        lease_owner: Set(None),
        lease_until: Set(None),
        delivered_at: Set(None),
        ..Default::default()
    };
    // The raised fence rejects the outcome of an attempt in progress.
    deliveries.set(queued).col_expr(Column::Fence, Column::Fence.into_expr().add(1))
}

/// Returns the statement that acquires due deliveries: `$1` is the endpoint, `$2` the time, `$3` the limit, `$4` the
/// new holder, `$5` the end of the lease.
fn acquire_sql(skip_locked: bool) -> String {
    let skip = if skip_locked { "FOR UPDATE SKIP LOCKED" } else { "" };
    format!(
        "WITH due AS MATERIALIZED (SELECT event_id FROM webhook_delivery AS one WHERE endpoint_id = $1 \
         AND status = 'pending' AND run_at <= $2 AND (lease_until IS NULL OR lease_until <= $2) \
         AND NOT EXISTS (SELECT 1 FROM webhook_delivery AS earlier WHERE earlier.endpoint_id = one.endpoint_id \
         AND earlier.connection_id = one.connection_id AND earlier.sequence < one.sequence \
         AND earlier.status = 'pending' AND earlier.attempts = 0) ORDER BY run_at LIMIT $3 {skip}) \
         UPDATE webhook_delivery SET lease_owner = $4, lease_until = $5, fence = fence + 1 \
         WHERE endpoint_id = $1 AND event_id IN (SELECT event_id FROM due) \
         RETURNING event_id, attempts, fence, (SELECT payload FROM event WHERE event.id = event_id) AS payload"
    )
}

async fn acquire(
    tx: &Tx<'_>,
    owner: String,
    endpoint: WebhookId,
    limit: u32,
) -> Result<Vec<AcquiredDelivery>, StoreError> {
    let enabled = webhook_endpoint::Entity::find_by_id(endpoint);
    let enabled = enabled.filter(webhook_endpoint::Column::Enabled.eq(Flag::from(true)));
    let Some(endpoint) = enabled.one(&tx.db).await? else { return Ok(Vec::new()) };
    let now = tx.now().await?;
    let values = [
        endpoint.id.into(),
        now.into(),
        i64::from(limit).into(),
        owner.into(),
        now.plus(DELIVERY_LEASE).into(),
    ];
    let rows = tx.all(&acquire_sql(tx.backend() == DbBackend::Postgres), values).await?;
    let acquired = rows.iter().map(|row| {
        Ok(AcquiredDelivery {
            endpoint: endpoint.clone(),
            event_id: row.get("event_id")?,
            payload: row.get("payload")?,
            attempts: row.get("attempts")?,
            fence: row.get("fence")?,
        })
    });
    acquired.collect()
}

/// Returns an update of the delivery of this event to this endpoint.
fn of(event: &str, endpoint: WebhookId) -> UpdateMany<Entity> {
    Entity::update_many().filter(Column::EventId.eq(event)).filter(Column::EndpointId.eq(endpoint))
}

async fn note(
    tx: &Tx<'_>,
    endpoint: WebhookId,
    ours: UpdateMany<Entity>,
    attempt: Attempt,
    after: After,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let status = match after {
        After::Delivered => DeliveryStatus::Delivered,
        After::Again(_) => DeliveryStatus::Pending,
        After::Failed | After::Gone => DeliveryStatus::Failed,
    };
    let pause = if let After::Again(pause) = after { pause } else { std::time::Duration::ZERO };
    // The time that replicas agree on: one with a slow clock must not shorten the pause.
    let run_at = tx.now().await?.plus(pause);
    let noted = ActiveModel {
        status: Set(status),
        run_at: Set(run_at),
        lease_owner: Set(None),
        lease_until: Set(None),
        last_status: Set(attempt.status.map(i64::from)),
        last_error: Set(attempt.error.map(|error| error.to_string())),
        last_attempt_at: Set(Some(now)),
        delivered_at: Set((after == After::Delivered).then_some(now)),
        ..Default::default()
    };
    let counted = Column::Attempts.into_expr().add(1);
    let noted = tx.change(ours.set(noted).col_expr(Column::Attempts, counted)).await? == 1;
    if noted && after == After::Gone {
        crate::store::webhooks::webhook_endpoint::disable(tx, endpoint, DisabledReason::Gone).await?;
    }
    Ok(noted)
}
