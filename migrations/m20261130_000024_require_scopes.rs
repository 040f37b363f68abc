//! Whether a connect session requires its scopes; without a value the configuration says.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::big_integer_null;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let required = big_integer_null("require_scopes");
        manager.alter_table(Table::alter().table("connect_session").add_column(required).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::alter().table("connect_session").drop_column("require_scopes").to_owned();
        manager.alter_table(table).await
    }
}
