//! The authorization flow: requests, connect sessions and pending grants.

pub(super) mod auth_request;
pub(super) mod auth_request_batch;
pub(super) mod connect_session;
pub(super) mod pending_grant;
pub(super) mod save;

use crate::store::db::{Batch, Database};
use auth_request::NewAuthRequest;

/// Reads and writes the rows of flows: auth requests, connect sessions and pending grants.
#[derive(Debug, Clone)]
pub struct ConnectStore {
    db: Database,
    /// The batch for new AuthRequests.
    inserts: Batch<NewAuthRequest, bool>,
}

impl ConnectStore {
    pub(super) fn over(db: Database) -> Self {
        Self { inserts: Batch::through(db.writer(), auth_request_batch::insert_all), db }
    }
}
