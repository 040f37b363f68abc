//! Removes connections, and rows of RevocationJob: refresh tokens that must be revoked at HubSpot.

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};

use crate::crash;
use crate::domain::clock::Timestamp;
use crate::domain::event::EventType;
use crate::domain::id::{ConnectionId, UserId};
use crate::store::db::Row;
use crate::store::entity::columns;
use crate::store::entity::revocation_job::{ActiveModel, Column, Entity};
use crate::store::webhooks::event;
use crate::store::{ConnectionStore, RevocationJob, StoreError, Tx};

/// The result of removing a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It is deleted, and this job will revoke its grant.
    Queued(String),
    /// It is deleted; its grant stays because another connection has the same one.
    Shared,
    /// It is deleted; its grant was not to be revoked.
    Kept,
    /// There was no such connection.
    Absent,
}

/// The caller that removes a connection revokes its grant at once; after this delay, the background job retries.
const FIRST_RETRY_DELAY: std::time::Duration = std::time::Duration::from_secs(30);

const IN_USE: &str = "SELECT 1 AS found FROM token WHERE refresh_fingerprint = $1 \
    UNION ALL SELECT 1 FROM pending_grant WHERE refresh_fingerprint = $1 LIMIT 1";

impl ConnectionStore {
    /// Removes a user's connection: deletes its tokens and its job, and queues the revocation of its grant.
    pub async fn remove_token(
        &self,
        id: ConnectionId,
        owner: UserId,
        revoke: bool,
        now: Timestamp,
    ) -> Result<Removed, StoreError> {
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let sql = "SELECT 1 AS found FROM token WHERE id = $1 AND user_id = $2";
                    match tx.one(sql, [id.into(), owner.into()]).await? {
                        Some(_) => remove_because(tx, id, revoke, now, "requested").await,
                        None => Ok(Removed::Absent),
                    }
                })
            })
            .await
    }

    /// Returns due revocations, each postponed by `pause` so that no other replica takes it in the meantime.
    pub async fn acquire_revocations(
        &self,
        limit: u32,
        pause: std::time::Duration,
    ) -> Result<Vec<RevocationJob>, StoreError> {
        self.db.write(move |tx| {
            Box::pin(async move {
                let now = tx.now().await?;
                let skip = if tx.backend() == sea_orm::DbBackend::Postgres { "FOR UPDATE SKIP LOCKED" } else { "" };
                let sql = format!(
                    "WITH due AS MATERIALIZED (SELECT id FROM revocation_job WHERE run_at <= $1 ORDER BY run_at \
                     LIMIT $2 {skip}) UPDATE revocation_job SET run_at = $3, attempts = attempts + 1 \
                     WHERE id IN (SELECT id FROM due) RETURNING {}",
                    columns::<Entity>()
                );
                let values = [now.into(), i64::from(limit).into(), now.plus(pause).into()];
                Ok(Entity::find().from_raw_sql(tx.statement(&sql, values)).all(&tx.db).await?)
            })
        })
        .await
    }

    /// Queues the revocation of a grant that no connection has.
    pub async fn queue_revocation(&self, job: RevocationJob) -> Result<(), StoreError> {
        self.db.change(Entity::insert(job.into_active_model()).on_conflict_do_nothing()).await.map(|_| ())
    }

    /// Returns a revocation that is still queued.
    pub async fn revocation(&self, id: &str) -> Result<Option<RevocationJob>, StoreError> {
        self.db.find(Entity::find_by_id(id)).await
    }

    /// Returns whether a connection or a pending grant has this refresh token.
    pub async fn is_in_use(&self, refresh_fingerprint: &str) -> Result<bool, StoreError> {
        Ok(self.db.one(IN_USE, [refresh_fingerprint.into()]).await?.is_some())
    }

    /// Postpones a revocation.
    pub async fn postpone_revocation(&self, id: &str, run_at: Timestamp) -> Result<(), StoreError> {
        let later = ActiveModel { run_at: Set(run_at), ..Default::default() };
        self.db.change(Entity::update_many().set(later).filter(Column::Id.eq(id))).await.map(|_| ())
    }

    /// Deletes a revocation that is done, or no longer necessary.
    pub async fn finish_revocation(&self, id: &str) -> Result<(), StoreError> {
        self.db.change(Entity::delete_by_id(id)).await.map(|_| ())
    }
}

/// Returns, inside a transaction, whether a connection or a pending grant has this refresh token.
pub(in crate::store) async fn is_in_use(tx: &Tx<'_>, refresh_fingerprint: &str) -> Result<bool, StoreError> {
    Ok(tx.one(IN_USE, [refresh_fingerprint.into()]).await?.is_some())
}

/// Locks all holders of a grant, so that of two that end at the same moment, one sees that it is the last.
pub(in crate::store) async fn lock_grant(tx: &Tx<'_>, refresh_fingerprint: &str) -> Result<(), StoreError> {
    for table in ["token", "pending_grant"] {
        let lock = tx.for_update();
        let sql = format!("SELECT id FROM {table} WHERE refresh_fingerprint = $1 ORDER BY id {lock}");
        tx.all(&sql, [refresh_fingerprint.into()]).await?;
    }
    Ok(())
}

/// Locks a connection together with those that share its grant, in order of their ids: two transactions that lock their
/// own first could deadlock with the next. (If the order cannot be kept, the database aborts one of them, and the
/// writer retries it.)
pub(in crate::store) async fn lock_with_grant(
    tx: &Tx<'_>,
    id: ConnectionId,
) -> Result<Option<Row>, StoreError> {
    for row in tx.all(&lock_sharing(tx, "id"), [id.into()]).await? {
        if row.get::<ConnectionId>("id")? == id {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// Locks all connections of a user in the same way, and returns them.
pub(in crate::store) async fn lock_of_user(
    tx: &Tx<'_>,
    user: UserId,
) -> Result<Vec<ConnectionId>, StoreError> {
    let mut own = Vec::new();
    for row in tx.all(&lock_sharing(tx, "user_id"), [user.into()]).await? {
        if row.get::<UserId>("user_id")? == user {
            own.push(row.get("id")?);
        }
    }
    Ok(own)
}

/// Returns a query for the connections whose `column` is `$1`, and all that share a grant with one of them.
fn lock_sharing(tx: &Tx<'_>, column: &str) -> String {
    format!(
        "SELECT id, user_id, generation, refresh_fingerprint FROM token WHERE id IN (SELECT sibling.id FROM token AS own \
         JOIN token AS sibling ON sibling.refresh_fingerprint = own.refresh_fingerprint WHERE own.{column} = $1) \
         ORDER BY id {}",
        tx.for_update()
    )
}

/// Removes a connection inside a transaction; its event contains the reason.
pub(in crate::store) async fn remove_because(
    tx: &Tx<'_>,
    id: ConnectionId,
    revoke: bool,
    now: Timestamp,
    reason: &str,
) -> Result<Removed, StoreError> {
    let Some(row) = lock_with_grant(tx, id).await? else { return Ok(Removed::Absent) };
    let (generation, fingerprint): (i64, String) = (row.get("generation")?, row.get("refresh_fingerprint")?);
    let removed = match revoke {
        true if queue(tx, id, &fingerprint, now).await? => {
            Removed::Queued(RevocationJob::id_of(id, generation))
        }
        true => Removed::Shared,
        false => Removed::Kept,
    };
    crash::point("disconnect.half_removed");
    event::append(tx, EventType::ConnectionDisconnected, id, Some(reason)).await?;
    // The job is deleted with its connection (foreign key), and a refresh in progress then finds no row to write to.
    tx.run("DELETE FROM token WHERE id = $1", [id.into()]).await?;
    Ok(removed)
}

/// Queues the revocation of the grant that a reconnect replaces, unless it is the same one.
pub(in crate::store) async fn queue_replaced(
    tx: &Tx<'_>,
    id: ConnectionId,
    generation: i64,
    new_fingerprint: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let lock = tx.for_update();
    let sql = format!(
        "SELECT refresh_fingerprint FROM token WHERE id = $1 AND generation = $2 AND refresh_fingerprint <> $3 {lock}"
    );
    let values = [id.into(), generation.into(), new_fingerprint.into()];
    if let Some(row) = tx.one(&sql, values).await? {
        queue(tx, id, &row.get::<String>("refresh_fingerprint")?, now).await?;
    }
    Ok(())
}

/// Copies a connection's refresh token into a revocation job, unless another connection or a pending grant has the same
/// one.
async fn queue(tx: &Tx<'_>, id: ConnectionId, fingerprint: &str, now: Timestamp) -> Result<bool, StoreError> {
    lock_grant(tx, fingerprint).await?;
    let sql = "INSERT INTO revocation_job (id, connection_id, client_id, key_id, refresh_sealed, refresh_fingerprint, \
               generation, created_at, run_at) SELECT id || '/' || generation, id, client_id, key_id, refresh_sealed, \
               refresh_fingerprint, generation, $3, $4 FROM token WHERE id = $1 AND NOT EXISTS \
               (SELECT 1 FROM token AS sibling WHERE sibling.refresh_fingerprint = $2 AND sibling.id <> $1) \
               AND NOT EXISTS (SELECT 1 FROM pending_grant WHERE refresh_fingerprint = $2)";
    let run_at = now.plus(FIRST_RETRY_DELAY);
    let values = [id.into(), fingerprint.into(), now.into(), run_at.into()];
    Ok(tx.run(sql, values).await? == 1)
}
