//! When connections are refreshed next, and who is at it.

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
    /// How often in a row HubSpot has said that the grant is no more.
    pub strikes: i64,
    /// Who holds the lease.
    pub lease_owner: Option<String>,
    pub lease_until: Option<Timestamp>,
    /// Rises with every claim and every new pair of tokens.
    pub fence: i64,
    /// Since when the holder of the lease asks HubSpot.
    pub intent_at: Option<Timestamp>,
    /// 1 if an earlier holder of the lease vanished in the middle of its call, else 0.
    pub interrupted: i64,
    /// When the app was uninstalled, if HubSpot says so.
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
