//! Refresh tokens that must still be revoked at HubSpot.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("revocation_job")
            .col(text("id").primary_key())
            .col(text("connection_id"))
            .col(text("client_id"))
            .col(text("key_id"))
            .col(text("refresh_sealed"))
            .col(text("refresh_fingerprint"))
            .col(big_integer("generation"))
            .col(big_integer("created_at"))
            .col(big_integer("run_at"))
            .col(big_integer("attempts").default(0))
            .to_owned();
        manager.create_table(table).await?;
        let due =
            Index::create().name("revocation_job_run_at").table("revocation_job").col("run_at").to_owned();
        manager.create_index(due).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("revocation_job").to_owned()).await
    }
}
