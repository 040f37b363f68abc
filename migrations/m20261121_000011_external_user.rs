//! The host's users: connections that the host's backend creates belong to one of them, and to no browser session.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text, text_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("external_user")
            .col(text("external_id").primary_key())
            .col(text("user_id").unique_key())
            .col(big_integer("created_at"))
            .to_owned();
        manager.create_table(table).await?;
        manager.alter_table(Table::alter().table("token").add_column(text_null("metadata")).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("token").drop_column("metadata").to_owned()).await?;
        manager.drop_table(Table::drop().table("external_user").to_owned()).await
    }
}
