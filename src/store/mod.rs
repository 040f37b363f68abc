//! Store: connect, transact, and what differs between SQLite and PostgreSQL.
//!
//! The SQL itself is the same on both. SQLite is written to through one connection whose transactions are shared by
//! concurrent callers (`writer`), and read through others; PostgreSQL shares commits by itself.
//! The store holds ciphertext and hashes, never plaintext.

mod access_row;
mod api_key;
mod auth_request;
mod batch;
mod claim;
mod connect;
mod connect_session;
mod crypto_meta;
mod degraded;
mod event;
mod external_user;
mod gathered;
mod idempotency;
mod imported;
mod install;
mod journal;
mod listing;
mod open;
mod parked;
mod reconcile;
mod refresh_job;
mod refreshed;
mod reseal;
mod revocation;
mod row;
mod session;
mod starts;
mod token;
mod webhook_delivery;
mod webhook_endpoint;
mod writer;

use std::future::Future;
use std::pin::Pin;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement, Value};
use thiserror::Error;

pub use access_row::AccessRow;
pub use auth_request::{Consumed, NewAuthRequest};
pub use claim::{ClaimOne, Claimed, claim_sql};
pub use connect::{NewTokens, Saved, Source};
pub use idempotency::{OnceAsked, OnceFound};
pub use install::{Install, InstallGrant, InstallState};
pub use journal::{Advanced, JournalLease};
pub use listing::{Listed, ListedState, Wanted};
pub use open::{OpenError, SchemaStatus};
pub use parked::ParkedGrant;
pub use reconcile::Reconciled;
pub use refreshed::Committed;
pub use reseal::{SealedRow, SealedTable};
pub use revocation::{Removed, RevocationJob};
pub use session::{Revoke, SessionRow};
pub use token::Details;
pub use webhook_delivery::{Behind, ClaimedDelivery};
pub use webhook_endpoint::EndpointChanges;

use crate::domain::clock::{Clock, Moment};
use batch::Batch;
use gathered::Gathered;
use row::Row;
use writer::Writer;

/// Longer than the server's own limits let a transaction take.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// A query failed. The chain is for the log; callers answer with a code. Nothing has changed when a method returns it,
/// except where the method says otherwise.
#[derive(Debug, Error, Clone)]
pub enum StoreError {
    /// The database did not do what it was asked.
    #[error("the database failed: {0}")]
    Database(std::sync::Arc<DbErr>),
    /// The database is closed.
    #[error("the database is closed")]
    Closed,
    /// The database was asked and said nothing; what was asked for may have happened.
    #[error("the database has not answered within {} s", DEADLINE.as_secs())]
    Silent,
    /// A row holds what this release cannot read.
    #[error("a row cannot be read: {0}")]
    Unreadable(&'static str),
}

impl StoreError {
    /// Whether the database could not be reached at all.
    fn is_absence(&self) -> bool {
        match self {
            Self::Database(why) => matches!(**why, DbErr::Conn(_) | DbErr::ConnectionAcquire(_)),
            Self::Closed | Self::Silent => true,
            Self::Unreadable(_) => false,
        }
    }
}

impl From<DbErr> for StoreError {
    fn from(why: DbErr) -> Self {
        Self::Database(std::sync::Arc::new(why))
    }
}

/// What a piece of work inside a transaction returns.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    /// Reads; on PostgreSQL writes too.
    db: DatabaseConnection,
    writer: Writer,
    /// Reads of access tokens.
    access: Gathered,
    /// New AuthRequests.
    starts: Batch<NewAuthRequest, bool>,
    /// Refreshed tokens.
    refreshed: Batch<Committed, bool>,
    /// Held as long as the process serves from this SQLite file.
    lock: Option<std::sync::Arc<std::fs::File>>,
}

impl Store {
    /// Whether this process is the only writer, so that what it remembers of rows stays true.
    pub fn is_exclusive(&self) -> bool {
        self.backend() == DbBackend::Sqlite
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError`] if it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.db.execute_unprepared("SELECT 1").await?;
        Ok(())
    }

    /// Writes in a transaction, possibly shared with other callers. `work` may run twice: if anything in a shared
    /// transaction fails, each piece of work is done again in one of its own.
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a Tx<'a>) -> Work<'a, T> + Send + Sync + 'static,
    {
        self.writer.write(work).await
    }

    async fn one(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<Row>, StoreError> {
        let asked = self.db.query_one_raw(statement(self.backend(), sql, values));
        Ok(within_deadline(async { Ok(asked.await?) }).await?.map(Row))
    }

    async fn all(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<Vec<Row>, StoreError> {
        all(&self.db, sql, values).await
    }

    fn backend(&self) -> DbBackend {
        self.db.get_database_backend()
    }

    /// Closes the database. On SQLite the write-ahead log is folded into the file, and the file is anybody's again,
    /// whoever still holds this store.
    pub async fn close(&self) {
        self.writer.close().await;
        if let Err(why) = self.db.close_by_ref().await {
            tracing::warn!(error = %why, "could not close the database");
        }
        if let Some(why) = self.lock.as_ref().and_then(|lock| lock.unlock().err()) {
            tracing::warn!(error = %why, "could not give the database file back");
        }
    }
}

/// A transaction, with the two ways of asking.
#[derive(Debug)]
pub struct Tx<'a> {
    db: &'a DatabaseTransaction,
    clock: &'a Clock,
}

impl Tx<'_> {
    async fn one(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.db.query_one_raw(statement(self.backend(), sql, values)).await?.map(Row))
    }

    async fn all(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<Vec<Row>, StoreError> {
        Ok(self
            .db
            .query_all_raw(statement(self.backend(), sql, values))
            .await?
            .into_iter()
            .map(Row)
            .collect())
    }

    /// Runs a change and says how many rows it touched.
    async fn run(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<u64, StoreError> {
        Ok(self.db.execute_raw(statement(self.backend(), sql, values)).await?.rows_affected())
    }

    /// The time that replicas agree on: leases are taken by the database's clock, never by a replica's own.
    async fn now(&self) -> Result<Moment, StoreError> {
        if self.clock.is_manual() || self.backend() == DbBackend::Sqlite {
            return Ok(self.clock.now());
        }
        let sql = "SELECT (extract(epoch from clock_timestamp()) * 1000)::bigint AS now";
        self.one(sql, []).await?.ok_or(StoreError::Unreadable("no time"))?.moment("now")
    }

    /// Ends a SELECT whose rows must stay as they are until the transaction ends. On SQLite they do by themselves.
    fn for_update(&self) -> &'static str {
        if self.backend() == DbBackend::Postgres { "FOR UPDATE" } else { "" }
    }

    fn backend(&self) -> DbBackend {
        self.db.get_database_backend()
    }
}

async fn all(
    db: &DatabaseConnection,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<Row>, StoreError> {
    let asked = db.query_all_raw(statement(db.get_database_backend(), sql, values));
    Ok(within_deadline(async { Ok(asked.await?) }).await?.into_iter().map(Row).collect())
}

/// Gives up on a database that says nothing. Its own limits end what takes too long, but a line that has gone dead tells
/// nobody.
async fn within_deadline<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(StoreError::Silent))
}

fn statement(backend: DbBackend, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(backend, sql, values)
}
