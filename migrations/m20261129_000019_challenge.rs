//! A challenge belongs to one authorization request: a client that knows it must not start a second one in its place.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const NAME: &str = "auth_request_challenge";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Of several rows with the same challenge, the first stays. All of them expire within minutes anyway.
        let later = "DELETE FROM auth_request WHERE EXISTS (SELECT 1 FROM auth_request AS first \
                     WHERE first.challenge = auth_request.challenge AND (first.created_at < auth_request.created_at \
                     OR (first.created_at = auth_request.created_at AND first.id < auth_request.id)))";
        manager.get_connection().execute_unprepared(later).await?;
        replace(manager, index().unique().to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        replace(manager, index()).await
    }
}

async fn replace(manager: &SchemaManager<'_>, index: IndexCreateStatement) -> Result<(), DbErr> {
    manager.drop_index(Index::drop().name(NAME).table("auth_request").to_owned()).await?;
    manager.create_index(index).await
}

/// Many authorization requests have no challenge: a unique index permits any number of NULLs.
fn index() -> IndexCreateStatement {
    Index::create().name(NAME).table("auth_request").col("challenge").to_owned()
}
