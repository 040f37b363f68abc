//! Keys of the host's backends.

use sea_orm::entity::prelude::*;

use crate::domain::clock::Moment;
use crate::domain::id::ApiKeyId;
use crate::domain::secret::Hash;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_key")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ApiKeyId,
    pub name: String,
    pub key_hash: Hash,
    /// Words, separated by spaces. A later release may have written more than this one knows.
    pub scopes: String,
    pub created_at: Moment,
    pub last_used_at: Option<Moment>,
    pub revoked_at: Option<Moment>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
