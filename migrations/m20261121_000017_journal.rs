//! The position in HubSpot's Webhooks Journal and the lease on reading it, and the uninstalls that it has announced.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, text, text_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("journal_reader")
            .col(text("client_id").primary_key())
            .col(text_null("position"))
            .col(text_null("lease_owner"))
            .col(big_integer_null("lease_until"))
            .col(big_integer("fence").default(0))
            .to_owned();
        manager.create_table(table).await?;
        let announced =
            Table::alter().table("token_refresh_job").add_column(big_integer_null("announced_at")).to_owned();
        manager.alter_table(announced).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let announced = Table::alter().table("token_refresh_job").drop_column("announced_at").to_owned();
        manager.alter_table(announced).await?;
        manager.drop_table(Table::drop().table("journal_reader").to_owned()).await
    }
}
