//! Whether a request with a session has been received. The cookie of the authorization request that led to the session
//! never restores it after that. Sessions of the previous release count as seen.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::big_integer;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let seen = big_integer("seen").default(1).to_owned();
        manager.alter_table(Table::alter().table("session").add_column(seen).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("session").drop_column("seen").to_owned()).await
    }
}
