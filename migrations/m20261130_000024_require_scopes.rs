//! Whether a connect session requires its scopes; without a value, the configuration decides. Also indexes: of links
//! that expire, and of the sessions of a user.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::big_integer_null;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let required = big_integer_null("require_scopes");
        manager.alter_table(Table::alter().table("connect_session").add_column(required).to_owned()).await?;
        let links = "CREATE INDEX connect_session_link_expires ON connect_session (expires_at, id) \
                     WHERE status = 'open' AND hosted = 1";
        manager.get_connection().execute_unprepared(links).await?;
        let mut of_user = Index::create().name("connect_session_user").table("connect_session").to_owned();
        manager.create_index(of_user.col("external_id").col("id").to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for index in ["connect_session_link_expires", "connect_session_user"] {
            manager.drop_index(Index::drop().name(index).table("connect_session").to_owned()).await?;
        }
        let table = Table::alter().table("connect_session").drop_column("require_scopes").to_owned();
        manager.alter_table(table).await
    }
}
