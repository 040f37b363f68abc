//! The rows that all sub-domains share: projects, keys, sessions, users.

pub(super) mod api_key;
pub(super) mod crypto_meta;
pub(super) mod external_user;
pub(super) mod idempotency;
pub(super) mod project;
pub(super) mod reseal;
pub(super) mod session;

use crate::store::db::Database;

/// Reads and writes the rows of projects, API keys, users, sessions, idempotent requests and encryption keys.
#[derive(Debug, Clone)]
pub struct PlatformStore {
    db: Database,
}

impl PlatformStore {
    pub(super) fn over(db: Database) -> Self {
        Self { db }
    }
}
