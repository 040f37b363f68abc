//! Marketplace installs and the Webhooks Journal.

pub(super) mod install;
pub(super) mod journal;

use crate::store::db::Database;

/// Reads and writes the rows of installs and of the Webhooks Journal.
#[derive(Debug, Clone)]
pub struct MarketplaceStore {
    db: Database,
}

impl MarketplaceStore {
    pub(super) fn over(db: Database) -> Self {
        Self { db }
    }
}
