//! Where rows are kept.

use std::path::{Path, PathBuf};

use sea_orm::sqlx::sqlite::SqliteConnectOptions;

use super::reader::Reader;
use crate::domain::secret::Secret;

/// The database.
#[derive(Debug, Clone)]
pub struct Database {
    /// DATABASE_URL. A secret, because it may carry a password.
    pub url: Secret,
    /// DATABASE_AUTO_MIGRATE.
    pub auto_migrate: bool,
    /// The file, if this is SQLite.
    pub file: Option<PathBuf>,
}

impl Database {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let url = reader.secret("DATABASE_URL").unwrap_or_else(|| Secret::new(String::new()));
        let known = ["sqlite:", "postgres://", "postgresql://"];
        if !known.iter().any(|scheme| url.expose().starts_with(scheme)) {
            reader.problem("DATABASE_URL", "must begin with sqlite: or postgres://");
        }
        let file = if url.expose().starts_with("sqlite:") { sqlite_file(reader, url.expose()) } else { None };
        Self { url, auto_migrate: reader.switch("DATABASE_AUTO_MIGRATE"), file }
    }

    /// Returns whether a missing file is created.
    pub fn creates_file(&self) -> bool {
        self.url.expose().contains("mode=rwc")
    }

    /// Returns the folder of the file, if this is SQLite.
    pub fn folder(&self) -> Option<&Path> {
        let folder = self.file.as_ref()?.parent().filter(|folder| *folder != Path::new(""));
        Some(folder.unwrap_or(Path::new(".")))
    }

    /// Whether this is SQLite.
    pub fn is_sqlite(&self) -> bool {
        self.file.is_some()
    }
}

/// Returns the file of an SQLite URL. The driver's own parser decides, because it decodes percent-encoding: the lock file
/// and the write-ahead log must be looked for where the driver puts the database.
fn sqlite_file(reader: &mut Reader<'_>, url: &str) -> Option<PathBuf> {
    let Ok(options) = url.parse::<SqliteConnectOptions>() else {
        reader.problem(
            "DATABASE_URL",
            "must be an SQLite URL such as sqlite:///data/hubspot-connect.db?mode=rwc",
        );
        return None;
    };
    let file = options.get_filename();
    // SQLite itself reads a name that begins with `file:` as another URL.
    let is_other = file == Path::new("")
        || file == Path::new(":memory:")
        || file.as_os_str().as_encoded_bytes().starts_with(b"file:");
    if is_other || url.contains("mode=memory") {
        reader.problem(
            "DATABASE_URL",
            "must name a file by its path; what is in memory does not survive a restart",
        );
        return None;
    }
    Some(file.to_owned())
}
