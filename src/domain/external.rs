//! The host's own users, identified by the ids that its backend assigns.

use std::fmt;
use std::str::FromStr;

use sea_orm::DeriveValueType;
use serde::{Deserialize, Serialize};

use super::text::is_unfit;
use super::text_enum::not_a_number;

/// The maximum number of characters; no sensible id is longer.
const MAX_EXTERNAL_ID_LENGTH: usize = 255;

/// The id of a user of the host. It is not empty and has no invisible characters ([`is_unfit`]): it is compared byte
/// for byte, and ids that look alike would mislead readers of pages and logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, DeriveValueType)]
#[serde(try_from = "String", into = "String")]
#[sea_orm(value_type = "String")]
pub struct ExternalUserId(String);

not_a_number!(ExternalUserId);

impl ExternalUserId {
    /// Returns the id as the host sent it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text that is not a valid user id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a text of 1 to {MAX_EXTERNAL_ID_LENGTH} characters without control, invisible or private-use characters, and without spaces at its ends"
)]
pub struct BadExternalId;

impl TryFrom<String> for ExternalUserId {
    type Error = BadExternalId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=MAX_EXTERNAL_ID_LENGTH).contains(&text.chars().count())
            && text.trim() == text
            && !text.chars().any(is_unfit);
        if fits { Ok(Self(text)) } else { Err(BadExternalId) }
    }
}

impl FromStr for ExternalUserId {
    type Err = BadExternalId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<ExternalUserId> for String {
    fn from(id: ExternalUserId) -> Self {
        id.0
    }
}

impl fmt::Display for ExternalUserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_ids_accept_any_unambiguous_text() {
        for good in ["1", "user_42", "anna@example.com", "Жанна", "𝔘𝔰𝔢𝔯", "a b", &"Ж".repeat(255)]
        {
            assert_eq!(good.parse::<ExternalUserId>().unwrap().as_str(), good);
        }
        for bad in ["", " a", "a\n", "a\u{0}b", "a\u{61c}b", "a\u{200d}b", "\u{feff}a", &"a".repeat(256)] {
            assert!(bad.parse::<ExternalUserId>().is_err(), "{bad:?}");
        }
    }
}
