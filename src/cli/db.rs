//! `db migrate|status|rollback`: schema commands.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, configured, print_line, runtime};
use crate::domain::clock::Clock;
use crate::store::Database;

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
}

impl Db {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        let config = configured()?;
        runtime()?.block_on(async {
            let database = match self {
                Self::Migrate => Database::open_to_migrate(&config.database, Clock::system()).await?,
                Self::Status | Self::Rollback { .. } => {
                    Database::open_beside(&config.database, Clock::system()).await?
                }
            };
            match self {
                Self::Migrate => database.migrate().await?,
                Self::Rollback { yes_lose_data: false, .. } => {
                    return Err("a rollback drops tables with their data; add --yes-lose-data".into());
                }
                Self::Rollback { steps, .. } => database.rollback(*steps).await?,
                Self::Status => {}
            }
            let status = database.schema_status().await?;
            status.applied.iter().for_each(|name| print_line(format_args!("applied  {name}")));
            status.missing.iter().for_each(|name| print_line(format_args!("missing  {name}")));
            status
                .unknown
                .iter()
                .for_each(|name| print_line(format_args!("unknown  {name} (of a newer release)")));
            database.close().await;
            let complete = status.missing.is_empty() && status.unknown.is_empty();
            let expected = complete || !matches!(self, Self::Status);
            Ok(if expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        })
    }
}
