//! Transactions, the same for both databases.

use std::ops::Deref;
use std::pin::Pin;

use sea_orm::{
    ActiveModelTrait, DatabaseTransaction, DbBackend, EntityTrait, Insert, IntoActiveModel, QuerySelect,
    Select,
};

use super::{Handle, StoreError};
use crate::domain::clock::{Clock, Timestamp};

/// The future of work inside a transaction.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A transaction.
#[derive(Debug)]
pub struct Tx<'a> {
    pub(in crate::store) db: Handle<'a, DatabaseTransaction>,
    pub(in crate::store) clock: &'a Clock,
}

impl<'a> Deref for Tx<'a> {
    type Target = Handle<'a, DatabaseTransaction>;

    fn deref(&self) -> &Self::Target {
        &self.db
    }
}

impl Tx<'_> {
    /// Returns the time that replicas agree on: leases use the database's clock, never a replica's own.
    pub(in crate::store) async fn now(&self) -> Result<Timestamp, StoreError> {
        if self.clock.is_manual() || self.backend() == DbBackend::Sqlite {
            return Ok(self.clock.now());
        }
        let sql = "SELECT (extract(epoch from clock_timestamp()) * 1000)::bigint AS now";
        self.one(sql, []).await?.ok_or(StoreError::Unreadable("no time"))?.get("now")
    }

    /// Inserts a row, and returns whether its primary key was free.
    pub(in crate::store) async fn insert_new<A: ActiveModelTrait>(
        &self,
        row: impl IntoActiveModel<A>,
    ) -> Result<bool, StoreError> {
        Ok(self.change(Insert::one(row).on_conflict_do_nothing()).await? == 1)
    }

    /// Reads a row that must not change until the transaction ends.
    pub(in crate::store) async fn find_locked<E: EntityTrait>(
        &self,
        query: Select<E>,
    ) -> Result<Option<E::Model>, StoreError> {
        let query = if self.locks_rows() { query.lock_exclusive() } else { query };
        Ok(query.one(&self.db).await?)
    }

    /// Returns whether rows that are read must be locked so that they do not change until the transaction ends. On
    /// SQLite there is no other writer.
    pub(in crate::store) fn locks_rows(&self) -> bool {
        self.backend() == DbBackend::Postgres
    }

    /// Returns the end of a SELECT whose rows must not change until the transaction ends; empty on SQLite.
    pub(in crate::store) fn for_update(&self) -> &'static str {
        if self.locks_rows() { "FOR UPDATE" } else { "" }
    }
}
