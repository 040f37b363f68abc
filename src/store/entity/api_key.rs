//! API keys of the host's backends.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::api_key::{ApiScope, ApiScopes, prefix};
use crate::domain::clock::Timestamp;
use crate::domain::id::ApiKeyId;
use crate::domain::project::ProjectId;
use crate::domain::secret::Hash;

/// An API key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "api_key")]
pub struct Model {
    /// Its id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ApiKeyId,
    /// Its name. Two keys may share a name.
    pub name: String,
    /// The hash of its secret.
    pub key_hash: Hash,
    /// Its scopes.
    pub scopes: ApiScopes,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The time of the last use, accurate to a minute.
    pub last_used_at: Option<Timestamp>,
    /// The time of its revocation.
    pub revoked_at: Option<Timestamp>,
    /// The project that it belongs to.
    pub project_id: ProjectId,
}

impl Model {
    /// Returns the first characters of the key, by which users and secret scanners recognise it.
    pub fn prefix(&self) -> String {
        prefix(self.id)
    }

    /// Returns whether it has this scope.
    pub fn may(&self, scope: ApiScope) -> bool {
        self.scopes.0.contains(&scope)
    }
}
