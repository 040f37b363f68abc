//! Typed identifiers, so that a user id is never mistaken for a connection id.

use std::fmt;
use std::str::FromStr;

use sea_orm::DeriveValueType;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::clock::Timestamp;
use super::random::Random;
use super::text_enum::not_a_number;

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, DeriveValueType)]
        #[serde(transparent)]
        #[sea_orm(value_type = "String")]
        pub struct $name(Uuid);

        not_a_number!($name);

        impl $name {
            /// Generates a random id.
            pub fn random(random: &Random) -> Self {
                Self(random.uuid())
            }

            /// Generates an id that begins with the time: the index entries of rows that are written together are then
            /// adjacent, and the database writes fewer pages.
            pub fn at(now: Timestamp, random: &Random) -> Self {
                Self(random.uuid_at(now))
            }

            /// Returns the id as a UUID.
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                // Only one spelling is accepted: a second one would be a second key for the same thing.
                let id = Uuid::try_parse(text)?;
                if text.len() == 36 { Ok(Self(id)) } else { Uuid::try_parse("").map(Self) }
            }
        }
    )+};
}

uuid_ids! {
    /// The owner of connections: created with the first AuthRequest of a browser.
    UserId;
    /// A connection: one user's grant for one HubSpot account.
    ConnectionId;
    /// A connect session.
    ConnectSessionId;
    /// An API key.
    ApiKeyId;
    /// An authorization request. Public: without the flow's cookie it gives no access.
    FlowId;
    /// An install that started at HubSpot's Marketplace.
    InstallId;
    /// A pending grant; the same value as the id of its flow or of its install.
    PendingGrantId;
    /// A webhook endpoint.
    WebhookId;
}

impl From<FlowId> for PendingGrantId {
    fn from(flow: FlowId) -> Self {
        Self(flow.0)
    }
}

impl From<InstallId> for PendingGrantId {
    fn from(install: InstallId) -> Self {
        Self(install.0)
    }
}

impl PendingGrantId {
    /// Returns the flow of this id.
    pub fn flow(self) -> FlowId {
        FlowId(self.0)
    }

    /// Returns the install of this id.
    pub fn install(self) -> InstallId {
        InstallId(self.0)
    }
}

impl FlowId {
    /// Returns the id of the flow with this state: half of the state's hash. The id follows from the state without a
    /// lookup, but the state cannot be derived from the id.
    pub fn of_state_hash(hash: &[u8; 32]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Self(Uuid::new_v8(half))
    }

    /// Returns eight characters that name the flow's cookie.
    pub fn short(self) -> String {
        self.0.simple().to_string()[..8].to_owned()
    }
}

/// The number of a HubSpot account (`hub_id` in HubSpot's API).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, DeriveValueType)]
#[serde(transparent)]
pub struct PortalId(pub i64);

impl PortalId {
    /// The largest number that JavaScript represents exactly.
    pub const MAX: u64 = (1 << 53) - 1;

    /// Returns the account with this number; `None` above [`PortalId::MAX`].
    pub fn new(number: u64) -> Option<Self> {
        i64::try_from(number).ok().filter(|_| number <= Self::MAX).map(Self)
    }
}

/// Invalid account number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not the number of a HubSpot account")]
pub struct InvalidPortalId;

impl fmt::Display for PortalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PortalId {
    type Err = InvalidPortalId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        id.and_then(Self::new).ok_or(InvalidPortalId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_accept_only_the_hyphenated_spelling() {
        let id = UserId::random(&Random::seeded(1));
        assert_eq!(id.to_string().parse::<UserId>().ok(), Some(id));
        assert!(id.uuid().simple().to_string().parse::<UserId>().is_err());
        assert!(format!("{{{id}}}").parse::<UserId>().is_err());
    }

    #[test]
    fn ids_are_ordered_by_time() {
        let random = Random::seeded(1);
        let [early, late] = [1, 2].map(|ms| UserId::at(Timestamp::from_unix_ms(ms), &random));
        assert!(early < late);
        assert_eq!(early.uuid().get_version_num(), 7);
        assert_ne!(early, UserId::at(Timestamp::from_unix_ms(1), &random));
    }

    #[test]
    fn portal_ids_are_positive_numbers() {
        assert_eq!("1234567".parse::<PortalId>().ok(), Some(PortalId(1_234_567)));
        assert_eq!("9007199254740991".parse::<PortalId>().ok(), Some(PortalId(9_007_199_254_740_991)));
        assert!("9007199254740992".parse::<PortalId>().is_err());
        assert!("-1".parse::<PortalId>().is_err());
        assert!("+1".parse::<PortalId>().is_err());
        assert!("../1".parse::<PortalId>().is_err());
    }
}
