//! Typed identifiers, so that no user id is ever taken for a connection id.

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
            /// A new random one.
            pub fn random(random: &Random) -> Self {
                Self(random.uuid())
            }

            /// A new one that begins with the time: the index entries of rows that are written together are adjacent,
            /// and the database writes fewer pages.
            pub fn at(now: Timestamp, random: &Random) -> Self {
                Self(random.uuid_at(now))
            }

            /// The same value as a UUID.
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
                // One spelling alone: a second one would be a second key for the same thing.
                let id = Uuid::try_parse(text)?;
                if text.len() == 36 { Ok(Self(id)) } else { Uuid::try_parse("").map(Self) }
            }
        }
    )+};
}

uuid_ids! {
    /// Who owns connections: born with the first AuthRequest of a browser.
    UserId;
    /// One connection: a user's hold of one HubSpot account.
    ConnectionId;
    /// One connect session.
    ConnectSessionId;
    /// One API key.
    ApiKeyId;
    /// One attempt to connect, as the outside names it. Public: it opens nothing without the flow's cookie.
    FlowId;
    /// One install that began at HubSpot's Marketplace.
    InstallId;
    /// One pending grant, by the id of the flow that it came by or of the install.
    PendingGrantId;
    /// One endpoint that webhooks are posted to.
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
    /// The id of the flow with this state: half of the state's hash, so one is found from the other without a look-up
    /// and the state cannot be found from the id.
    pub fn of_state_hash(hash: &[u8; 32]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Self(Uuid::new_v8(half))
    }

    /// Eight characters that name the flow's cookie.
    pub fn short(self) -> String {
        self.0.simple().to_string()[..8].to_owned()
    }
}

/// A HubSpot account's number (`hub_id` on the wire).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, DeriveValueType)]
#[serde(transparent)]
pub struct PortalId(pub i64);

impl PortalId {
    /// The largest number that JavaScript keeps exactly.
    pub const MAX: u64 = (1 << 53) - 1;

    /// Returns the account of this number; `None` above [`PortalId::MAX`].
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
    fn only_the_hyphenated_spelling_is_an_id() {
        let id = UserId::random(&Random::seeded(1));
        assert_eq!(id.to_string().parse::<UserId>().ok(), Some(id));
        assert!(id.uuid().simple().to_string().parse::<UserId>().is_err());
        assert!(format!("{{{id}}}").parse::<UserId>().is_err());
    }

    #[test]
    fn ids_are_in_the_order_of_their_times() {
        let random = Random::seeded(1);
        let [early, late] = [1, 2].map(|ms| UserId::at(Timestamp::from_unix_ms(ms), &random));
        assert!(early < late);
        assert_eq!(early.uuid().get_version_num(), 7);
        assert_ne!(early, UserId::at(Timestamp::from_unix_ms(1), &random));
    }

    #[test]
    fn a_portal_id_is_a_plain_positive_number() {
        assert_eq!("1234567".parse::<PortalId>().ok(), Some(PortalId(1_234_567)));
        assert_eq!("9007199254740991".parse::<PortalId>().ok(), Some(PortalId(9_007_199_254_740_991)));
        assert!("9007199254740992".parse::<PortalId>().is_err());
        assert!("-1".parse::<PortalId>().is_err());
        assert!("+1".parse::<PortalId>().is_err());
        assert!("../1".parse::<PortalId>().is_err());
    }
}
