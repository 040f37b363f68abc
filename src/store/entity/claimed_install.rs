//! Marketplace installs that have become connections, so that a repeated claim succeeds.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Timestamp;
use crate::domain::id::{ConnectionId, InstallId, PortalId, UserId};

/// A claimed install.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "claimed_install")]
pub struct Model {
    /// The install.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: InstallId,
    /// The HubSpot app.
    pub client_id: String,
    /// The HubSpot account.
    pub portal_id: PortalId,
    /// The owner of the connection.
    pub user_id: UserId,
    /// The connection that was created or reconnected.
    pub connection_id: ConnectionId,
    /// The time until which the row is kept.
    pub expires_at: Timestamp,
}
