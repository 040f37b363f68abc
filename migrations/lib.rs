//! The database schema, one file per change, the same on SQLite and PostgreSQL.
//!
//! Identifiers and hashes are text, and times are Unix milliseconds in a 64-bit integer: both databases compare these
//! in the same way, while their own timestamp and UUID types differ in format and precision.
//!
//! A change must work with the previous release as well as with its own (expand, migrate, contract), because replicas
//! are replaced one by one.

use sea_orm_migration::prelude::*;

mod m20261120_000001_auth_request;
mod m20261120_000002_token;
mod m20261120_000003_token_refresh_job;
mod m20261120_000004_revocation_job;
mod m20261120_000005_session;
mod m20261120_000006_crypto_meta;
mod m20261121_000007_handoff;
mod m20261121_000008_parked_grant;
mod m20261121_000009_looks;
mod m20261121_000010_api_key;
mod m20261121_000011_external_user;
mod m20261121_000012_events;
mod m20261121_000013_install;
mod m20261121_000014_idempotency_key;
mod m20261121_000015_catalogue;
mod m20261121_000016_connect_session;
mod m20261121_000017_journal;
mod m20261129_000018_session_seen;
mod m20261129_000019_challenge;
mod m20261129_000020_link;
mod m20261129_000021_unsettled_scopes;
mod m20261130_000022_pending_grant;
mod m20261130_000023_inactive_connections;
mod m20261130_000024_require_scopes;
mod m20261130_000025_project;

use std::collections::HashSet;

use sea_orm_migration::sea_orm::ActiveValue::Set;
use sea_orm_migration::sea_orm::{ConnectionTrait, EntityTrait, Schema};
use sea_orm_migration::seaql_migrations;
pub use sea_orm_migration::{MigrationTrait, SchemaManager};

/// Returns all schema changes, oldest first.
pub fn all() -> Vec<Box<dyn MigrationTrait>> {
    vec![
        Box::new(m20261120_000001_auth_request::Migration),
        Box::new(m20261120_000002_token::Migration),
        Box::new(m20261120_000003_token_refresh_job::Migration),
        Box::new(m20261120_000004_revocation_job::Migration),
        Box::new(m20261120_000005_session::Migration),
        Box::new(m20261120_000006_crypto_meta::Migration),
        Box::new(m20261121_000007_handoff::Migration),
        Box::new(m20261121_000008_parked_grant::Migration),
        Box::new(m20261121_000009_looks::Migration),
        Box::new(m20261121_000010_api_key::Migration),
        Box::new(m20261121_000011_external_user::Migration),
        Box::new(m20261121_000012_events::Migration),
        Box::new(m20261121_000013_install::Migration),
        Box::new(m20261121_000014_idempotency_key::Migration),
        Box::new(m20261121_000015_catalogue::Migration),
        Box::new(m20261121_000016_connect_session::Migration),
        Box::new(m20261121_000017_journal::Migration),
        Box::new(m20261129_000018_session_seen::Migration),
        Box::new(m20261129_000019_challenge::Migration),
        Box::new(m20261129_000020_link::Migration),
        Box::new(m20261129_000021_unsettled_scopes::Migration),
        Box::new(m20261130_000022_pending_grant::Migration),
        Box::new(m20261130_000023_inactive_connections::Migration),
        Box::new(m20261130_000024_require_scopes::Migration),
        Box::new(m20261130_000025_project::Migration),
    ]
}

/// Applies the missing schema changes, and records each with the time in Unix seconds. The caller provides the
/// transaction. sea-orm's own runner would look up SQLite's tables with a driver that is not linked here.
///
/// # Errors
/// [`DbErr`] of the change that failed.
pub async fn up(manager: &SchemaManager<'_>, now: i64) -> Result<(), DbErr> {
    let db = manager.get_connection();
    let applied = applied(db).await?;
    for change in all().iter().filter(|change| !applied.contains(change.name())) {
        change.up(manager).await?;
        let made =
            seaql_migrations::ActiveModel { version: Set(change.name().to_owned()), applied_at: Set(now) };
        seaql_migrations::Entity::insert(made).exec_without_returning(db).await?;
    }
    Ok(())
}

/// Reverts the newest applied schema changes. The caller provides the transaction.
///
/// # Errors
/// [`DbErr`] of the change that failed.
pub async fn down(manager: &SchemaManager<'_>, steps: u32) -> Result<(), DbErr> {
    let db = manager.get_connection();
    let applied = applied(db).await?;
    let newest = all().into_iter().rev().filter(|change| applied.contains(change.name()));
    for change in newest.take(steps as usize) {
        change.down(manager).await?;
        seaql_migrations::Entity::delete_by_id(change.name()).exec(db).await?;
    }
    Ok(())
}

/// Returns the applied changes. A change that this release does not know is an error: what it builds on must not be
/// changed underneath it.
async fn applied(db: &impl ConnectionTrait) -> Result<HashSet<String>, DbErr> {
    let mut table = Schema::new(db.get_database_backend()).create_table_from_entity(seaql_migrations::Entity);
    db.execute(table.if_not_exists()).await?;
    let made = seaql_migrations::Entity::find().all(db).await?;
    let made: HashSet<String> = made.into_iter().map(|change| change.version).collect();
    let known = all();
    match made.iter().find(|name| !known.iter().any(|change| change.name() == name.as_str())) {
        Some(newer) => Err(DbErr::Custom(format!("it has {newer}, which this release does not know"))),
        None => Ok(made),
    }
}
