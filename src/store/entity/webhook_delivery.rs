//! Deliveries of events to endpoints.

use sea_orm::entity::prelude::*;

use super::event;
use crate::domain::clock::Timestamp;
use crate::domain::event::EventType;
use crate::domain::id::{ConnectionId, WebhookId};
use crate::domain::webhook::DeliveryStatus;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "webhook_delivery")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub endpoint_id: WebhookId,
    pub connection_id: Option<ConnectionId>,
    pub sequence: Option<i64>,
    pub status: DeliveryStatus,
    pub attempts: i64,
    pub queued_at: Timestamp,
    pub run_at: Timestamp,
    pub lease_owner: Option<String>,
    pub lease_until: Option<Timestamp>,
    pub fence: i64,
    pub last_status: Option<i64>,
    pub last_error: Option<String>,
    pub last_attempt_at: Option<Timestamp>,
    pub delivered_at: Option<Timestamp>,
}

/// A delivery of an event to an endpoint, identified by the event's id.
#[derive(Debug, Clone, PartialEq, Eq, DerivePartialModel)]
#[sea_orm(entity = "Entity")]
pub struct WebhookDelivery {
    /// The event.
    pub event_id: String,
    /// The event's type.
    #[sea_orm(from_expr = "event::Column::Kind")]
    pub kind: EventType,
    /// Its status.
    pub status: DeliveryStatus,
    /// Attempts since it was queued.
    pub attempts: i64,
    /// The time of the event, or of its replay.
    pub queued_at: Timestamp,
    /// The time of the next attempt, while it is pending.
    pub run_at: Timestamp,
    /// The status of the receiver's last response.
    pub last_status: Option<i64>,
    /// The reason the last attempt failed.
    pub last_error: Option<String>,
    /// The time of the last attempt.
    pub last_attempt_at: Option<Timestamp>,
    /// The time at which the receiver accepted it.
    pub delivered_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "event::Entity", from = "Column::EventId", to = "event::Column::Id")]
    Event,
}
