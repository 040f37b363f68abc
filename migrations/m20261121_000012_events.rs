//! The events of connections, in order, and the endpoints that receive them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, text, text_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        make_events(manager).await?;
        make_endpoints(manager).await?;
        make_deliveries(manager).await?;
        let alter = Table::alter().table("token").add_column(big_integer_null("degraded_since")).to_owned();
        manager.alter_table(alter).await?;
        for sql in PARTIAL {
            manager.get_connection().execute_unprepared(sql).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let attempts = Index::drop().name("token_refresh_job_attempts").table("token_refresh_job").to_owned();
        manager.drop_index(attempts).await?;
        manager.alter_table(Table::alter().table("token").drop_column("degraded_since").to_owned()).await?;
        for table in ["webhook_delivery", "webhook_endpoint", "alarm", "event_sequence", "event"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

/// Indexes of pending work only: nearly all deliveries are done, and nearly all jobs have never failed, so a successful
/// refresh writes to none of them.
const PARTIAL: [&str; 4] = [
    "CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, run_at) WHERE status = 'pending'",
    "CREATE INDEX webhook_delivery_first ON webhook_delivery (endpoint_id, connection_id, sequence) \
     WHERE status = 'pending' AND attempts = 0",
    "CREATE INDEX webhook_delivery_waiting ON webhook_delivery (queued_at) WHERE status = 'pending'",
    "CREATE INDEX token_refresh_job_attempts ON token_refresh_job (connection_id) WHERE attempts > 0",
];

async fn make_events(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let event = Table::create()
        .table("event")
        .col(text("id").primary_key())
        .col(text("type"))
        .col(text_null("connection_id"))
        .col(big_integer_null("sequence"))
        .col(text("payload"))
        .col(big_integer("created_at"))
        .to_owned();
    manager.create_table(event).await?;
    let history = Index::create()
        .name("event_connection")
        .table("event")
        .col("connection_id")
        .col("sequence")
        .unique()
        .to_owned();
    manager.create_index(history).await?;
    let age = Index::create().name("event_type").table("event").col("type").col("created_at").to_owned();
    manager.create_index(age).await?;
    let sequence = Table::create()
        .table("event_sequence")
        .col(text("connection_id").primary_key())
        .col(big_integer("last"))
        .to_owned();
    manager.create_table(sequence).await?;
    let alarm =
        Table::create().table("alarm").col(text("code").primary_key()).col(big_integer("since")).to_owned();
    manager.create_table(alarm).await
}

async fn make_endpoints(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let endpoint = Table::create()
        .table("webhook_endpoint")
        .col(text("id").primary_key())
        .col(text("url"))
        .col(text_null("types"))
        .col(big_integer("enabled").default(1))
        .col(text_null("disabled_reason"))
        .col(text("key_id"))
        .col(text("secrets_sealed"))
        .col(big_integer("generation").default(1))
        .col(big_integer_null("overlap_until"))
        .col(big_integer("created_at"))
        .to_owned();
    manager.create_table(endpoint).await
}

async fn make_deliveries(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let delivery = Table::create()
        .table("webhook_delivery")
        .col(text("event_id"))
        .col(text("endpoint_id"))
        .col(text_null("connection_id"))
        .col(big_integer_null("sequence"))
        .col(text("status").default("pending"))
        .col(big_integer("attempts").default(0))
        .col(big_integer("queued_at"))
        .col(big_integer("run_at"))
        .col(text_null("lease_owner"))
        .col(big_integer_null("lease_until"))
        .col(big_integer("fence").default(0))
        .col(big_integer_null("last_status"))
        .col(text_null("last_error"))
        .col(big_integer_null("last_attempt_at"))
        .col(big_integer_null("delivered_at"))
        .primary_key(Index::create().col("event_id").col("endpoint_id"))
        .foreign_key(&mut cascade("webhook_delivery_event", "event_id", "event"))
        .foreign_key(&mut cascade("webhook_delivery_endpoint", "endpoint_id", "webhook_endpoint"))
        .to_owned();
    manager.create_table(delivery).await?;
    let listed = Index::create()
        .name("webhook_delivery_listed")
        .table("webhook_delivery")
        .col("endpoint_id")
        .col("queued_at")
        .col("event_id")
        .to_owned();
    manager.create_index(listed).await
}

fn cascade(name: &'static str, column: &'static str, table: &'static str) -> ForeignKeyCreateStatement {
    let mut key = ForeignKey::create();
    key.name(name).from("webhook_delivery", column).to(table, "id").on_delete(ForeignKeyAction::Cascade);
    key
}
