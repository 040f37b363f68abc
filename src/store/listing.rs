//! Connections as an operator sees them: everything but the tokens.

use super::{Store, StoreError, token};
use crate::domain::clock::Moment;
use crate::domain::token::Token;

/// A connection with the state of its job.
#[derive(Debug)]
pub struct Listed {
    /// The connection.
    pub token: Token,
    /// When its job runs next; an active connection always has one.
    pub run_at: Option<Moment>,
    /// Failed attempts since the last success.
    pub attempts: Option<i64>,
    /// Until when somebody is at it.
    pub lease_until: Option<Moment>,
}

impl Store {
    /// Connections in the order of their ids, from after `after`.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn list_tokens(&self, after: &str, limit: u32) -> Result<Vec<Listed>, StoreError> {
        let sql = format!(
            "SELECT {}, job.run_at, job.attempts, job.lease_until FROM token LEFT JOIN token_refresh_job AS job \
             ON job.connection_id = id WHERE id > $1 ORDER BY id LIMIT $2",
            token::COLUMNS
        );
        let rows = self.all(&sql, [after.to_owned().into(), i64::from(limit).into()]).await?;
        rows.iter()
            .map(|row| {
                Ok(Listed {
                    token: token::read(row)?,
                    run_at: row.maybe_moment("run_at")?,
                    attempts: row.get("attempts")?,
                    lease_until: row.maybe_moment("lease_until")?,
                })
            })
            .collect()
    }

    /// How many connections there are in each state.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn count_tokens(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let rows =
            self.all("SELECT state, COUNT(*) AS uses FROM token GROUP BY state ORDER BY state", []).await?;
        rows.iter().map(|row| Ok((row.get("state")?, row.get("uses")?))).collect()
    }
}
