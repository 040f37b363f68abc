//! Where rows are kept.

use super::reader::Reader;
use crate::domain::secret::Secret;

/// The database.
#[derive(Debug, Clone)]
pub struct Database {
    /// DATABASE_URL. A secret, because it may carry a password.
    pub url: Secret,
    /// DATABASE_AUTO_MIGRATE.
    pub auto_migrate: bool,
}

impl Database {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let url = reader.secret("DATABASE_URL").unwrap_or_else(|| Secret::new(String::new()));
        let known = ["sqlite:", "postgres://", "postgresql://"];
        if !known.iter().any(|scheme| url.expose().starts_with(scheme)) {
            reader.problem("DATABASE_URL", "must begin with sqlite: or postgres://");
        }
        if url.expose().starts_with("sqlite:")
            && (url.expose().contains(":memory:") || url.expose().contains("mode=memory"))
        {
            reader.problem("DATABASE_URL", "must name a file: what is in memory does not survive a restart");
        }
        let auto_migrate = reader.choice("DATABASE_AUTO_MIGRATE", &[("true", true), ("false", false)]);
        Self { url, auto_migrate }
    }

    /// Whether this is SQLite.
    pub fn is_sqlite(&self) -> bool {
        self.url.expose().starts_with("sqlite:")
    }
}
