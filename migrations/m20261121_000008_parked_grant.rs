//! Grants for another account than the expected one, kept until the user has decided about them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text, text_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("parked_grant").to_owned()).await
    }
}

pub(crate) async fn create(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("parked_grant")
        .col(text("flow_id").primary_key())
        .col(text("user_id"))
        .col(text("connection_id"))
        .col(text("client_id"))
        .col(big_integer("portal_id"))
        .col(text_null("hub_domain"))
        .col(text_null("scopes"))
        .col(text("key_id"))
        .col(text("access_sealed"))
        .col(text("refresh_sealed"))
        .col(text("refresh_fingerprint"))
        .col(big_integer("obtained_at"))
        .col(big_integer("token_expires_at"))
        .col(big_integer("expires_at"))
        .to_owned();
    manager.create_table(table).await?;
    let expiry =
        Index::create().name("parked_grant_expires_at").table("parked_grant").col("expires_at").to_owned();
    manager.create_index(expiry).await
}
