//! Errors of queries, and their time limit.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbErr;
use thiserror::Error;

/// Longer than the time limit of the database server for a transaction.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(10);

/// A query failed. The error chain is for the log; callers respond with a code. Unless a method says otherwise, nothing
/// has changed when it returns this error.
#[derive(Debug, Error, Clone)]
pub enum StoreError {
    /// The database reported an error.
    #[error("database error: {0}")]
    Database(Arc<DbErr>),
    /// The database is closed.
    #[error("the database is closed")]
    Closed,
    /// The work panicked. If it was in a transaction, the transaction was rolled back.
    #[error("a database operation panicked")]
    Panicked,
    /// The database did not answer in time; the change may have happened.
    #[error("the database did not respond within {} s", DATABASE_TIMEOUT.as_secs())]
    Silent,
    /// A row contains a value that this release cannot read. Names the column, or the expected type.
    #[error("a row cannot be read: {0}")]
    Unreadable(&'static str),
}

impl StoreError {
    /// Returns whether the database could not be reached at all.
    pub(in crate::store) fn is_absence(&self) -> bool {
        match self {
            Self::Database(why) => matches!(**why, DbErr::Conn(_) | DbErr::ConnectionAcquire(_)),
            Self::Closed | Self::Silent => true,
            Self::Unreadable(_) | Self::Panicked => false,
        }
    }
}

impl From<DbErr> for StoreError {
    fn from(why: DbErr) -> Self {
        match why {
            DbErr::TryIntoErr { into, .. } => Self::Unreadable(into),
            why => Self::Database(Arc::new(why)),
        }
    }
}

/// Limits the time of a query. The server's own limits end slow queries, but a broken network connection reports
/// nothing.
///
/// The work is boxed because a future is as large as the largest future that it awaits: inline, each request would
/// occupy the memory of its largest read for as long as it waits for anything.
pub(in crate::store) fn within_deadline<T>(
    work: impl Future<Output = Result<T, StoreError>>,
) -> impl Future<Output = Result<T, StoreError>> {
    let work = Box::pin(work);
    async { tokio::time::timeout(DATABASE_TIMEOUT, work).await.unwrap_or(Err(StoreError::Silent)) }
}
