//! The databases of measurements: created, filled and read from outside, beside the service that serves from them.

mod postgres;
mod sqlite;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Failure;
use crate::refresh::rows::Connection;
use crate::servers::{HubSpot, Service};

use postgres::Postgres;
use sqlite::Sqlite;

/// The number of measurements.
const ACQUIRES: usize = 51;

/// The cost of acquiring jobs when none is due.
pub struct AcquireCost {
    /// The median.
    pub time: Duration,
    /// The query plan.
    pub plan: Vec<String>,
}

/// A place where databases are created.
pub enum Engine {
    /// SQLite, in this folder.
    Sqlite(PathBuf),
    /// On the server with this URL.
    Postgres(String),
}

/// Returns SQLite in this folder, and PostgreSQL if a server is named.
pub fn engines(folder: &Path) -> Vec<Engine> {
    // In the environment, because other users may read the arguments of a process, and the URL contains a password.
    let server = std::env::var("TEST_POSTGRES_URL").ok().filter(|url| !url.is_empty());
    std::iter::once(Engine::Sqlite(folder.to_owned())).chain(server.map(Engine::Postgres)).collect()
}

impl Engine {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    /// Creates an empty database.
    pub async fn create(&self, name: &str) -> Result<Database, Failure> {
        Ok(match self {
            Self::Sqlite(folder) => Database::Sqlite(Sqlite::create(folder, name)?),
            Self::Postgres(url) => Database::Postgres(Postgres::create(url, name).await?),
        })
    }

    /// Creates a database with the service's schema and these connections.
    pub async fn create_with(
        &self,
        name: &str,
        hubspot: &HubSpot,
        rows: impl Iterator<Item = Connection>,
    ) -> Result<Database, Failure> {
        let mut database = self.create(name).await?;
        let mut migrate = Service::command(hubspot, &database.url(), 1)?;
        let done = migrate.args(["db", "migrate"]).output()?;
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into());
        }
        match &mut database {
            Database::Sqlite(sqlite) => sqlite.fill(rows)?,
            Database::Postgres(postgres) => postgres.fill(rows).await?,
        }
        Ok(database)
    }
}

/// A database; its files are removed with it.
pub enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Database {
    /// Returns the URL for the service.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(sqlite) => format!("sqlite://{}?mode=rwc", sqlite.path()),
            Self::Postgres(postgres) => postgres.url().to_owned(),
        }
    }

    /// Returns the address for the bare loop.
    pub fn place(&self) -> String {
        match self {
            Self::Sqlite(sqlite) => sqlite.path(),
            Self::Postgres(postgres) => postgres.url().to_owned(),
        }
    }

    /// Creates the one table of the bare loop.
    pub async fn fill_floor(&mut self, tokens: &[String]) -> Result<(), Failure> {
        match self {
            Self::Sqlite(sqlite) => sqlite.fill_floor(tokens),
            Self::Postgres(postgres) => postgres.fill_floor(tokens).await,
        }
    }

    /// Returns the number of connections with refreshed tokens.
    pub async fn refreshed(&mut self) -> Result<usize, Failure> {
        const REFRESHED: &str = "SELECT count(*) FROM token WHERE generation > 0";
        self.number(REFRESHED).await.map(|count| usize::try_from(count).unwrap_or(0))
    }

    /// Returns whether a job is due at that time, leased or not.
    pub async fn has_due(&mut self, now: i64) -> Result<bool, Failure> {
        Ok(self.number("SELECT COALESCE(min(run_at), 9223372036854775807) FROM token_refresh_job").await?
            <= now)
    }

    async fn number(&mut self, sql: &'static str) -> Result<i64, Failure> {
        match self {
            Self::Sqlite(sqlite) => sqlite.number(sql),
            Self::Postgres(postgres) => postgres.number(sql).await,
        }
    }

    /// Measures the search for due jobs when there are none.
    pub async fn acquire(&mut self, now: i64) -> Result<AcquireCost, Failure> {
        match self {
            Self::Sqlite(sqlite) => sqlite.acquire(now),
            Self::Postgres(postgres) => postgres.acquire(now).await,
        }
    }

    pub async fn remove(self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(sqlite) => sqlite.remove(),
            Self::Postgres(postgres) => postgres.remove().await,
        }
    }
}

fn median(mut spans: Vec<Duration>) -> Duration {
    spans.sort_unstable();
    spans[spans.len() / 2]
}
