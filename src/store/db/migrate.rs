//! Upgrades the schema to this release, or reverts changes.

use migrations::SchemaManager;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, TransactionTrait};

use super::sqlite::{self, Access};
use super::{Database, OpenError, Reader, StoreError};
use crate::config::FileMode;
use crate::crash;

/// The number of the advisory lock under which one replica changes the schema while the others wait.
const MIGRATION_LOCK: i64 = 0x6873_635f_6d69_6772;

/// The state of a schema.
#[derive(Debug)]
pub struct SchemaStatus {
    /// Applied changes, the oldest first.
    pub applied: Vec<String>,
    /// Changes of this release that the database lacks.
    pub missing: Vec<String>,
    /// Changes that this release does not know.
    pub unknown: Vec<String>,
}

impl Database {
    /// Applies the missing schema changes, one replica at a time: all of them, or none if it is interrupted.
    ///
    /// # Errors
    /// [`OpenError::Migration`] if a change fails; then none is applied.
    pub async fn migrate(&self) -> Result<(), OpenError> {
        let status = self.schema_status().await?;
        if let Some(newer) = status.unknown.last() {
            return Err(OpenError::Newer(newer.clone()));
        }
        if status.missing.is_empty() {
            return Ok(());
        }
        if let Some(grant) = self.missing_grant().await? {
            return Err(OpenError::Grant(grant));
        }
        self.migrate_by(async |changes| {
            migrations::up(changes, self.clock.now().unix_ms() / 1000).await?;
            crash::point("migrate.half_made");
            Ok(())
        })
        .await
        .map_err(|why| OpenError::Migration(why.to_string()))?;
        tracing::info!(changes = status.missing.join(", "), "schema migrated");
        crash::point("migrate.made");
        Ok(())
    }

    /// Reverts the newest schema changes: as many as requested, or none.
    ///
    /// # Errors
    /// [`OpenError::Migration`] if a change fails; then none is reverted.
    pub async fn rollback(&self, steps: u32) -> Result<(), OpenError> {
        let reverted = self.migrate_by(async |changes| migrations::down(changes, steps).await).await;
        reverted.map_err(|why| OpenError::Migration(why.to_string()))
    }

    /// Changes the schema in one transaction.
    async fn migrate_by(
        &self,
        work: impl AsyncFnOnce(&SchemaManager<'_>) -> Result<(), DbErr>,
    ) -> Result<(), DbErr> {
        match (&self.reader, &self.file) {
            (Reader::Postgres(db), _) => {
                let tx = db.begin().await?;
                // The wait for another replica's changes may exceed the limits of a query.
                tx.execute_unprepared("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0").await?;
                tx.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")).await?;
                work(&SchemaManager::new(&tx)).await?;
                tx.commit().await
            }
            (Reader::Sqlite(_), Some(file)) => {
                // Closed on a failure, which rolls the transaction back.
                let db = sqlite::as_proxy(sqlite::open(file, Access::Write, FileMode::Write)?);
                db.execute_unprepared("BEGIN IMMEDIATE").await?;
                work(&SchemaManager::new(&db)).await?;
                db.execute_unprepared("COMMIT").await.map(|_| ())
            }
            (Reader::Sqlite(_), None) => {
                Err(DbErr::Custom("the database is open for reading only".to_owned()))
            }
        }
    }

    /// Returns the state of the schema.
    ///
    /// # Errors
    /// [`OpenError`] if the database fails.
    pub async fn schema_status(&self) -> Result<SchemaStatus, OpenError> {
        let known: Vec<String> = migrations::all().iter().map(|change| change.name().to_owned()).collect();
        let applied: Vec<String> = match self.has_migrations_table().await? {
            true => {
                let rows = self.all("SELECT version FROM seaql_migrations ORDER BY version", []).await?;
                rows.iter().map(|row| row.get("version")).collect::<Result<_, _>>()?
            }
            false => Vec::new(),
        };
        let missing = known.iter().filter(|name| !applied.contains(name)).cloned().collect();
        let unknown = applied.iter().filter(|name| !known.contains(name)).cloned().collect();
        Ok(SchemaStatus { applied, missing, unknown })
    }

    /// Returns the statement that permits our user to create tables; `None` if the user may already. Since PostgreSQL
    /// 15, only the owner of a database may by default.
    pub async fn missing_grant(&self) -> Result<Option<String>, StoreError> {
        if self.backend() != DbBackend::Postgres {
            return Ok(None);
        }
        let sql = "SELECT format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', schema, current_user) AS wanted \
                   FROM (SELECT COALESCE(current_schema(), 'public') AS schema) AS here \
                   WHERE NOT has_schema_privilege(schema, 'CREATE')";
        self.one(sql, []).await?.map(|row| row.get("wanted")).transpose()
    }

    async fn has_migrations_table(&self) -> Result<bool, StoreError> {
        let sql = match self.backend() {
            DbBackend::Postgres => "SELECT 1 AS found WHERE to_regclass('seaql_migrations') IS NOT NULL",
            _ => "SELECT 1 AS found FROM sqlite_master WHERE name = 'seaql_migrations'",
        };
        Ok(self.one(sql, []).await?.is_some())
    }
}
