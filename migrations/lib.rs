//! The database schema, one file per change, the same on SQLite and PostgreSQL.
//!
//! Identifiers and hashes are text, moments are Unix milliseconds in a 64-bit integer: both databases compare these
//! alike, while their own timestamp and UUID types differ in form and precision.
//!
//! A change must suit the release before it as well as the one that brings it (expand, move, contract): replicas are
//! replaced one by one.

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

pub use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// The list of all schema changes, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
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
        ]
    }
}
