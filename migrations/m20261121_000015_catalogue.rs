//! Connections are listed page by page, by account and by state, in order of creation. A repeated import recognises the
//! connections that it has created before, although HubSpot may have replaced their refresh tokens since.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::text_null;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// None of these columns changes with a refresh, so a refresh writes to no index.
const INDEXES: [(&str, &[&str]); 3] = [
    ("token_created", &["created_at", "id"]),
    ("token_account_created", &["portal_id", "created_at", "id"]),
    ("token_state_created", &["state", "created_at", "id"]),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let imported = text_null("imported_fingerprint");
        manager.alter_table(Table::alter().table("token").add_column(imported).to_owned()).await?;
        for (name, columns) in INDEXES {
            let mut index = Index::create().name(name).table("token").to_owned();
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        // Nearly all connections have no error, so the index is nearly empty.
        let failing = "CREATE INDEX token_error_since ON token (error_since) WHERE error_since IS NOT NULL";
        manager.get_connection().execute_unprepared(failing).await.map(|_| ())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["token_error_since"].into_iter().chain(INDEXES.map(|(name, _)| name)) {
            manager.drop_index(Index::drop().name(name).table("token").to_owned()).await?;
        }
        let table = Table::alter().table("token").drop_column("imported_fingerprint").to_owned();
        manager.alter_table(table).await
    }
}
