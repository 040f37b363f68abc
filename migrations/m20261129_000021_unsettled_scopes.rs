//! The required scopes of a connection whose granted scopes are not known yet, if all of them are required. They are
//! checked and deleted when HubSpot names the granted ones.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::text_null;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let unsettled = text_null("unsettled_scopes");
        manager.alter_table(Table::alter().table("token").add_column(unsettled).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("token").drop_column("unsettled_scopes").to_owned()).await
    }
}
