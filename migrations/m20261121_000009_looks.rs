//! Indexes for searches that must not read each of a million connections: the keys in use, at startup, and the grants
//! that HubSpot has rejected once.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let keys = Index::create().name("token_key_id").table("token").col("key_id").to_owned();
        manager.create_index(keys).await?;
        // Nearly all jobs have none, so the index is nearly empty.
        let strikes =
            "CREATE INDEX token_refresh_job_strikes ON token_refresh_job (strikes) WHERE strikes > 0";
        manager.get_connection().execute_unprepared(strikes).await.map(|_| ())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, table) in [("token_refresh_job_strikes", "token_refresh_job"), ("token_key_id", "token")] {
            manager.drop_index(Index::drop().name(name).table(table).to_owned()).await?;
        }
        Ok(())
    }
}
