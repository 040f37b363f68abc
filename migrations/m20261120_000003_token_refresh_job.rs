//! The next refresh of each connection, and the lease on it.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, text, text_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("token_refresh_job")
            .col(text("connection_id").primary_key())
            .col(big_integer("run_at"))
            .col(big_integer("attempts").default(0))
            .col(big_integer("strikes").default(0))
            .col(text_null("lease_owner"))
            .col(big_integer_null("lease_until"))
            .col(big_integer("fence").default(0))
            .col(big_integer_null("intent_at"))
            .col(big_integer("interrupted").default(0))
            .foreign_key(
                ForeignKey::create()
                    .name("token_refresh_job_connection")
                    .from("token_refresh_job", "connection_id")
                    .to("token", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        manager.create_table(table).await?;
        let due = Index::create()
            .name("token_refresh_job_run_at")
            .table("token_refresh_job")
            .col("run_at")
            .to_owned();
        manager.create_index(due).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("token_refresh_job").to_owned()).await
    }
}
