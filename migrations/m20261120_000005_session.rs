//! Browser sessions, kept on the server so that logging out ends them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text, text_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("session")
            .col(text("key_hash").primary_key())
            .col(text_null("user_id"))
            .col(text("state"))
            .col(big_integer("created_at"))
            .col(big_integer("seen_at"))
            .col(big_integer("expires_at"))
            .to_owned();
        manager.create_table(table).await?;
        let user = Index::create().name("session_user_id").table("session").col("user_id").to_owned();
        manager.create_index(user).await?;
        let expiry = Index::create().name("session_expires_at").table("session").col("expires_at").to_owned();
        manager.create_index(expiry).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("session").to_owned()).await
    }
}
