//! Installs that started at HubSpot's Marketplace: the grants that wait to be claimed, and the states and codes that
//! were used, so that each is accepted once.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, text, text_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager).await?;
        let seen = Table::create()
            .table("install_attempt")
            .col(text("hash").primary_key())
            .col(text("kind"))
            .col(big_integer("expires_at"))
            .to_owned();
        manager.create_table(seen).await?;
        index(manager, "install_attempt", &["expires_at"]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("install_attempt").to_owned()).await?;
        manager.drop_table(Table::drop().table("install").to_owned()).await
    }
}

pub(crate) async fn create(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    // A claimed install keeps no tokens: they belong to its connection.
    let install = Table::create()
        .table("install")
        .col(text("id").primary_key())
        .col(text("connection_id"))
        .col(text("client_id"))
        .col(big_integer("portal_id"))
        .col(text_null("hub_domain"))
        .col(text_null("hub_user"))
        .col(text_null("scopes"))
        .col(text_null("key_id"))
        .col(text_null("access_sealed"))
        .col(text_null("refresh_sealed"))
        .col(text_null("refresh_fingerprint"))
        .col(big_integer("obtained_at"))
        .col(big_integer("token_expires_at"))
        .col(big_integer("expires_at"))
        .col(text_null("claimed_by"))
        .col(text_null("claimed_as"))
        .col(big_integer_null("claimed_at"))
        .to_owned();
    manager.create_table(install).await?;
    for columns in [&["client_id", "portal_id"][..], &["refresh_fingerprint"], &["expires_at"]] {
        index(manager, "install", columns).await?;
    }
    Ok(())
}

/// Creates an index that is named after its table and its columns.
pub(crate) async fn index(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: &[&'static str],
) -> Result<(), DbErr> {
    let mut index = Index::create().name(format!("{table}_{}", columns.join("_"))).table(table).to_owned();
    for column in columns {
        index.col(*column);
    }
    manager.create_index(index).await
}
