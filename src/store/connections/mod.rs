//! Connections and their jobs.

pub(super) mod access_row;
pub(super) mod connection_query;
pub(super) mod degraded_connections;
pub(super) mod read_batcher;
pub(super) mod reconcile;
pub(super) mod refresh_commit;
pub(super) mod refresh_job;
pub(super) mod refresh_lease;
pub(super) mod revocation;
pub(super) mod token;

use crate::store::db::{Batch, Database};
use read_batcher::ReadBatcher;
use refresh_commit::RefreshedTokens;

/// Reads and writes the rows of connections, with their refresh jobs and revocation jobs.
#[derive(Debug, Clone)]
pub struct ConnectionStore {
    db: Database,
    /// Combines reads of access tokens; only for a database behind a network.
    access: Option<ReadBatcher>,
    /// The batch for refreshed tokens.
    refresh_commits: Batch<RefreshedTokens, bool>,
}

impl ConnectionStore {
    pub(super) fn over(db: Database) -> Self {
        Self {
            access: (!db.is_exclusive()).then(|| ReadBatcher::from(db.clone())),
            refresh_commits: Batch::through(db.writer(), refresh_commit::store_all),
            db,
        }
    }
}
