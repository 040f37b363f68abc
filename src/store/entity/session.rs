//! Browser sessions.

use sea_orm::entity::prelude::*;

use super::Relation;
use super::flag::Flag;
use crate::domain::clock::Timestamp;
use crate::domain::id::UserId;
use crate::domain::secret::Hash;

/// A browser session.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "session")]
pub struct Model {
    /// The hash of the key in the cookie.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_hash: Hash,
    /// Its user.
    pub user_id: Option<UserId>,
    /// The session's values, as JSON. Nothing in it is a secret.
    pub state: String,
    /// When it began; a new key does not change that.
    pub created_at: Timestamp,
    /// When it was last used, give or take a minute.
    pub seen_at: Timestamp,
    /// When it ends if it is not used before.
    pub expires_at: Timestamp,
    /// Whether a request with it has been received. Until then, the response that carries its key may be lost.
    pub seen: Flag,
}
