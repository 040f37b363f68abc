//! Reading a row, column by column, into the types of the domain.

use std::str::FromStr;

use sea_orm::{FromQueryResult, QueryResult, TryGetable};

use super::StoreError;
use crate::domain::clock::Moment;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Sealed;

/// One row of an answer.
pub(in crate::store) struct Row(pub QueryResult);

impl Row {
    pub fn get<T: TryGetable>(&self, column: &'static str) -> Result<T, StoreError> {
        self.0.try_get("", column).map_err(StoreError::from)
    }

    /// The row of an entity, whatever other columns are beside it.
    pub fn model<M: FromQueryResult>(&self) -> Result<M, StoreError> {
        M::from_query_result(&self.0, "").map_err(StoreError::from)
    }

    /// A text that a parser of the domain understands.
    pub fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        self.get::<String>(column)?.parse().map_err(|_| StoreError::Unreadable(column))
    }

    pub fn moment(&self, column: &'static str) -> Result<Moment, StoreError> {
        self.get(column).map(Moment::from_unix_ms)
    }

    pub fn scopes(&self, column: &'static str) -> Result<Scopes, StoreError> {
        Ok(Scopes::parse(&self.get::<String>(column)?))
    }

    /// The granted scopes: an empty text while they are unknown.
    pub fn granted_scopes(&self, column: &'static str) -> Result<Option<Scopes>, StoreError> {
        Ok(Some(self.scopes(column)?).filter(|scopes| !scopes.is_empty()))
    }

    pub fn sealed(&self, key_id: &'static str, ciphertext: &'static str) -> Result<Sealed, StoreError> {
        Ok(Sealed { key_id: self.get(key_id)?, ciphertext: self.get(ciphertext)? })
    }
}
