//! Columns of authorization requests for the hand-off: the challenge of the page that started the flow, the
//! verification of that page, the return URL of a redirect, and whether the access token has been taken.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer_null, text_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

const TEXTS: [&str; 4] = ["challenge", "opener_challenge", "return_url", "mode"];
const TAKEN: &str = "token_taken_at";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column at a time.
        for column in TEXTS {
            manager.alter_table(table().add_column(text_null(column)).to_owned()).await?;
        }
        manager.alter_table(table().add_column(big_integer_null(TAKEN)).to_owned()).await?;
        let challenge =
            Index::create().name("auth_request_challenge").table("auth_request").col("challenge").to_owned();
        manager.create_index(challenge).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_index(Index::drop().name("auth_request_challenge").table("auth_request").to_owned())
            .await?;
        for column in TEXTS.into_iter().chain([TAKEN]) {
            manager.alter_table(table().drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}

fn table() -> TableAlterStatement {
    Table::alter().table("auth_request").to_owned()
}
