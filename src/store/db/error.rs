//! How a query fails, and when it has taken too long.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbErr;
use thiserror::Error;

/// Longer than the server's own limits let a transaction take.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(10);

/// A query failed. The chain is for the log; callers answer with a code. Nothing has changed when a method returns it,
/// except where the method says otherwise.
#[derive(Debug, Error, Clone)]
pub enum StoreError {
    /// The database did not do what it was asked.
    #[error("database error: {0}")]
    Database(Arc<DbErr>),
    /// The database is closed.
    #[error("the database is closed")]
    Closed,
    /// Work has panicked. If it was in a transaction, it was undone.
    #[error("a database operation panicked")]
    Panicked,
    /// The database was asked and said nothing; what was asked for may have happened.
    #[error("the database did not respond within {} s", DATABASE_TIMEOUT.as_secs())]
    Silent,
    /// A row holds what this release cannot read; the column, or the type that it should be of.
    #[error("a row cannot be read: {0}")]
    Unreadable(&'static str),
}

impl StoreError {
    /// Whether the database could not be reached at all.
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

/// Gives up on a database that says nothing. Its own limits end what takes too long, but a line that has gone dead tells
/// nobody.
///
/// The work is boxed, because a future is as large as the largest that it ever awaits: inline, each request would keep the
/// room of its largest read for as long as it waits for anything.
pub(in crate::store) fn within_deadline<T>(
    work: impl Future<Output = Result<T, StoreError>>,
) -> impl Future<Output = Result<T, StoreError>> {
    let work = Box::pin(work);
    async { tokio::time::timeout(DATABASE_TIMEOUT, work).await.unwrap_or(Err(StoreError::Silent)) }
}
