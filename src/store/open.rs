//! Opening the database, and bringing its schema to this release.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use migrations::{Migrator, MigratorTrait};
use rustix::fs::{Mode, OFlags};
use sea_orm::sqlx::Executor;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
};
use thiserror::Error;

use super::batch::Batch;
use super::gathered::Gathered;
use super::writer::{Writer, begin};
use super::{Store, StoreError, refreshed, starts};
use crate::config::Database as Settings;
use crate::crash;
use crate::domain::clock::Clock;

/// The number of the lock under which one replica changes the schema while the others wait.
const MIGRATION_LOCK: i64 = 0x6873_635f_6d69_6772;
const ACQUIRE: Duration = Duration::from_secs(3);

/// Pages that SQLite keeps in memory, in KiB with a minus sign before them; it takes them as it needs them. Refreshes
/// write all over the table, so the connection that writes needs more than SQLite's usual 2 MiB.
const WRITING_CACHE: &str = "-16384";
const READING_CACHE: &str = "-2048";

/// Why the database cannot be served from.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It cannot be reached, or is none.
    #[error("the database cannot be opened: {0}")]
    Unreachable(String),
    /// There is no file yet, and this command does not create it.
    #[error(
        "the database file is missing; run `hubspot-connect db migrate`, or start the service, to create it"
    )]
    Missing,
    /// The user lacks the privilege to create tables.
    #[error("the user of DATABASE_URL may not create tables; have the owner of the database run: {0}")]
    Grant(String),
    /// Another process serves from this file.
    #[error(
        "another process serves from this SQLite file; SQLite is for one process, use PostgreSQL for replicas"
    )]
    InUse,
    /// A newer release has changed the schema.
    #[error("the schema is newer than this release: it has {0}; upgrade hubspot-connect")]
    Newer(String),
    /// Changes are missing and may not be made by themselves.
    #[error("{0} schema change(s) are missing; run `hubspot-connect db migrate`")]
    Older(usize),
    /// A change failed.
    #[error("the schema cannot be changed: {0}")]
    Migration(String),
    /// A query failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far a schema is.
#[derive(Debug)]
pub struct SchemaStatus {
    /// Changes that were made, oldest first.
    pub applied: Vec<String>,
    /// Changes that this release brings and the database lacks.
    pub missing: Vec<String>,
    /// Changes that this release does not know.
    pub unknown: Vec<String>,
}

impl Store {
    /// Opens the database to serve from it: on SQLite this process has it for itself.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub async fn open(settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        let lock = settings.file.as_deref().map(lock).transpose()?;
        let store = Self::connect(settings, clock, lock).await?;
        let status = store.schema_status().await?;
        match (status.unknown.last(), status.missing.len()) {
            (Some(newer), _) => return Err(OpenError::Newer(newer.clone())),
            (None, 0) => {}
            (None, _) if settings.auto_migrate => store.migrate().await?,
            (None, missing) => return Err(OpenError::Older(missing)),
        }
        Ok(store)
    }

    /// Opens the database beside a process that serves from it, for the command line.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do; a missing file is not created.
    pub async fn open_beside(settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        must_exist(settings)?;
        Self::connect(settings, clock, None).await
    }

    /// Opens the database for the command that creates the tables. A missing file is created as well.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub async fn open_to_migrate(settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        Self::connect(settings, clock, None).await
    }

    /// Opens the database read-only, without creating or changing a file. Only SQLite's shared memory is written to, and
    /// only if there is a write-ahead log in use.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub async fn inspect(settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        let Some(file) = &settings.file else { return Self::connect(settings, clock, None).await };
        must_exist(settings)?;
        let immutable = !has_log(&followed(file));
        let mut options = sqlite(settings.url.expose(), 1);
        options.map_sqlx_sqlite_opts(move |options| {
            options.read_only(true).create_if_missing(false).immutable(immutable)
        });
        let db = connect(options).await?;
        Ok(Self::over(db.clone(), Writer::direct(db, clock), None))
    }

    async fn connect(settings: &Settings, clock: Clock, lock: Option<Arc<File>>) -> Result<Self, OpenError> {
        let url = settings.url.expose();
        let Some(file) = &settings.file else {
            let db = connect(postgres(url)).await?;
            return Ok(Self::over(db.clone(), Writer::direct(db, clock), None));
        };
        // SQLite gives what it makes beside a database the mode of the database.
        keep_private(file);
        let writing = connect(durable(sqlite(url, 1), WRITING_CACHE)).await?;
        let db = connect(durable(sqlite(url, 2), READING_CACHE)).await?;
        keep_private(file);
        Ok(Self::over(db, Writer::shared(writing, clock), lock))
    }

    fn over(db: DatabaseConnection, writer: Writer, lock: Option<Arc<File>>) -> Self {
        let starts = Batch::through(writer.clone(), starts::insert_all);
        let refreshed = Batch::through(writer.clone(), refreshed::store_all);
        let access = Gathered::from(db.clone());
        Self { db, access, starts, refreshed, writer, lock }
    }

    /// Makes the missing schema changes, one replica at a time: all of them, or none if it is interrupted.
    ///
    /// # Errors
    /// [`OpenError::Migration`] if one fails; none is made then.
    pub async fn migrate(&self) -> Result<(), OpenError> {
        if self.schema_status().await?.missing.is_empty() {
            return Ok(());
        }
        if let Some(grant) = self.missing_grant().await? {
            return Err(OpenError::Grant(grant));
        }
        let tx = self.begin_migration().await?;
        Migrator::up(&tx, None).await.map_err(unmade)?;
        crash::point("migrate.half_made");
        tx.commit().await.map_err(unmade)?;
        crash::point("migrate.made");
        Ok(())
    }

    /// Takes back the newest schema changes: all that are asked for, or none.
    ///
    /// # Errors
    /// [`OpenError::Migration`] if one fails; none is taken back then.
    pub async fn rollback(&self, steps: u32) -> Result<(), OpenError> {
        let tx = self.begin_migration().await?;
        Migrator::down(&tx, Some(steps)).await.map_err(unmade)?;
        tx.commit().await.map_err(unmade)
    }

    async fn begin_migration(&self) -> Result<DatabaseTransaction, OpenError> {
        let tx = begin(&self.db).await.map_err(unmade)?;
        if self.backend() == DbBackend::Postgres {
            // A replica may have to wait for another one's changes longer than any query may take.
            let patience = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0";
            tx.execute_unprepared(patience).await.map_err(unmade)?;
            let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
            tx.execute_unprepared(&lock).await.map_err(unmade)?;
        }
        Ok(tx)
    }

    /// How far the schema is.
    ///
    /// # Errors
    /// [`OpenError`] if the database fails.
    pub async fn schema_status(&self) -> Result<SchemaStatus, OpenError> {
        let known: Vec<String> =
            Migrator::migrations().iter().map(|change| change.name().to_owned()).collect();
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

    /// Returns the statement that lets our user create tables; `None` if the user may already. Since PostgreSQL 15 only the
    /// owner of a database may by default.
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

#[expect(clippy::needless_pass_by_value, reason = "errors are mapped by it")]
fn unmade(why: DbErr) -> OpenError {
    OpenError::Migration(why.to_string())
}

async fn connect(options: ConnectOptions) -> Result<DatabaseConnection, OpenError> {
    Database::connect(options).await.map_err(|why| OpenError::Unreachable(without_url(&why)))
}

/// sea-orm's connection errors repeat the URL, and the URL may carry a password.
fn without_url(why: &DbErr) -> String {
    match why {
        DbErr::Conn(sea_orm::RuntimeErr::SqlxError(why)) => why.to_string(),
        DbErr::ConnectionAcquire(_) => "no connection within 3 seconds".to_owned(),
        _ => "DATABASE_URL is not understood".to_owned(),
    }
}

/// Session limits, set after connecting: PgBouncer refuses them as start-up parameters.
const SESSION: &str = "SET statement_timeout = '5s'; SET lock_timeout = '3s'; \
                       SET idle_in_transaction_session_timeout = '10s'";

fn postgres(url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options.max_connections(10).acquire_timeout(ACQUIRE).connect_timeout(ACQUIRE).sqlx_logging(false);
    options.map_sqlx_postgres_opts(|options| {
        options.application_name("hubspot-connect").extra_float_digits(None)
    });
    options.map_sqlx_postgres_pool_opts(|pool| {
        pool.after_connect(|connection, _| {
            Box::pin(async move { connection.execute(SESSION).await.map(|_| ()) })
        })
    });
    options
}

fn sqlite(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .connect_timeout(ACQUIRE)
        .sqlx_logging(false);
    options.idle_timeout(None::<Duration>).max_lifetime(None::<Duration>);
    // A file does not hang up.
    options.test_before_acquire(false);
    options
}

fn durable(mut options: ConnectOptions, cache: &'static str) -> ConnectOptions {
    options.map_sqlx_sqlite_opts(move |options| {
        options
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .journal_mode(SqliteJournalMode::Wal)
            // Anything less may lose the last commits at a power cut, and a rotated refresh token with them.
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", cache)
            .pragma("secure_delete", "ON")
            .pragma("trusted_schema", "OFF")
            .pragma("temp_store", "MEMORY")
            .pragma("cell_size_check", "ON")
    });
    options
}

/// Reports a file that has not been created yet. A missing folder is another error, which SQLite reports itself.
fn must_exist(settings: &Settings) -> Result<(), OpenError> {
    let is_missing = settings.file.as_ref().is_some_and(|file| !file.exists());
    let has_folder = settings.folder().is_some_and(Path::is_dir);
    if is_missing && has_folder { Err(OpenError::Missing) } else { Ok(()) }
}

/// Returns the path of a file beside the database: its name with a suffix.
fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.to_owned();
    path.as_mut_os_string().push(suffix);
    path
}

/// Returns the path without symbolic links. SQLite follows them too, and keeps its other files beside the target.
fn followed(database: &Path) -> PathBuf {
    database.canonicalize().unwrap_or_else(|_| database.to_owned())
}

/// Returns whether there is a write-ahead log to read: one that is not empty, or one that a process has open. Without one,
/// SQLite would create an empty log beside the file to read it.
fn has_log(database: &Path) -> bool {
    let length = beside(database, "-wal").metadata().map(|log| log.len());
    // Every process that has the database open keeps the shared memory there as well.
    length.is_ok_and(|length| length > 0 || beside(database, "-shm").exists())
}

/// Takes the file for this process. The lock ends with the process, however it ends. A symbolic link in its place is not
/// followed: its target could be any file.
fn lock(database: &Path) -> Result<Arc<File>, OpenError> {
    let path = beside(&followed(database), ".lock");
    let unreachable = |why: std::io::Error| OpenError::Unreachable(format!("its lock file: {why}"));
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR);
    let file = File::from(opened.map_err(|why| unreachable(why.into()))?);
    match file.try_lock() {
        Ok(()) => Ok(Arc::new(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse),
        Err(TryLockError::Error(why)) => Err(unreachable(why)),
    }
}

/// The database and what SQLite keeps beside it are for their owner alone, whatever the umask said when they were made.
/// What the owner may not do stays so: a file that was made read-only is not to be written to.
fn keep_private(database: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(database) = database.canonicalize() else { return };
    for suffix in ["", ".lock", "-wal", "-shm"] {
        let path = beside(&database, suffix);
        let Ok(usual) = std::fs::symlink_metadata(&path) else { continue };
        if !usual.is_file() {
            continue;
        }
        let private = std::fs::Permissions::from_mode(usual.permissions().mode() & 0o700);
        if let Err(why) = std::fs::set_permissions(&path, private) {
            tracing::warn!(error = %why, path = %path.display(), "could not make the database private");
        }
    }
}
