//! Connections are listed by status, and nearly all are active, so only the others are indexed. SQLite used the index
//! of all states for every statement on active connections, and read all of them.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let all = Index::drop().name("token_state_created").table("token").to_owned();
        manager.drop_index(all).await?;
        let inactive = "CREATE INDEX token_inactive ON token (state, created_at, id) WHERE state <> 'active'";
        manager.get_connection().execute_unprepared(inactive).await.map(|_| ())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_index(Index::drop().name("token_inactive").table("token").to_owned()).await?;
        let mut all = Index::create().name("token_state_created").table("token").to_owned();
        manager.create_index(all.col("state").col("created_at").col("id").to_owned()).await
    }
}
