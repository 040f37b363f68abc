//! Connections are listed page by page, by account and by state, in the order in which they were made. And an import
//! that is run again knows what it has brought before, although HubSpot may have replaced the refresh token since.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::text_null;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// None of these columns changes with a refresh, so no refresh has an index to write.
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
        // Nearly all connections are well, so the index is nearly empty.
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
