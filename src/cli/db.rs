//! `db migrate|status|rollback|backup|check|restore`: commands for the schema and for backups.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, configured, doctor, print_error, print_line, runtime};
use crate::config::Config;
use crate::domain::clock::Clock;
use crate::store::{Database, IntegrityCheck, SchemaStatus, Store};

/// The exit code of a command that does not apply to this kind of database.
const USAGE: u8 = 2;

#[derive(Debug, Subcommand)]
pub(super) enum Db {
    /// Apply the missing schema changes. It is safe to repeat, and to run beside a serving process.
    Migrate,
    /// List applied and missing schema changes. The exit code is 1 if the schema is not that of this release.
    Status,
    /// Roll back the newest schema changes. Their data is lost.
    Rollback {
        /// The number of schema changes.
        #[arg(long, default_value_t = 1)]
        steps: u32,
        /// Confirm that the data in them may be lost.
        #[arg(long)]
        yes_lose_data: bool,
    },
    /// Copy the SQLite database to a new file, also beside a running service, and check the copy.
    Backup {
        /// The new file. An existing file is not overwritten.
        file: PathBuf,
    },
    /// Check the database for damage, its schema, and that every stored token has its key. Nothing is changed.
    Check {
        /// Do not compare indexes with their tables. This is what `doctor` does.
        #[arg(long)]
        quick: bool,
    },
    /// Replace the SQLite database by a backup, which is checked before. Stop the service first.
    ///
    /// The replaced database is kept beside it, as `….before-restore`.
    Restore {
        /// The backup. It stays.
        file: PathBuf,
    },
}

impl Db {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        let config = configured()?;
        runtime()?.block_on(async {
            match self {
                Self::Migrate => {
                    let database = Database::open_to_migrate(&config.database, Clock::system()).await?;
                    database.migrate().await?;
                    show(database).await.map(|_| ExitCode::SUCCESS)
                }
                Self::Status => {
                    let schema = show(beside(&config).await?).await?;
                    let is_complete = schema.missing.is_empty() && schema.unknown.is_empty();
                    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
                }
                Self::Rollback { yes_lose_data: false, .. } => {
                    Err("a rollback drops tables with their data; add --yes-lose-data".into())
                }
                Self::Rollback { steps, .. } => {
                    let database = beside(&config).await?;
                    database.rollback(*steps).await?;
                    show(database).await.map(|_| ExitCode::SUCCESS)
                }
                Self::Backup { file } => back_up(&config, file).await,
                Self::Check { quick: true } => check(&config, IntegrityCheck::Quick).await,
                Self::Check { quick: false } => check(&config, IntegrityCheck::Full).await,
                Self::Restore { file } => restore(&config, file).await,
            }
        })
    }
}

async fn beside(config: &Config) -> Result<Database, Failure> {
    Ok(Database::open_beside(&config.database, Clock::system()).await?)
}

/// Prints the schema changes and closes the database.
async fn show(database: Database) -> Result<SchemaStatus, Failure> {
    let schema = database.schema_status().await?;
    schema.applied.iter().for_each(|name| print_line(format_args!("applied  {name}")));
    schema.missing.iter().for_each(|name| print_line(format_args!("missing  {name}")));
    schema.unknown.iter().for_each(|name| print_line(format_args!("unknown  {name} (of a newer release)")));
    database.close().await;
    Ok(schema)
}

async fn back_up(config: &Config, file: &Path) -> Result<ExitCode, Failure> {
    if !config.database.is_sqlite() {
        print_error("DATABASE_URL is PostgreSQL: use `pg_dump` for backups");
        return Ok(ExitCode::from(USAGE));
    }
    let database = beside(config).await?;
    let done = database.back_up(file).await;
    database.close().await;
    done?;
    print_line(format_args!("backed up to {}; the copy is intact", file.display()));
    Ok(ExitCode::SUCCESS)
}

async fn check(config: &Config, check: IntegrityCheck) -> Result<ExitCode, Failure> {
    let store = Store::over(Database::inspect(&config.database, Clock::system()).await?);
    let found = doctor::stored(config, &store, check).await;
    store.database().close().await;
    print_line(found?);
    Ok(ExitCode::SUCCESS)
}

async fn restore(config: &Config, backup: &Path) -> Result<ExitCode, Failure> {
    let Some(file) = &config.database.file else {
        print_error("DATABASE_URL is PostgreSQL: use `pg_restore`");
        return Ok(ExitCode::from(USAGE));
    };
    let kept = Database::restore(file, backup, Clock::system()).await?;
    print_line(format_args!("restored {} to {}", backup.display(), file.display()));
    if let Some(kept) = kept {
        print_line(format_args!("the replaced database is {}", kept.display()));
    }
    Ok(ExitCode::SUCCESS)
}
