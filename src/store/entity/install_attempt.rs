//! Single-use values of Marketplace installs: states that were handed out, and codes that were received.

use sea_orm::entity::prelude::*;

use super::Relation;
use crate::domain::clock::Timestamp;
use crate::domain::secret::Hash;
use crate::domain::text_enum::{UnknownText, text_enum};

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, DeriveActiveModelBehavior)]
#[sea_orm(table_name = "install_attempt")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: Hash,
    pub kind: Kind,
    pub expires_at: Timestamp,
}

text_enum! {
    /// The kind of a single-use value.
    pub enum Kind: UnknownText {
        /// A state (RFC 6749 section 4.1.1).
        State = "state",
        /// An authorization code.
        Code = "code",
    }
}
