//! Connections: one row per HubSpot account that a user has connected.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, text, text_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("token")
            .col(text("id").primary_key())
            .col(text("user_id"))
            .col(text("client_id"))
            .col(big_integer_null("portal_id"))
            .col(text_null("hub_domain"))
            .col(text_null("hub_user"))
            .col(text_null("time_zone"))
            .col(text("scopes"))
            .col(text("wanted_scopes"))
            .col(text("state"))
            .col(big_integer("generation"))
            .col(text("key_id"))
            .col(text("access_sealed"))
            .col(text("refresh_sealed"))
            .col(text("refresh_fingerprint"))
            .col(big_integer("obtained_at"))
            .col(big_integer("expires_at"))
            .col(text_null("last_error"))
            .col(big_integer_null("error_since"))
            .col(big_integer_null("details_due_at"))
            .col(big_integer("details_attempts").default(0))
            .col(big_integer("created_at"))
            .col(big_integer("connected_at"))
            .to_owned();
        manager.create_table(table).await?;
        let owner = Index::create()
            .name("token_owner_account")
            .table("token")
            .col("user_id")
            .col("client_id")
            .col("portal_id")
            .unique()
            .to_owned();
        manager.create_index(owner).await?;
        let fingerprint = Index::create()
            .name("token_refresh_fingerprint")
            .table("token")
            .col("refresh_fingerprint")
            .to_owned();
        manager.create_index(fingerprint).await?;
        let connected =
            Index::create().name("token_connected_at").table("token").col("connected_at").to_owned();
        manager.create_index(connected).await?;
        let details =
            Index::create().name("token_details_due_at").table("token").col("details_due_at").to_owned();
        manager.create_index(details).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("token").to_owned()).await
    }
}
