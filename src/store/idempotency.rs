//! Rows of IdempotencyKey: who is at a request that is to be done once, and what it was answered.

use std::time::Duration;

use super::db::Row;
use super::{Store, StoreError, Tx};
use crate::domain::clock::Moment;
use crate::domain::secret::Sealed;

/// Somebody who wants to be the one to do a request.
#[derive(Debug, Clone)]
pub struct OnceAsked {
    /// The hash of the API key's id and the caller's key.
    pub id: String,
    /// The keyed hash of what is asked for.
    pub fingerprint: String,
    /// Who it is; new with every attempt.
    pub lease: String,
    /// How long nobody else does it meanwhile.
    pub lock: Duration,
    /// How long it is remembered.
    pub keep: Duration,
}

/// What becomes of it.
#[derive(Debug)]
pub enum OnceFound {
    /// The lease is taken: do it.
    Fresh,
    /// It was done, and answered like this.
    Done(Sealed),
    /// The key was used for something else.
    Other,
    /// Somebody is at it, for so long at most.
    Busy(Duration),
}

impl Store {
    /// Takes the lease on a request that is to be done once, or says why not.
    pub async fn claim_once(&self, asked: OnceAsked) -> Result<OnceFound, StoreError> {
        self.write(move |tx| {
            let asked = asked.clone();
            Box::pin(async move { claim(tx, &asked).await })
        })
        .await
    }

    /// Keeps the answer, if the lease is still the one that was taken.
    pub async fn finish_once(&self, id: String, lease: String, answer: Sealed) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let sql =
                "UPDATE idempotency_key SET key_id = $3, answer_sealed = $4 WHERE id = $1 AND lease = $2";
            let sealed = answer.clone();
            let values =
                [id.clone().into(), lease.clone().into(), sealed.key_id.into(), sealed.ciphertext.into()];
            Box::pin(async move { Ok(tx.run(sql, values).await? == 1) })
        })
        .await
    }

    /// Gives the lease back: the request has changed nothing, and may be made again.
    pub async fn release_once(&self, id: String, lease: String) -> Result<(), StoreError> {
        self.write(move |tx| {
            let sql = "DELETE FROM idempotency_key WHERE id = $1 AND lease = $2 AND answer_sealed IS NULL";
            let values = [id.clone().into(), lease.clone().into()];
            Box::pin(async move { tx.run(sql, values).await.map(|_| ()) })
        })
        .await
    }

    /// Forgets what is remembered no longer. Says how many.
    pub async fn sweep_once(&self, now: Moment) -> Result<u64, StoreError> {
        self.write(move |tx| {
            let sql = "DELETE FROM idempotency_key WHERE expires_at <= $1";
            Box::pin(async move { tx.run(sql, [now.unix_ms().into()]).await })
        })
        .await
    }
}

async fn claim(tx: &Tx<'_>, asked: &OnceAsked) -> Result<OnceFound, StoreError> {
    let now = tx.now().await?;
    let values = || {
        [
            asked.id.clone().into(),
            asked.fingerprint.clone().into(),
            asked.lease.clone().into(),
            now.plus(asked.lock).unix_ms().into(),
            now.plus(asked.keep).unix_ms().into(),
        ]
    };
    let insert = "INSERT INTO idempotency_key (id, fingerprint, lease, locked_until, expires_at) \
                  VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING";
    if tx.run(insert, values()).await? == 1 {
        return Ok(OnceFound::Fresh);
    }
    let select = format!(
        "SELECT fingerprint, locked_until, key_id, answer_sealed, expires_at FROM idempotency_key WHERE id = $1 {}",
        tx.for_update()
    );
    // Swept or given back between the two statements: the next attempt finds nothing in its way.
    let Some(row) = tx.one(&select, [asked.id.clone().into()]).await? else {
        return Ok(OnceFound::Busy(Duration::from_secs(1)));
    };
    let is_forgotten = row.moment("expires_at")? <= now;
    if !is_forgotten && row.get::<String>("fingerprint")? != asked.fingerprint {
        return Ok(OnceFound::Other);
    }
    if let Some(answer) = answer(&row)?.filter(|_| !is_forgotten) {
        return Ok(OnceFound::Done(answer));
    }
    let locked_until = row.moment("locked_until")?;
    if locked_until > now {
        return Ok(OnceFound::Busy(locked_until.since(now)));
    }
    // Whoever was at it is gone.
    let take = "UPDATE idempotency_key SET fingerprint = $2, lease = $3, locked_until = $4, expires_at = $5, \
                key_id = NULL, answer_sealed = NULL WHERE id = $1";
    tx.run(take, values()).await?;
    Ok(OnceFound::Fresh)
}

fn answer(row: &Row) -> Result<Option<Sealed>, StoreError> {
    let (key_id, ciphertext): (Option<String>, Option<String>) =
        (row.get("key_id")?, row.get("answer_sealed")?);
    Ok(key_id.zip(ciphertext).map(|(key_id, ciphertext)| Sealed { key_id, ciphertext }))
}
