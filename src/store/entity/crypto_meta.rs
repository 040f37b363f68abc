//! Known texts, one sealed under each encryption key.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "crypto_meta")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: String,
    pub check_sealed: String,
    pub created_at: Timestamp,
}
