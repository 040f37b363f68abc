//! The next refresh of each connection, and the lease on it.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Timestamp;
use crate::domain::id::ConnectionId;
use crate::domain::refresh_job::TokenRefreshJob;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "token_refresh_job")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub connection_id: ConnectionId,
    pub run_at: Timestamp,
    /// Failed attempts since the last success.
    pub attempts: i64,
    /// The number of consecutive `invalid_grant` responses.
    pub strikes: i64,
    /// The holder of the lease.
    pub lease_owner: Option<String>,
    pub lease_until: Option<Timestamp>,
    /// Incremented with every lease and every new pair of tokens.
    pub fence: i64,
    /// The time since which the holder of the lease has been calling HubSpot.
    pub intent_at: Option<Timestamp>,
    /// 1 if an earlier holder of the lease disappeared during its call, else 0.
    pub interrupted: i64,
    /// The time at which the app was uninstalled, if HubSpot has announced it.
    pub announced_at: Option<Timestamp>,
}

impl From<Model> for TokenRefreshJob {
    fn from(row: Model) -> Self {
        Self {
            connection_id: row.connection_id,
            fence: row.fence,
            attempts: row.attempts,
            invalid_grant_count: row.strikes,
            was_interrupted: row.interrupted != 0,
            announced_at: row.announced_at,
        }
    }
}
