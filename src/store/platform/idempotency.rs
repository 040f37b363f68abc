//! Rows of IdempotencyKey: the lease on a request that must be carried out once, and its response.

use std::time::Duration;

use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};

use crate::domain::clock::Timestamp;
use crate::domain::secret::Sealed;
use crate::store::entity::idempotency_key::{ActiveModel, Column, Entity, Model};
use crate::store::{PlatformStore, StoreError, Tx};

/// The time after which a request in progress is considered lost: longer than any call of the API takes.
const LOCK_TIME: Duration = Duration::from_secs(60);
/// The time for which a response is kept.
const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// A lease on a request that must be carried out once.
#[derive(Debug, Clone)]
pub struct OnceLease {
    /// The hash of the API key's id and the caller's key.
    pub id: String,
    /// The holder; new with every attempt.
    pub lease: String,
}

/// The result of acquiring such a lease.
#[derive(Debug)]
pub enum OnceFound {
    /// The lease is acquired: carry the request out.
    Fresh,
    /// The request was carried out before, with this response.
    Done(Sealed),
    /// The key was used for another request.
    Other,
    /// The request is in progress, for at most this long.
    Busy(Duration),
}

impl PlatformStore {
    /// Acquires the lease on a request that must be carried out once, or returns why not. `fingerprint` is the keyed
    /// hash of the request.
    pub async fn acquire_once(
        &self,
        OnceLease { id, lease }: OnceLease,
        fingerprint: String,
    ) -> Result<OnceFound, StoreError> {
        self.db.write(move |tx| Box::pin(acquire(tx, id.clone(), lease.clone(), fingerprint.clone()))).await
    }

    /// Stores the response, unless the lease was taken over.
    pub async fn finish_once(&self, lease: OnceLease, answer: Sealed) -> Result<bool, StoreError> {
        let answered = ActiveModel {
            key_id: Set(Some(answer.key_id)),
            answer_sealed: Set(Some(answer.ciphertext)),
            ..Default::default()
        };
        let request = Entity::update_many().set(answered).filter(Column::Id.eq(lease.id));
        Ok(self.db.change(request.filter(Column::Lease.eq(lease.lease))).await? == 1)
    }

    /// Releases the lease: the request has changed nothing, and may be repeated.
    pub async fn release_once(&self, lease: OnceLease) -> Result<(), StoreError> {
        let unanswered = Entity::delete_by_id(lease.id).filter(Column::AnswerSealed.is_null());
        self.db.change(unanswered.filter(Column::Lease.eq(lease.lease))).await.map(|_| ())
    }

    /// Deletes expired rows. Returns how many.
    pub async fn sweep_once(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.db.change(Entity::delete_many().filter(Column::ExpiresAt.lte(now))).await
    }
}

async fn acquire(
    tx: &Tx<'_>,
    id: String,
    lease: String,
    fingerprint: String,
) -> Result<OnceFound, StoreError> {
    let now = tx.now().await?;
    let (locked_until, expires_at) = (now.plus(LOCK_TIME), now.plus(RETENTION));
    let asked = Model { id, fingerprint, lease, locked_until, key_id: None, answer_sealed: None, expires_at };
    if tx.insert_new(asked.clone()).await? {
        return Ok(OnceFound::Fresh);
    }
    // Swept or released between the two statements: the next attempt will succeed.
    let Some(known) = tx.find_locked(Entity::find_by_id(&asked.id)).await? else {
        return Ok(OnceFound::Busy(Duration::from_secs(1)));
    };
    if known.expires_at > now {
        if known.fingerprint != asked.fingerprint {
            return Ok(OnceFound::Other);
        }
        if let Some((key_id, ciphertext)) = known.key_id.zip(known.answer_sealed) {
            return Ok(OnceFound::Done(Sealed { key_id, ciphertext }));
        }
    }
    if known.locked_until > now {
        return Ok(OnceFound::Busy(known.locked_until.since(now)));
    }
    // The earlier holder is gone.
    tx.change(Entity::update(asked.into_active_model().reset_all()).validate()?).await?;
    Ok(OnceFound::Fresh)
}
