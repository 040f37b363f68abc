//! Browser sessions.

use sea_orm::entity::prelude::*;

use crate::domain::clock::Moment;
use crate::domain::id::UserId;
use crate::domain::secret::Hash;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "session")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_hash: Hash,
    pub user_id: Option<UserId>,
    /// The session's values, as JSON.
    pub state: String,
    pub created_at: Moment,
    pub seen_at: Moment,
    pub expires_at: Moment,
    /// 1 after a request with it has been received, else 0.
    pub seen: i64,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
