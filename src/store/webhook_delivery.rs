//! Rows of WebhookDelivery: claimed under a lease, noted under its fence, given up in time.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, DbBackend, EntityTrait, QueryFilter};

use super::db::{Row, places};
use super::entity::webhook_endpoint::{Column, Entity};
use super::{Store, StoreError, Tx, webhook_endpoint};
use crate::domain::clock::Moment;
use crate::domain::event::{EventType, message};
use crate::domain::id::WebhookId;
use crate::domain::webhook::{
    After, Attempt, Delivery, DeliveryError, DeliveryStatus, DisabledReason, Endpoint, LEASE, MAX_WAITING,
    PATIENCE,
};

const COLUMNS: &str = "event_id, event.type, status, attempts, queued_at, run_at, last_status, last_error, \
    last_attempt_at, delivered_at";

/// A delivery that is ours for the time of a lease.
#[derive(Debug, Clone)]
pub struct ClaimedDelivery {
    /// Where to, as it was when the lease was taken.
    pub endpoint: Endpoint,
    /// Which event.
    pub event_id: String,
    /// The message.
    pub payload: String,
    /// How many attempts have failed before.
    pub attempts: i64,
    /// Under this number the outcome is noted.
    pub fence: i64,
}

/// Where a page of deliveries begins: behind this one.
pub type Behind = (Moment, String);

impl Store {
    /// Endpoints that are told and have something due.
    pub async fn endpoints_due(&self, now: Moment) -> Result<Vec<WebhookId>, StoreError> {
        let sql = "SELECT id FROM webhook_endpoint WHERE enabled = 1 AND EXISTS (SELECT 1 FROM webhook_delivery \
                   WHERE endpoint_id = webhook_endpoint.id AND status = 'pending' AND run_at <= $1)";
        self.all(sql, [now.unix_ms().into()]).await?.iter().map(|row| row.parsed("id")).collect()
    }

    /// Claims up to `limit` due deliveries to one endpoint. An event is left alone while an earlier one of the same
    /// connection has not been tried.
    pub async fn claim_deliveries(
        &self,
        owner: &str,
        endpoint: WebhookId,
        limit: u32,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let owner = owner.to_owned();
        self.write(move |tx| Box::pin(claim(tx, owner.clone(), endpoint, limit))).await
    }

    /// Notes what came of an attempt, and what follows. `false` if somebody else has the lease by now.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the lease then runs out by itself.
    pub async fn note_delivery(
        &self,
        claimed: &ClaimedDelivery,
        attempt: Attempt,
        after: After,
        now: Moment,
    ) -> Result<bool, StoreError> {
        let (event, endpoint, fence) = (claimed.event_id.clone(), claimed.endpoint.id, claimed.fence);
        self.write(move |tx| {
            let (event, attempt) = (event.clone(), attempt.clone());
            Box::pin(async move { note(tx, (event, endpoint, fence), &attempt, after, now).await })
        })
        .await
    }

    /// Deliveries to an endpoint, the newest first, from behind `behind` on.
    pub async fn deliveries(
        &self,
        endpoint: WebhookId,
        status: Option<DeliveryStatus>,
        behind: Option<Behind>,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let (at, event) = behind.unwrap_or((Moment::from_unix_ms(i64::MAX), String::new()));
        let only = status.map_or_else(String::new, |status| format!("AND status = '{status}'"));
        let sql = format!(
            "SELECT {COLUMNS} FROM webhook_delivery JOIN event ON event.id = event_id WHERE endpoint_id = $1 \
             AND (queued_at, event_id) < ($2, $3) {only} ORDER BY queued_at DESC, event_id DESC LIMIT $4"
        );
        let values =
            [endpoint.to_string().into(), at.unix_ms().into(), event.into(), i64::from(limit).into()];
        self.all(&sql, values).await?.iter().map(read).collect()
    }

    /// One delivery.
    pub async fn delivery(&self, endpoint: WebhookId, event: &str) -> Result<Option<Delivery>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM webhook_delivery JOIN event ON event.id = event_id \
             WHERE event_id = $1 AND endpoint_id = $2"
        );
        let values = [event.to_owned().into(), endpoint.to_string().into()];
        self.one(&sql, values).await?.map(|row| read(&row)).transpose()
    }

    /// Queues a delivery anew, whatever became of it. `false` if there is none.
    pub async fn replay_delivery(
        &self,
        endpoint: WebhookId,
        event: &str,
        now: Moment,
    ) -> Result<bool, StoreError> {
        // The raised fence refuses whoever is at it.
        let sql = "UPDATE webhook_delivery SET status = 'pending', attempts = 0, queued_at = $3, run_at = $3, \
                   lease_owner = NULL, lease_until = NULL, fence = fence + 1, delivered_at = NULL \
                   WHERE event_id = $1 AND endpoint_id = $2";
        let values: [sea_orm::Value; 3] =
            [event.to_owned().into(), endpoint.to_string().into(), now.unix_ms().into()];
        self.write(move |tx| {
            let values = values.clone();
            Box::pin(async move { Ok(tx.run(sql, values).await? == 1) })
        })
        .await
    }

    /// Queues a message for this endpoint alone.
    pub async fn queue_test(&self, endpoint: WebhookId, id: &str, now: Moment) -> Result<(), StoreError> {
        let kind = EventType::WebhookTest;
        let payload = message(kind, now, serde_json::json!({"webhook_id": endpoint}));
        let (id, now) = (id.to_owned(), now.unix_ms());
        self.write(move |tx| {
            let event: [sea_orm::Value; 4] =
                [id.clone().into(), kind.as_str().into(), payload.clone().into(), now.into()];
            let delivery = [id.clone().into(), endpoint.to_string().into(), now.into()];
            Box::pin(async move {
                let sql = "INSERT INTO event (id, type, payload, created_at) VALUES ($1, $2, $3, $4)";
                tx.run(sql, event).await?;
                let sql = "INSERT INTO webhook_delivery (event_id, endpoint_id, queued_at, run_at) \
                           VALUES ($1, $2, $3, $3)";
                tx.run(sql, delivery).await.map(|_| ())
            })
        })
        .await
    }

    /// Gives up what has waited for too long, and the oldest where too many wait. Says how many.
    pub async fn expire_deliveries(&self, now: Moment) -> Result<u64, StoreError> {
        let old = now.minus(PATIENCE).unix_ms();
        let aged = "UPDATE webhook_delivery SET status = 'failed', last_error = 'expired' WHERE status = 'pending' \
                    AND queued_at < $1";
        let mut expired =
            self.write(move |tx| Box::pin(async move { tx.run(aged, [old.into()]).await })).await?;
        for endpoint in self.endpoints().await? {
            let waits = "SELECT queued_at FROM webhook_delivery WHERE endpoint_id = $1 AND status = 'pending' \
                         ORDER BY queued_at DESC LIMIT 1 OFFSET $2";
            let most = i64::try_from(MAX_WAITING).unwrap_or(i64::MAX);
            let id = endpoint.id.to_string();
            let Some(row) = self.one(waits, [id.clone().into(), most.into()]).await? else { continue };
            let newest: i64 = row.get("queued_at")?;
            expired += self
                .write(move |tx| {
                    let sql = "UPDATE webhook_delivery SET status = 'failed', last_error = 'too_many_waiting' \
                               WHERE endpoint_id = $1 AND status = 'pending' AND queued_at <= $2";
                    let values = [id.clone().into(), newest.into()];
                    Box::pin(async move { tx.run(sql, values).await })
                })
                .await?;
        }
        Ok(expired)
    }

    /// How many deliveries wait.
    pub async fn count_waiting_deliveries(&self) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) AS waiting FROM webhook_delivery WHERE status = 'pending'";
        self.one(sql, []).await?.map_or(Ok(0), |row| row.get("waiting"))
    }
}

/// Claims what is due: `$1` the endpoint, `$2` the time, `$3` how many, `$4` who claims, `$5` until when.
fn claim_sql(skip_locked: bool) -> String {
    let skip = if skip_locked { "FOR UPDATE SKIP LOCKED" } else { "" };
    format!(
        "WITH due AS MATERIALIZED (SELECT event_id FROM webhook_delivery AS one WHERE endpoint_id = $1 \
         AND status = 'pending' AND run_at <= $2 AND (lease_until IS NULL OR lease_until <= $2) \
         AND NOT EXISTS (SELECT 1 FROM webhook_delivery AS earlier WHERE earlier.endpoint_id = one.endpoint_id \
         AND earlier.connection_id = one.connection_id AND earlier.sequence < one.sequence \
         AND earlier.status = 'pending' AND earlier.attempts = 0) ORDER BY run_at LIMIT $3 {skip}) \
         UPDATE webhook_delivery SET lease_owner = $4, lease_until = $5, fence = fence + 1 \
         WHERE endpoint_id = $1 AND event_id IN (SELECT event_id FROM due) RETURNING event_id, attempts, fence"
    )
}

async fn claim(
    tx: &Tx<'_>,
    owner: String,
    endpoint: WebhookId,
    limit: u32,
) -> Result<Vec<ClaimedDelivery>, StoreError> {
    let enabled = Entity::find_by_id(endpoint).filter(Column::Enabled.eq(1));
    let Some(row) = enabled.one(&tx.db).await? else { return Ok(Vec::new()) };
    let endpoint = Endpoint::from(row);
    let now = tx.now().await?;
    let values: [sea_orm::Value; 5] = [
        endpoint.id.to_string().into(),
        now.unix_ms().into(),
        i64::from(limit).into(),
        owner.into(),
        now.plus(LEASE).unix_ms().into(),
    ];
    let rows = tx.all(&claim_sql(tx.backend() == DbBackend::Postgres), values).await?;
    let mut payloads = payloads(tx, &rows).await?;
    let claimed = rows.iter().map(|row| {
        let event_id: String = row.get("event_id")?;
        Ok(ClaimedDelivery {
            endpoint: endpoint.clone(),
            payload: payloads.remove(&event_id).ok_or(StoreError::Unreadable("event"))?,
            event_id,
            attempts: row.get("attempts")?,
            fence: row.get("fence")?,
        })
    });
    claimed.collect()
}

async fn payloads(tx: &Tx<'_>, claimed: &[Row]) -> Result<HashMap<String, String>, StoreError> {
    if claimed.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!("SELECT id, payload FROM event WHERE id IN ({})", places(tx.backend(), claimed.len()));
    let ids = claimed.iter().map(|row| row.get::<String>("event_id")).collect::<Result<Vec<_>, _>>()?;
    let rows = tx.all(&sql, ids.into_iter().map(Into::into)).await?;
    rows.iter().map(|row| Ok((row.get("id")?, row.get("payload")?))).collect()
}

async fn note(
    tx: &Tx<'_>,
    (event, endpoint, fence): (String, WebhookId, i64),
    attempt: &Attempt,
    after: After,
    now: Moment,
) -> Result<bool, StoreError> {
    let status = match after {
        After::Delivered => DeliveryStatus::Delivered,
        After::Again(_) => DeliveryStatus::Pending,
        After::Failed | After::Gone => DeliveryStatus::Failed,
    };
    let pause = if let After::Again(pause) = after { pause } else { std::time::Duration::ZERO };
    // By the clock that replicas agree on: one whose own is slow must not shorten the pause.
    let run_at = tx.now().await?.plus(pause);
    let sql = "UPDATE webhook_delivery SET status = $4, attempts = attempts + 1, run_at = $5, lease_owner = NULL, \
               lease_until = NULL, last_status = $6, last_error = $7, last_attempt_at = $8, delivered_at = $9 \
               WHERE event_id = $1 AND endpoint_id = $2 AND fence = $3";
    let values: [sea_orm::Value; 9] = [
        event.into(),
        endpoint.to_string().into(),
        fence.into(),
        status.as_str().into(),
        run_at.unix_ms().into(),
        attempt.status.map(i64::from).into(),
        attempt.error.map(DeliveryError::as_str).into(),
        now.unix_ms().into(),
        (after == After::Delivered).then_some(now.unix_ms()).into(),
    ];
    let noted = tx.run(sql, values).await? == 1;
    if noted && after == After::Gone {
        webhook_endpoint::disable(tx, endpoint, DisabledReason::Gone).await?;
    }
    Ok(noted)
}

fn read(row: &Row) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        event_id: row.get("event_id")?,
        kind: row.parsed("type")?,
        status: row.parsed("status")?,
        attempts: row.get("attempts")?,
        queued_at: row.moment("queued_at")?,
        run_at: row.moment("run_at")?,
        last_status: row.get("last_status")?,
        last_error: row.get("last_error")?,
        last_attempt_at: row.maybe_moment("last_attempt_at")?,
        delivered_at: row.maybe_moment("delivered_at")?,
    })
}
