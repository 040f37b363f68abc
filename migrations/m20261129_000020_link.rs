//! The time at which a hosted link was opened: from then on, the token in the link is no longer accepted.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::big_integer_null;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(table().add_column(big_integer_null("opened_at")).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(table().drop_column("opened_at").to_owned()).await
    }
}

fn table() -> TableAlterStatement {
    Table::alter().table("connect_session").to_owned()
}
