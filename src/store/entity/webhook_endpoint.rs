//! Webhook endpoints of the host's backends.

use sea_orm::entity::prelude::*;

use super::Relation;
use super::flag::Flag;
use crate::domain::clock::Timestamp;
use crate::domain::event::EventTypes;
use crate::domain::id::WebhookId;
use crate::domain::project::ProjectId;
use crate::domain::secret::Sealed;
use crate::domain::webhook::DisabledReason;

/// An endpoint of the host's backend.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "webhook_endpoint")]
pub struct Model {
    /// Its id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: WebhookId,
    /// The URL that messages are posted to.
    pub url: String,
    /// The event types that it subscribes to; `None` for all but refreshes.
    pub types: Option<EventTypes>,
    /// Whether deliveries are enabled.
    pub enabled: Flag,
    /// The reason it is disabled. A later release may have written an unknown one.
    pub disabled_reason: Option<String>,
    /// The key of its signing secrets.
    pub key_id: String,
    /// The ciphertext of its signing secrets, the newest first.
    pub secrets_sealed: String,
    /// Incremented with every new secret.
    pub generation: i64,
    /// The time until which an older secret signs as well.
    pub overlap_until: Option<Timestamp>,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The project whose events are sent to it.
    pub project_id: ProjectId,
}

impl Model {
    /// Returns the reason it is disabled.
    pub fn disabled_reason(&self) -> Option<DisabledReason> {
        self.disabled_reason.as_deref()?.parse().ok()
    }

    /// Returns its signing secrets.
    pub fn secrets(&self) -> Sealed {
        Sealed { key_id: self.key_id.clone(), ciphertext: self.secrets_sealed.clone() }
    }
}
