//! Events, as webhooks report them.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Timestamp;
use crate::domain::event::EventType;
use crate::domain::id::ConnectionId;
use crate::domain::project::ProjectId;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "event")]
pub struct Model {
    /// `evt_…`. Receivers see the same id in every attempt of a delivery.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Its type.
    #[sea_orm(column_name = "type")]
    pub kind: EventType,
    /// The connection; `None` for an event without one.
    pub connection_id: Option<ConnectionId>,
    /// The number of the event among those of its connection, from 1 on. Numbers of deleted events are missing.
    pub sequence: Option<i64>,
    /// The message, as it is sent: `{"type","timestamp","data"}`.
    pub payload: String,
    /// The time of the event.
    pub created_at: Timestamp,
    /// The project whose endpoints receive it; `None` if it concerns the whole app.
    pub project_id: Option<ProjectId>,
}
