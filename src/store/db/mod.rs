//! The database: connections, transactions, schema, and what differs between SQLite and PostgreSQL.
//!
//! On SQLite, one thread writes, so that concurrent callers share a commit; reads run on the caller's thread.
//! PostgreSQL is used through a pool, and combines commits itself. Both are sea-orm connections.

mod backlog;
mod backup;
mod batch;
mod error;
mod handle;
mod migrate;
mod open;
mod row;
pub mod sqlite;
mod tx;
mod writer;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, PartialModelTrait, QueryTrait, Select,
    Statement, Value,
};
use tokio::task::JoinError;

pub use backlog::Backlog;
pub use backup::{BackupError, IntegrityCheck};
pub(super) use batch::{Batch, padded, parts, placeholders, placeholders_from, values};
pub use error::StoreError;
pub(super) use error::within_deadline;
pub use handle::Handle;
pub use migrate::SchemaStatus;
pub use open::OpenError;
pub(super) use row::Row;
pub use tx::{Tx, Work};

use crate::domain::clock::Clock;
use sqlite::Connections;
use writer::Writer;

/// An open database. Clones share all state.
#[derive(Debug, Clone)]
pub struct Database {
    reader: Reader,
    writer: Writer,
    clock: Clock,
    /// The SQLite file, if it is writable.
    file: Option<PathBuf>,
    /// The lock on the SQLite file, held for as long as the process serves from it.
    lock: Option<Arc<File>>,
}

/// The connections for reading; on PostgreSQL also for writing.
#[derive(Debug, Clone)]
enum Reader {
    Sqlite(Arc<Connections>),
    Postgres(DatabaseConnection),
}

impl Database {
    /// Returns whether this process is the only writer, so that cached rows stay valid.
    pub fn is_exclusive(&self) -> bool {
        self.backend() == DbBackend::Sqlite
    }

    /// Checks that the database answers.
    ///
    /// # Errors
    /// [`StoreError`] if it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.one("SELECT 1 AS one", []).await.map(|_| ())
    }

    /// Returns the writer. It does not prevent other processes from writing to the file.
    pub(super) fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// Returns the handle for reading.
    pub(super) fn reader(&self) -> Handle<'_, DatabaseConnection> {
        match &self.reader {
            Reader::Sqlite(connections) => Handle::Sqlite(connections),
            Reader::Postgres(db) => Handle::Postgres(db),
        }
    }

    /// Returns the kind of database.
    pub(super) fn backend(&self) -> DbBackend {
        self.reader().backend()
    }

    /// Writes in a transaction, possibly shared with other callers. `work` may run twice: if anything in a shared
    /// transaction fails, each caller's work is repeated in a transaction of its own.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a Tx<'a>) -> Work<'a, T> + Send + Sync + 'static,
    {
        self.writer.write(work).await
    }

    /// Executes a change in its own transaction, and returns the number of changed rows.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the caller would keep a borrowed query while it waits"
    )]
    pub(super) fn change(&self, query: impl QueryTrait) -> impl Future<Output = Result<u64, StoreError>> {
        self.change_by(query.build(self.backend()))
    }

    /// Executes a change in SQL in its own transaction, and returns the number of changed rows.
    pub(super) fn run(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> impl Future<Output = Result<u64, StoreError>> {
        self.change_by(self.reader().statement(sql, values))
    }

    async fn change_by(&self, statement: Statement) -> Result<u64, StoreError> {
        self.write(move |tx| {
            let statement = statement.clone();
            Box::pin(async move { Ok(tx.execute_raw(statement).await?.rows_affected()) })
        })
        .await
    }

    /// Reads at most one row.
    pub(super) async fn one(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<Row>, StoreError> {
        within_deadline(self.reader().one(sql, values)).await
    }

    /// Reads all rows.
    pub(super) async fn all(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, StoreError> {
        within_deadline(self.reader().all(sql, values)).await
    }

    /// Reads all rows of a statement that may scan very many. On SQLite it runs on a thread of its own, so that the
    /// caller's thread can serve others.
    pub(super) async fn all_on_own_thread(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value> + Send + 'static,
    ) -> Result<Vec<Row>, StoreError> {
        let Reader::Sqlite(connections) = &self.reader else { return self.all(sql, values).await };
        let (connections, sql) = (Arc::clone(connections), sql.to_owned());
        let runtime = tokio::runtime::Handle::current();
        let read = move || {
            let handle = Handle::<DatabaseConnection>::Sqlite(&connections);
            runtime.block_on(handle.all(&sql, values))
        };
        let ended = |why: JoinError| if why.is_panic() { StoreError::Panicked } else { StoreError::Closed };
        within_deadline(async { tokio::task::spawn_blocking(read).await.map_err(ended)? }).await
    }

    /// Reads at most one row of an entity.
    pub(super) fn find<E: EntityTrait>(
        &self,
        query: Select<E>,
    ) -> impl Future<Output = Result<Option<E::Model>, StoreError>> {
        within_deadline(async { Ok(query.one(&self.reader()).await?) })
    }

    /// Reads rows of an entity.
    pub(super) fn find_all<E: EntityTrait>(
        &self,
        query: Select<E>,
    ) -> impl Future<Output = Result<Vec<E::Model>, StoreError>> {
        within_deadline(async { Ok(query.all(&self.reader()).await?) })
    }

    /// Reads some columns of an entity's rows.
    pub(super) fn find_parts<E: EntityTrait, P: PartialModelTrait>(
        &self,
        query: Select<E>,
    ) -> impl Future<Output = Result<Vec<P>, StoreError>> {
        within_deadline(async { Ok(query.into_partial_model().all(&self.reader()).await?) })
    }

    /// Closes the database. On SQLite, the write-ahead log is merged into the file, and other processes may then use
    /// the file, even while clones of this handle exist.
    pub async fn close(&self) {
        self.writer.close().await;
        match &self.reader {
            Reader::Sqlite(connections) => connections.close(),
            Reader::Postgres(db) => {
                if let Err(why) = db.close_by_ref().await {
                    tracing::warn!(error = %why, "failed to close the database");
                }
            }
        }
        if let Some(why) = self.lock.as_ref().and_then(|lock| lock.unlock().err()) {
            tracing::warn!(error = %why, "failed to release the database lock");
        }
    }
}
