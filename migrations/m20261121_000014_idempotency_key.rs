//! Idempotency keys: the request of a host's backend under each key, and the response.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text, text_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("idempotency_key")
            .col(text("id").primary_key())
            .col(text("fingerprint"))
            .col(text("lease"))
            .col(big_integer("locked_until"))
            .col(text_null("key_id"))
            .col(text_null("answer_sealed"))
            .col(big_integer("expires_at"))
            .to_owned();
        manager.create_table(table).await?;
        let expiry = Index::create()
            .name("idempotency_key_expires_at")
            .table("idempotency_key")
            .col("expires_at")
            .to_owned();
        manager.create_index(expiry).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("idempotency_key").to_owned()).await
    }
}
