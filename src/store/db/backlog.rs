//! Work that waits in a table.

use std::time::Duration;

use sea_orm::Value;

use super::{Database, StoreError};
use crate::domain::clock::Timestamp;

/// Work that waits in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Its size.
    pub count: i64,
    /// The time since which the oldest item waits.
    pub oldest: Option<Timestamp>,
}

impl Backlog {
    /// Returns the age of the oldest item; zero if there is none.
    pub fn oldest_age(&self, now: Timestamp) -> Duration {
        self.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest))
    }
}

impl Database {
    /// Reads a backlog: a row with the columns `waiting` and `oldest`.
    pub(in crate::store) async fn backlog<const N: usize>(
        &self,
        sql: &str,
        values: [Value; N],
    ) -> Result<Backlog, StoreError> {
        let rows = self.all_on_own_thread(sql, values).await?;
        let Some(row) = rows.first() else { return Ok(Backlog { count: 0, oldest: None }) };
        Ok(Backlog { count: row.get("waiting")?, oldest: row.get("oldest")? })
    }
}
