//! Writes. On SQLite, one thread owns the writing connection and lets concurrent callers share a commit, because a
//! durable commit costs far more than the statements in it. On PostgreSQL, each caller has its own transaction, and the
//! server combines commits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use rusqlite::Connection;
use sea_orm::{DatabaseConnection, DbErr, Statement, TransactionTrait};
use tokio::sync::{mpsc, oneshot};

use super::sqlite::{self, Connections};
use super::{Handle, StoreError, Tx, Work, within_deadline};
use crate::domain::clock::Clock;

/// The maximum number of callers that share a commit.
const MAX_BATCH: usize = 256;
/// The maximum number of retries of a transaction after a serialization failure.
const MAX_RETRIES: usize = 3;

#[derive(Debug, Clone)]
pub(in crate::store) enum Writer {
    /// The queue of the writing thread.
    Sqlite(mpsc::Sender<Message>),
    Postgres(DatabaseConnection, Clock),
}

/// Opens a new writing connection after a failure.
pub(super) type Open = Box<dyn Fn() -> Result<Connection, DbErr> + Send>;

type JobFuture<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

/// A message to the writing thread.
pub(in crate::store) enum Message {
    Do(Job),
    /// Closes the connection, ends the thread and confirms.
    Close(oneshot::Sender<()>),
}

/// A piece of work, which keeps its result until the commit.
pub(in crate::store) struct Job {
    run: Box<dyn for<'a> Fn(&'a Tx<'a>) -> JobFuture<'a> + Send + Sync>,
    reply: Box<dyn FnOnce(Result<(), StoreError>) + Send + Sync>,
}

impl Writer {
    /// Starts the writing thread for an SQLite file.
    pub fn sqlite(db: Connection, open: Open, clock: Clock) -> Result<Self, DbErr> {
        let (queue, messages) = mpsc::channel(4 * MAX_BATCH);
        let mut writer_thread = WriterThread { db: Some(Connections::of([db])), open, clock };
        let name = "sqlite-writer".to_owned();
        let started = thread::Builder::new().name(name).spawn(move || writer_thread.serve(messages));
        started.map_err(|why| DbErr::Conn(sea_orm::RuntimeErr::Internal(why.to_string())))?;
        Ok(Self::Sqlite(queue))
    }

    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a Tx<'a>) -> Work<'a, T> + Send + Sync + 'static,
    {
        match self {
            Self::Sqlite(queue) => enqueue(queue, work).await,
            Self::Postgres(db, clock) => within_deadline(with_retries(db, clock, &work)).await,
        }
    }

    /// Closes SQLite's writing connection after the queued work is written.
    pub async fn close(&self) {
        if let Self::Sqlite(queue) = self {
            let (said, closed) = oneshot::channel();
            if queue.send(Message::Close(said)).await.is_ok() {
                let _ = closed.await;
            }
        }
    }
}

async fn enqueue<T, F>(queue: &mpsc::Sender<Message>, work: F) -> Result<T, StoreError>
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
        reply: Box::new(move |outcome| {
            let value = result.lock().expect("nothing panics while it holds this lock").take();
            let outcome = outcome.and_then(|()| value.ok_or(StoreError::Closed));
            // The caller may be gone: its work is done all the same.
            let _ = answer.send(outcome);
        }),
    };
    queue.send(Message::Do(job)).await.map_err(|_| StoreError::Closed)?;
    answered.await.map_err(|_| StoreError::Closed)?
}

/// The writing thread of an SQLite file.
struct WriterThread {
    /// `None` after a failure: a failed commit, on a full disk for example, leaves a transaction open, and later work
    /// must not become a part of it. Every failure therefore discards the connection.
    db: Option<Connections>,
    open: Open,
    clock: Clock,
}

impl WriterThread {
    /// Commits the work that has arrived together, until the queue is closed.
    fn serve(&mut self, mut messages: mpsc::Receiver<Message>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while messages.blocking_recv_many(&mut batch, MAX_BATCH) > 0 {
            let mut jobs = Vec::with_capacity(batch.len());
            for message in batch.drain(..) {
                match message {
                    Message::Do(job) => jobs.push(job),
                    Message::Close(closed) => {
                        self.commit_batch(jobs);
                        if let Some(db) = self.db.take() {
                            db.close();
                        }
                        let _ = closed.send(());
                        return;
                    }
                }
            }
            self.commit_batch(jobs);
        }
    }

    fn commit_batch(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let outcome = self.try_commit(&jobs);
        for job in jobs {
            let outcome = match &outcome {
                Ok(()) => Ok(()),
                Err(_) => self.try_commit(std::slice::from_ref(&job)),
            };
            (job.reply)(outcome);
        }
    }

    /// Commits these jobs together. Work that panics is rolled back, and discards the connection like any failure.
    fn try_commit(&mut self, jobs: &[Job]) -> Result<(), StoreError> {
        catch_unwind(AssertUnwindSafe(|| self.commit(jobs))).unwrap_or(Err(StoreError::Panicked))
    }

    fn commit(&mut self, jobs: &[Job]) -> Result<(), StoreError> {
        let db = match self.db.take() {
            Some(db) => db,
            None => Connections::of([(self.open)()?]),
        };
        // IMMEDIATE takes the write lock at once: a transaction that reads first and writes later would fail instead of
        // waiting when the command line writes at the same time.
        run(&db, "BEGIN IMMEDIATE")?;
        let tx = Tx { db: Handle::Sqlite(&db), clock: &self.clock };
        for job in jobs {
            poll_ready((job.run)(&tx))?;
        }
        run(&db, "COMMIT")?;
        self.db = Some(db);
        Ok(())
    }
}

fn run(db: &Connections, sql: &str) -> Result<(), DbErr> {
    let statement = Statement::from_sql_and_values(sea_orm::DbBackend::Sqlite, sql, []);
    poll_ready(db.with(|db| sqlite::execute(db, &statement))).map(|_| ())
}

/// Runs work in a transaction on SQLite, whose statements are finished at the first poll.
fn poll_ready<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => unreachable!("work in a transaction waits for nothing but the database"),
    }
}

async fn with_retries<T, F>(db: &DatabaseConnection, clock: &Clock, work: &F) -> Result<T, StoreError>
where
    F: for<'a> Fn(&'a Tx<'a>) -> Work<'a, T>,
{
    let mut tries = 0;
    loop {
        let outcome = in_transaction(db, clock, work).await;
        match &outcome {
            Err(why) if tries < MAX_RETRIES && is_serialization_failure(why) => tries += 1,
            _ => return outcome,
        }
    }
}

async fn in_transaction<T, F>(db: &DatabaseConnection, clock: &Clock, work: &F) -> Result<T, StoreError>
where
    F: for<'a> Fn(&'a Tx<'a>) -> Work<'a, T>,
{
    let tx = db.begin().await?;
    let value = work(&Tx { db: Handle::Postgres(&tx), clock }).await?;
    tx.commit().await?;
    Ok(value)
}

/// Returns whether PostgreSQL reports a serialization failure or a deadlock: the transaction has done nothing and may
/// be retried.
fn is_serialization_failure(why: &StoreError) -> bool {
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

#[cfg(test)]
mod tests {
    use super::super::sqlite::{Access, open};
    use super::*;
    use crate::config::FileMode;

    #[tokio::test]
    async fn panicking_work_is_rolled_back_and_stops_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("test.db");
        let db = open(&file, Access::Write, FileMode::Create).expect("a file");
        db.execute_batch("CREATE TABLE t (id TEXT)").expect("a table");
        let again = Box::new(move || open(&file, Access::Write, FileMode::Write));
        let writer = Writer::sqlite(db, again, Clock::system()).expect("a thread");
        let panics = writer
            .write(|tx| {
                Box::pin(async move {
                    tx.run("INSERT INTO t (id) VALUES ('a')", []).await?;
                    panic!("as ordered")
                })
            })
            .await;
        assert!(matches!(panics, Err::<(), _>(StoreError::Panicked)));
        let count = writer
            .write(|tx| {
                Box::pin(async move {
                    tx.run("INSERT INTO t (id) VALUES ('b')", []).await?;
                    tx.one("SELECT COUNT(*) AS rows FROM t", []).await?.expect("a row").get::<i64>("rows")
                })
            })
            .await;
        assert_eq!(count.expect("it goes on"), 1);
        writer.close().await;
    }
}
