//! Endpoints of the host's backends that webhooks are sent to.

use sea_orm::entity::prelude::*;

use crate::domain::clock::Moment;
use crate::domain::id::WebhookId;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_endpoint")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: WebhookId,
    pub url: String,
    /// Event types with a space before and behind each, so that a whole word can be looked for; empty for all but
    /// refreshes. A later release may have written more than this one knows.
    pub types: Option<String>,
    /// 1 or 0.
    pub enabled: i64,
    /// A word. A later release may have written one that this one does not know.
    pub disabled_reason: Option<String>,
    pub key_id: String,
    pub secrets_sealed: String,
    pub generation: i64,
    pub overlap_until: Option<Moment>,
    pub created_at: Moment,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
