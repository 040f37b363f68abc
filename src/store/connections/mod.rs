//! Connections and their jobs.

pub(super) mod access_row;
pub(super) mod connection_query;
pub(super) mod degraded;
pub(super) mod gathered;
pub(super) mod reconcile;
pub(super) mod refresh_job;
pub(super) mod refresh_lease;
pub(super) mod refreshed;
pub(super) mod revocation;
pub(super) mod token;

use crate::store::db::{Batch, Database};
use gathered::Gathered;
use refreshed::Committed;

/// Reads and writes the rows of connections, with their refresh jobs and revocation jobs.
#[derive(Debug, Clone)]
pub struct ConnectionStore {
    db: Database,
    /// Reads of access tokens, where each has a long way to go.
    access: Option<Gathered>,
    /// Refreshed tokens.
    refreshed: Batch<Committed, bool>,
}

impl ConnectionStore {
    pub(super) fn over(db: Database) -> Self {
        Self {
            access: (!db.is_exclusive()).then(|| Gathered::from(db.clone())),
            refreshed: Batch::through(db.writer(), refreshed::store_all),
            db,
        }
    }
}
