//! Marketplace installs that have become connections, so that the same claim again is no error.

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
    /// Whose connection it has become.
    pub user_id: UserId,
    /// The connection that it has become, or has renewed.
    pub connection_id: ConnectionId,
    /// Until when it is remembered.
    pub expires_at: Timestamp,
}
