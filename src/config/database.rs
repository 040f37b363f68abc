//! The database.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use super::reader::Reader;
use crate::domain::secret::Secret;

/// The database settings.
#[derive(Debug, Clone)]
pub struct Database {
    /// DATABASE_URL. A secret, because it may carry a password.
    pub url: Secret,
    /// DATABASE_AUTO_MIGRATE.
    pub auto_migrate: bool,
    /// The file; `None` for PostgreSQL.
    pub file: Option<PathBuf>,
    /// The access mode of the file.
    pub mode: FileMode,
}

/// The access mode of a SQLite file, from the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    /// `mode=ro`: read only.
    Read,
    /// `mode=rw`, or no mode: read and write.
    Write,
    /// `mode=rwc`: read and write, and create the file if it is missing.
    Create,
}

impl Database {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let url = reader.secret("DATABASE_URL").unwrap_or_else(|| Secret::new(String::new()));
        let known = ["sqlite:", "postgres://", "postgresql://"];
        if !known.iter().any(|scheme| url.expose().starts_with(scheme)) {
            reader.problem("DATABASE_URL", "must begin with sqlite: or postgres://");
        }
        let (file, mode) = sqlite_file(reader, url.expose()).unzip();
        let mode = mode.unwrap_or(FileMode::Write);
        Self { url, auto_migrate: reader.switch("DATABASE_AUTO_MIGRATE"), file, mode }
    }

    /// Returns the folder of the file; `None` for PostgreSQL.
    pub fn folder(&self) -> Option<&Path> {
        let folder = self.file.as_ref()?.parent().filter(|folder| *folder != Path::new(""));
        Some(folder.unwrap_or(Path::new(".")))
    }

    /// Returns whether this is SQLite.
    pub fn is_sqlite(&self) -> bool {
        self.file.is_some()
    }
}

/// Parses the URL of an SQLite file: `sqlite:` or `sqlite://`, the path, percent-encoded where necessary, and a mode.
fn sqlite_file(reader: &mut Reader<'_>, url: &str) -> Option<(PathBuf, FileMode)> {
    let rest = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"))?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut mode = FileMode::Write;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("mode", "ro") => mode = FileMode::Read,
            ("mode", "rw") => mode = FileMode::Write,
            ("mode", "rwc") => mode = FileMode::Create,
            ("mode", "memory") => return in_memory(reader),
            _ => {
                reader.problem("DATABASE_URL", "must have no parameter but mode=ro, mode=rw or mode=rwc");
                return None;
            }
        }
    }
    let Ok(path) = percent_decode_str(path).decode_utf8() else {
        reader.problem("DATABASE_URL", "must have a path in UTF-8");
        return None;
    };
    // SQLite itself interprets a name that begins with `file:` as another URL.
    if path.is_empty() || path == ":memory:" || path.starts_with("file:") {
        return in_memory(reader);
    }
    Some((PathBuf::from(&*path), mode))
}

fn in_memory<T>(reader: &mut Reader<'_>) -> Option<T> {
    let why = "must name a file by its path; an in-memory database does not survive a restart";
    reader.problem("DATABASE_URL", why);
    None
}
