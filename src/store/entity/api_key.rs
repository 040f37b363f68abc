//! Keys of the host's backends.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::api_key::{ApiScope, ApiScopes, prefix};
use crate::domain::clock::Timestamp;
use crate::domain::id::ApiKeyId;
use crate::domain::project::ProjectId;
use crate::domain::secret::Hash;

/// A key, but for its secret.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "api_key")]
pub struct Model {
    /// Its id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ApiKeyId,
    /// Its name. Two keys of one name may be in use at once.
    pub name: String,
    /// The hash of its secret.
    pub key_hash: Hash,
    /// What it permits.
    pub scopes: ApiScopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, give or take a minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The project that it belongs to.
    pub project_id: ProjectId,
}

impl Model {
    /// Returns the first characters of the key, by which people and secret scanners know it.
    pub fn prefix(&self) -> String {
        prefix(self.id)
    }

    /// Returns whether it permits this.
    pub fn may(&self, scope: ApiScope) -> bool {
        self.scopes.0.contains(&scope)
    }
}
