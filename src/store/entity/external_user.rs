//! The host's users, and the user here for each.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Timestamp;
use crate::domain::external::ExternalUserId;
use crate::domain::id::UserId;
use crate::domain::project::ProjectId;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "external_user")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: ProjectId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub external_id: ExternalUserId,
    pub user_id: UserId,
    pub created_at: Timestamp,
}
