//! In what state a connection is.

use std::fmt;
use std::str::FromStr;

/// The state that is stored. `degraded` and `disconnected` are not: the one is seen from the expiry of the access
/// token, the other is a row that is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// Refreshed before it expires.
    Active,
    /// HubSpot has ended the grant: the person has to connect anew.
    NeedsReauth,
    /// The stored tokens do not belong to this row or cannot be read: nothing is handed out or deleted.
    IntegrityError,
}

impl ConnectionState {
    /// The word in the database and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NeedsReauth => "needs_reauth",
            Self::IntegrityError => "integrity_error",
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ConnectionState {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "active" => Ok(Self::Active),
            "needs_reauth" => Ok(Self::NeedsReauth),
            "integrity_error" => Ok(Self::IntegrityError),
            _ => Err(UnknownWord),
        }
    }
}

/// A stored word that this release does not know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a stored word is not known to this release")]
pub struct UnknownWord;
