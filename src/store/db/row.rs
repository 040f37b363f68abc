//! Reading a row, column by column, into the types of the domain.

use sea_orm::{FromQueryResult, QueryResult, TryGetable};

use super::StoreError;
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

    /// The granted scopes: an empty text while they are unknown.
    pub fn granted_scopes(&self, column: &'static str) -> Result<Option<Scopes>, StoreError> {
        Ok(Some(self.get::<Scopes>(column)?).filter(|scopes| !scopes.is_empty()))
    }

    pub fn sealed(&self, key_id: &'static str, ciphertext: &'static str) -> Result<Sealed, StoreError> {
        Ok(Sealed { key_id: self.get(key_id)?, ciphertext: self.get(ciphertext)? })
    }
}
