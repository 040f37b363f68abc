//! Events, webhook endpoints and deliveries.

pub(super) mod event;
pub(super) mod webhook_delivery;
pub(super) mod webhook_endpoint;

use crate::store::db::Database;

/// Reads and writes the rows of events, alarms, webhook endpoints and deliveries.
#[derive(Debug, Clone)]
pub struct WebhookStore {
    db: Database,
}

impl WebhookStore {
    pub(super) fn over(db: Database) -> Self {
        Self { db }
    }
}
