//! Merges the grants that await a decision into one table: account mismatches, confirmations of connect sessions and
//! Marketplace installs. A second table records who claimed an install.
//!
//! The previous release knows neither table, so all its replicas must be stopped first.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text, text_null};

use crate::{m20261121_000008_parked_grant as parked_grant, m20261121_000013_install as install};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The columns that all tables with pending tokens share.
const COMMON: &str = "connection_id, client_id, portal_id, hub_domain, scopes, key_id, access_sealed, refresh_sealed, \
                      refresh_fingerprint, obtained_at, token_expires_at, expires_at";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager).await?;
        let db = manager.get_connection();
        for move_rows in [
            format!(
                "INSERT INTO pending_grant (id, source, user_id, connect_session_id, {COMMON}) \
                 SELECT flow_id, CASE WHEN connect_session_id IS NULL THEN 'account_mismatch' ELSE 'confirmation' END, \
                 user_id, connect_session_id, {COMMON} FROM parked_grant"
            ),
            format!(
                "INSERT INTO pending_grant (id, source, hub_user, {COMMON}) \
                 SELECT id, 'marketplace', hub_user, {COMMON} FROM install WHERE refresh_sealed IS NOT NULL"
            ),
            "INSERT INTO claimed_install (id, client_id, portal_id, user_id, connection_id, expires_at) \
             SELECT id, client_id, portal_id, claimed_by, claimed_as, expires_at FROM install \
             WHERE claimed_by IS NOT NULL AND claimed_as IS NOT NULL"
                .to_owned(),
        ] {
            db.execute_unprepared(&move_rows).await?;
        }
        for table in ["parked_grant", "install"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        parked_grant::create(manager).await?;
        let session =
            Table::alter().table("parked_grant").add_column(text_null("connect_session_id")).to_owned();
        manager.alter_table(session).await?;
        install::create(manager).await?;
        let db = manager.get_connection();
        for move_rows in [
            format!(
                "INSERT INTO parked_grant (flow_id, user_id, connect_session_id, {COMMON}) \
                 SELECT id, user_id, connect_session_id, {COMMON} FROM pending_grant WHERE source <> 'marketplace'"
            ),
            format!(
                "INSERT INTO install (id, hub_user, {COMMON}) \
                 SELECT id, hub_user, {COMMON} FROM pending_grant WHERE source = 'marketplace'"
            ),
            "INSERT INTO install (id, client_id, portal_id, claimed_by, claimed_as, connection_id, obtained_at, \
             token_expires_at, expires_at) SELECT id, client_id, portal_id, user_id, connection_id, connection_id, \
             expires_at, expires_at, expires_at FROM claimed_install"
                .to_owned(),
        ] {
            db.execute_unprepared(&move_rows).await?;
        }
        for table in ["pending_grant", "claimed_install"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

async fn create(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let pending = Table::create()
        .table("pending_grant")
        .col(text("id").primary_key())
        .col(text("source"))
        .col(text_null("user_id"))
        .col(text("connection_id"))
        .col(text("client_id"))
        .col(big_integer("portal_id"))
        .col(text_null("hub_domain"))
        .col(text_null("hub_user"))
        .col(text_null("scopes"))
        .col(text("key_id"))
        .col(text("access_sealed"))
        .col(text("refresh_sealed"))
        .col(text("refresh_fingerprint"))
        .col(big_integer("obtained_at"))
        .col(big_integer("token_expires_at"))
        .col(big_integer("expires_at"))
        .col(text_null("connect_session_id"))
        .to_owned();
    manager.create_table(pending).await?;
    let claimed = Table::create()
        .table("claimed_install")
        .col(text("id").primary_key())
        .col(text("client_id"))
        .col(big_integer("portal_id"))
        .col(text("user_id"))
        .col(text("connection_id"))
        .col(big_integer("expires_at"))
        .to_owned();
    manager.create_table(claimed).await?;
    for (table, columns) in [
        ("pending_grant", &["client_id", "portal_id"][..]),
        ("pending_grant", &["refresh_fingerprint"]),
        ("pending_grant", &["expires_at"]),
        ("pending_grant", &["key_id"]),
        ("pending_grant", &["user_id"]),
        ("claimed_install", &["expires_at"]),
    ] {
        install::index(manager, table, columns).await?;
    }
    Ok(())
}
