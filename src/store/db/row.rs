//! Reads the columns of a row as types of the domain.

use sea_orm::{FromQueryResult, QueryResult, TryGetable};

use super::StoreError;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Sealed;

/// A row of a result.
pub(in crate::store) struct Row(pub QueryResult);

impl Row {
    pub fn get<T: TryGetable>(&self, column: &'static str) -> Result<T, StoreError> {
        self.0.try_get("", column).map_err(StoreError::from)
    }

    /// Returns the row as an entity's model, ignoring other columns.
    pub fn model<M: FromQueryResult>(&self) -> Result<M, StoreError> {
        M::from_query_result(&self.0, "").map_err(StoreError::from)
    }

    /// Returns the granted scopes; `None` if the column is empty because they are unknown.
    pub fn granted_scopes(&self, column: &'static str) -> Result<Option<Scopes>, StoreError> {
        Ok(Some(self.get::<Scopes>(column)?).filter(|scopes| !scopes.is_empty()))
    }

    pub fn sealed(&self, key_id: &'static str, ciphertext: &'static str) -> Result<Sealed, StoreError> {
        Ok(Sealed { key_id: self.get(key_id)?, ciphertext: self.get(ciphertext)? })
    }
}
