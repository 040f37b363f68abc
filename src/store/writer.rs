//! Writing: on SQLite one task owns the writing connection and lets callers that come at the same time share one
//! commit, because a durable commit costs far more than what is written in it. On PostgreSQL each caller has a
//! transaction of its own; the server shares its commits.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use tokio::sync::{mpsc, oneshot};

use super::{StoreError, Tx, Work, within_deadline};
use crate::domain::clock::Clock;

/// How many callers share a commit at most.
const BATCH: usize = 256;
/// How often a transaction that lost against another is tried again.
const RETRIES: usize = 3;

#[derive(Debug, Clone)]
pub(super) enum Writer {
    Shared { queue: mpsc::Sender<Job>, db: DatabaseConnection },
    Direct { db: DatabaseConnection, clock: Clock },
}

type Attempt<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

/// A piece of work whose result waits inside until it is committed.
pub(super) struct Job {
    run: Box<dyn for<'a> Fn(&'a Tx<'a>) -> Attempt<'a> + Send + Sync>,
    settle: Box<dyn FnOnce(Result<(), StoreError>) + Send + Sync>,
}

impl Writer {
    /// A writer that lets callers share commits.
    pub fn shared(db: DatabaseConnection, clock: Clock) -> Self {
        let (queue, jobs) = mpsc::channel(4 * BATCH);
        tokio::spawn(serve(db.clone(), clock, jobs));
        Self::Shared { queue, db }
    }

    /// A writer that gives each caller a transaction.
    pub fn direct(db: DatabaseConnection, clock: Clock) -> Self {
        Self::Direct { db, clock }
    }

    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a Tx<'a>) -> Work<'a, T> + Send + Sync + 'static,
    {
        match self {
            Self::Shared { queue, .. } => enqueue(queue, work).await,
            Self::Direct { db, clock } => within_deadline(retried(db, clock, &work)).await,
        }
    }

    /// Closes the connection that is written through.
    pub async fn close(&self) {
        if let Self::Shared { db, .. } = self
            && let Err(why) = db.close_by_ref().await
        {
            tracing::warn!(error = %why, "could not close the writing connection");
        }
    }
}

async fn enqueue<T, F>(queue: &mpsc::Sender<Job>, work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: for<'a> Fn(&'a Tx<'a>) -> Work<'a, T> + Send + Sync + 'static,
{
    let (answer, answered) = oneshot::channel();
    let result = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&result);
    let work = Arc::new(work);
    let job = Job {
        run: Box::new(move |tx| {
            let (work, kept) = (Arc::clone(&work), Arc::clone(&kept));
            Box::pin(async move {
                let value = work(tx).await?;
                *kept.lock().expect("nothing panics while it holds this lock") = Some(value);
                Ok(())
            })
        }),
        settle: Box::new(move |outcome| {
            let value = result.lock().expect("nothing panics while it holds this lock").take();
            let outcome = outcome.and_then(|()| value.ok_or(StoreError::Closed));
            // The caller may be gone: what it asked for is done all the same.
            let _ = answer.send(outcome);
        }),
    };
    queue.send(job).await.map_err(|_| StoreError::Closed)?;
    answered.await.map_err(|_| StoreError::Closed)?
}

/// Takes what has come in the meantime, commits it as one, and begins anew.
async fn serve(db: DatabaseConnection, clock: Clock, mut jobs: mpsc::Receiver<Job>) {
    let mut batch = Vec::with_capacity(BATCH);
    while jobs.recv_many(&mut batch, BATCH).await > 0 {
        match together(&db, &clock, &batch).await {
            Ok(()) => batch.drain(..).for_each(|job| (job.settle)(Ok(()))),
            Err(_) => {
                for job in batch.drain(..) {
                    let outcome = together(&db, &clock, std::slice::from_ref(&job)).await;
                    (job.settle)(outcome);
                }
            }
        }
    }
}

/// A commit that fails, on a full disk for example, ends the transaction behind the driver's back: it would take every
/// later one for a part of it, and commit nothing any more. So a failure costs the connection.
async fn together(db: &DatabaseConnection, clock: &Clock, batch: &[Job]) -> Result<(), StoreError> {
    let outcome = attempt(db, clock, batch).await;
    if outcome.is_err() {
        renew(db).await;
    }
    outcome
}

/// Closes the writing connection; the next transaction opens another.
async fn renew(db: &DatabaseConnection) {
    if let Ok(connection) = db.get_sqlite_connection_pool().acquire().await
        && let Err(why) = connection.close().await
    {
        tracing::warn!(error = %why, "could not close the writing connection");
    }
}

async fn attempt(db: &DatabaseConnection, clock: &Clock, batch: &[Job]) -> Result<(), StoreError> {
    let tx = begin(db).await?;
    for job in batch {
        (job.run)(&Tx { db: &tx, clock }).await?;
    }
    tx.commit().await?;
    Ok(())
}

pub(super) async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    // IMMEDIATE takes the write lock at once: a transaction that reads first and writes later would fail instead of
    // waiting when the command line writes at the same time.
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..Default::default()
    };
    db.begin_with_options(options).await
}

async fn retried<T, F>(db: &DatabaseConnection, clock: &Clock, work: &F) -> Result<T, StoreError>
where
    F: for<'a> Fn(&'a Tx<'a>) -> Work<'a, T>,
{
    let mut tries = 0;
    loop {
        let outcome = alone(db, clock, work).await;
        match &outcome {
            Err(why) if tries < RETRIES && lost_against_another(why) => tries += 1,
            _ => return outcome,
        }
    }
}

async fn alone<T, F>(db: &DatabaseConnection, clock: &Clock, work: &F) -> Result<T, StoreError>
where
    F: for<'a> Fn(&'a Tx<'a>) -> Work<'a, T>,
{
    let tx = db.begin().await?;
    let value = work(&Tx { db: &tx, clock }).await?;
    tx.commit().await?;
    Ok(value)
}

/// PostgreSQL's serialization failure and deadlock: the transaction has done nothing and may be tried again.
fn lost_against_another(why: &StoreError) -> bool {
    let StoreError::Database(why) = why else {
        return false;
    };
    let (DbErr::Exec(sea_orm::RuntimeErr::SqlxError(why))
    | DbErr::Query(sea_orm::RuntimeErr::SqlxError(why))) = &**why
    else {
        return false;
    };
    let code = why.as_database_error().and_then(|why| why.code());
    matches!(code.as_deref(), Some("40001" | "40P01"))
}
