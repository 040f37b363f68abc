//! Connect sessions: a permission from the host's backend for one of its users to connect, given before the user comes.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, text, text_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

const LINKS: [&str; 2] = ["auth_request", "parked_grant"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let session = Table::create()
            .table("connect_session")
            .col(text("id").primary_key())
            .col(text("token_hash").unique_key())
            .col(text("external_id"))
            .col(text("user_id"))
            .col(text("client_id"))
            .col(text_null("scopes"))
            .col(text_null("optional_scopes"))
            .col(big_integer_null("portal_id"))
            .col(text_null("allowed_origins"))
            .col(text_null("return_url"))
            .col(text_null("metadata"))
            .col(text_null("requested_by"))
            .col(big_integer("confirm").default(0))
            .col(big_integer("hosted").default(0))
            .col(text("status"))
            .col(text_null("error_code"))
            .col(text_null("flow_id"))
            .col(text_null("connection_id"))
            .col(big_integer("created_at"))
            .col(big_integer("expires_at"))
            .col(big_integer_null("finished_at"))
            .to_owned();
        manager.create_table(session).await?;
        let expiry = Index::create()
            .name("connect_session_expires_at")
            .table("connect_session")
            .col("expires_at")
            .to_owned();
        manager.create_index(expiry).await?;
        for table in LINKS {
            let link = Table::alter().table(table).add_column(text_null("connect_session_id")).to_owned();
            manager.alter_table(link).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in LINKS {
            manager
                .alter_table(Table::alter().table(table).drop_column("connect_session_id").to_owned())
                .await?;
        }
        manager.drop_table(Table::drop().table("connect_session").to_owned()).await
    }
}
