//! Readers of HubSpot's Webhooks Journal, one per app.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "journal_reader")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub client_id: String,
    pub position: Option<String>,
    pub lease_owner: Option<String>,
    pub lease_until: Option<Timestamp>,
    pub fence: i64,
}
