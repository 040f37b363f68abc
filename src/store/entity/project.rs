//! Projects.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Timestamp;
use crate::domain::origin::AllowedOrigins;
use crate::domain::project::ProjectId;

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "project")]
pub struct Model {
    /// Its name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ProjectId,
    /// The origins whose pages may use its connect sessions; `None` for all of HOST_ORIGINS.
    pub host_origins: Option<AllowedOrigins>,
    /// The time of creation.
    pub created_at: Timestamp,
}
