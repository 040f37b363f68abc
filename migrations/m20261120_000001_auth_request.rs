//! Authorization requests: one row from the click to its outcome.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, text, text_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("auth_request")
            .col(text("id").primary_key())
            .col(text("state_hash"))
            .col(text("binding_hash"))
            .col(text("user_id"))
            .col(text("client_id"))
            .col(text("redirect_uri"))
            .col(text("scopes"))
            .col(text("optional_scopes"))
            .col(text_null("opener_origin"))
            .col(text_null("evidence"))
            .col(big_integer_null("portal_id"))
            .col(text_null("pkce_key_id"))
            .col(text_null("pkce_sealed"))
            .col(text("status"))
            .col(text_null("error_code"))
            .col(text_null("connection_id"))
            .col(big_integer("created_at"))
            .col(big_integer("expires_at"))
            .col(big_integer_null("consumed_at"))
            .col(big_integer_null("finished_at"))
            .col(big_integer_null("delivered_at"))
            .to_owned();
        manager.create_table(table).await?;
        let expiry = Index::create()
            .name("auth_request_expires_at")
            .table("auth_request")
            .col("expires_at")
            .to_owned();
        manager.create_index(expiry).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("auth_request").to_owned()).await
    }
}
