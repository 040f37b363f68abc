//! Requests that must be carried out once, and their responses.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "idempotency_key")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub fingerprint: String,
    pub lease: String,
    pub locked_until: Timestamp,
    /// With `answer_sealed`, the response; `None` until there is one.
    pub key_id: Option<String>,
    pub answer_sealed: Option<String>,
    pub expires_at: Timestamp,
}
