//! Connections and their jobs.

pub(super) mod access_row;
pub(super) mod claim;
pub(super) mod degraded;
pub(super) mod gathered;
pub(super) mod listing;
pub(super) mod reconcile;
pub(super) mod refresh_job;
pub(super) mod refreshed;
pub(super) mod revocation;
pub(super) mod token;
