//! What has happened, as it is told to the host's backend.

use sea_orm::entity::prelude::*;

use crate::domain::clock::Moment;
use crate::domain::event::EventType;
use crate::domain::id::ConnectionId;

/// Something that has happened, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event")]
pub struct Model {
    /// `evt_…`. Receivers see the same id in every attempt of a delivery.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// What.
    #[sea_orm(column_name = "type")]
    pub kind: EventType,
    /// To which connection; to none if it concerns the whole app.
    pub connection_id: Option<ConnectionId>,
    /// Counts the events of a connection from 1 on. A number may be missing for what is forgotten.
    pub sequence: Option<i64>,
    /// The message, as it is sent: `{"type","timestamp","data"}`.
    pub payload: String,
    /// When.
    pub created_at: Moment,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
