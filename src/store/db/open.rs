//! Opens the database.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use sea_orm::sqlx::Executor;
use sea_orm::{ConnectOptions, DbErr};
use thiserror::Error;

use super::sqlite::{self, Access, Connections};
use super::writer::Writer;
use super::{Database, Reader, StoreError};
use crate::config::{Database as Settings, FileMode};
use crate::domain::clock::Clock;

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// The number of connections for reading SQLite. A statement takes microseconds and rarely blocks another one.
const SQLITE_READERS: usize = 4;

/// The reason the database cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The database cannot be reached, or the file is not a database.
    #[error("the database cannot be opened: {0}")]
    Unreachable(String),
    /// The file does not exist yet, and this command does not create it.
    #[error(
        "the database file is missing; run `hubspot-connect db migrate`, or start the service, to create it"
    )]
    Missing,
    /// The user lacks the privilege to create tables.
    #[error("the user of DATABASE_URL may not create tables; have the owner of the database run: {0}")]
    Grant(String),
    /// Another process serves from this file.
    #[error("another process serves from this SQLite file; stop it, or use PostgreSQL for replicas")]
    InUse,
    /// A newer release has changed the schema.
    #[error("the schema is newer than this release: it has {0}; upgrade hubspot-connect")]
    Newer(String),
    /// Changes are missing and may not be applied automatically.
    #[error("{0} schema change(s) are missing; run `hubspot-connect db migrate`")]
    Older(usize),
    /// A change failed.
    #[error("the schema cannot be changed: {0}")]
    Migration(String),
    /// A query failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Database {
    /// Opens the database to serve from it. On SQLite, this process then has exclusive use.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub async fn open(settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        let lock = settings.file.as_deref().map(lock).transpose()?;
        let database = Self::connect(settings, clock, lock).await?;
        let status = database.schema_status().await?;
        match (status.unknown.last(), status.missing.len()) {
            (Some(newer), _) => return Err(OpenError::Newer(newer.clone())),
            (None, 0) => {}
            (None, _) if settings.auto_migrate => database.migrate().await?,
            (None, missing) => return Err(OpenError::Older(missing)),
        }
        Ok(database)
    }

    /// Opens the database for the command line, while another process may serve from it.
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

    /// Opens the database read-only, without creating or changing a file. Only SQLite's shared memory is written to,
    /// and only if there is a write-ahead log in use.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub async fn inspect(settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        let Some(file) = &settings.file else { return Self::connect(settings, clock, None).await };
        must_exist(settings)?;
        Self::inspect_file(file, clock)
    }

    /// Opens an SQLite file read-only, in the same way.
    pub(super) fn inspect_file(file: &Path, clock: Clock) -> Result<Self, OpenError> {
        let access = Access::Inspect { immutable: !has_log(&followed(file)) };
        let file = file.to_owned();
        let open = move || sqlite::open(&file, access, FileMode::Read);
        let (reading, writing) =
            (open().map_err(|why| unreachable(&why))?, open().map_err(|why| unreachable(&why))?);
        let writer =
            Writer::sqlite(writing, Box::new(open), clock.clone()).map_err(|why| unreachable(&why))?;
        let reader = Reader::Sqlite(Arc::new(Connections::of([reading])));
        Ok(Self { reader, writer, clock, file: None, lock: None })
    }

    async fn connect(settings: &Settings, clock: Clock, lock: Option<Arc<File>>) -> Result<Self, OpenError> {
        let Some(file) = &settings.file else {
            let options = postgres(settings.url.expose());
            let db = sea_orm::Database::connect(options).await.map_err(|why| unreachable(&why))?;
            let writer = Writer::Postgres(db.clone(), clock.clone());
            return Ok(Self { reader: Reader::Postgres(db), writer, clock, file: None, lock });
        };
        // SQLite gives the files that it creates beside a database the permissions of the database.
        keep_private(file);
        let writing = sqlite::open(file, Access::Write, settings.mode).map_err(|why| unreachable(&why))?;
        // A file that was deleted later is not created again: the readers would still see the old one.
        let mode = if settings.mode == FileMode::Create { FileMode::Write } else { settings.mode };
        let at = file.clone();
        let again = Box::new(move || sqlite::open(&at, Access::Write, mode));
        let writer = Writer::sqlite(writing, again, clock.clone()).map_err(|why| unreachable(&why))?;
        let readers = (0..SQLITE_READERS).map(|_| sqlite::open(file, Access::Read, settings.mode));
        let readers = readers.collect::<Result<Vec<_>, _>>().map_err(|why| unreachable(&why))?;
        keep_private(file);
        let reader = Reader::Sqlite(Arc::new(Connections::of(readers)));
        let writable = (settings.mode != FileMode::Read).then(|| file.clone());
        Ok(Self { reader, writer, clock, file: writable, lock })
    }
}

/// Builds the error without sea-orm's own text, which repeats the URL; the URL may contain a password.
fn unreachable(why: &DbErr) -> OpenError {
    OpenError::Unreachable(match why {
        DbErr::Conn(sea_orm::RuntimeErr::SqlxError(why)) => why.to_string(),
        DbErr::Conn(sea_orm::RuntimeErr::Internal(why)) => why.clone(),
        DbErr::ConnectionAcquire(_) => "no connection within 3 seconds".to_owned(),
        _ => "DATABASE_URL is not understood".to_owned(),
    })
}

/// Session limits, set after connecting: PgBouncer rejects them as startup parameters.
const SESSION_SETTINGS: &str = "SET statement_timeout = '5s'; SET lock_timeout = '3s'; \
                       SET idle_in_transaction_session_timeout = '10s'";

fn postgres(url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(10)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_timeout(ACQUIRE_TIMEOUT)
        .sqlx_logging(false);
    options.map_sqlx_postgres_opts(|options| {
        options.application_name("hubspot-connect").extra_float_digits(None)
    });
    options.map_sqlx_postgres_pool_opts(|pool| {
        pool.after_connect(|connection, _| {
            Box::pin(async move { connection.execute(SESSION_SETTINGS).await.map(|_| ()) })
        })
    });
    options
}

/// Fails if the file has not been created yet. SQLite itself reports a missing folder.
fn must_exist(settings: &Settings) -> Result<(), OpenError> {
    let is_missing = settings.file.as_ref().is_some_and(|file| !file.exists());
    let has_folder = settings.folder().is_some_and(Path::is_dir);
    if is_missing && has_folder { Err(OpenError::Missing) } else { Ok(()) }
}

/// Returns the path of a file beside the database: its name with a suffix.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.to_owned();
    path.as_mut_os_string().push(suffix);
    path
}

/// Returns the path with symbolic links resolved. SQLite follows them too, and keeps its other files beside the target.
pub(super) fn followed(database: &Path) -> PathBuf {
    database.canonicalize().unwrap_or_else(|_| database.to_owned())
}

/// Returns whether there is a write-ahead log to read: one that is not empty, or one that a process has open. If there
/// is none, SQLite would create an empty log beside the file to read it.
fn has_log(database: &Path) -> bool {
    let length = beside(database, "-wal").metadata().map(|log| log.len());
    // Every process that has the database open also keeps the shared memory there.
    length.is_ok_and(|length| length > 0 || beside(database, "-shm").exists())
}

/// Locks the file for this process. The lock ends with the process, however it ends. A symbolic link in place of the
/// lock file is not followed: its target could be any file.
pub(super) fn lock(database: &Path) -> Result<Arc<File>, OpenError> {
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

/// Restricts the database and SQLite's files beside it to their owner, whatever the umask was when they were created.
/// The owner's own permissions stay: a file that was made read-only must not become writable.
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
            tracing::warn!(error = %why, path = %path.display(), "failed to restrict the permissions of the database file");
        }
    }
}
