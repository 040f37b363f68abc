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
    /// The session's values, as JSON. It contains no secrets.
    pub state: String,
    /// The time of its start; a new key does not change it.
    pub created_at: Timestamp,
    /// The time of the last use, accurate to a minute.
    pub seen_at: Timestamp,
    /// The time at which it expires if it is not used.
    pub expires_at: Timestamp,
    /// Whether a request with this session has been received. Until then, the response that carries its key may be
    /// lost.
    pub seen: Flag,
}
