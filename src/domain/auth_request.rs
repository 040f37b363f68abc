//! AuthRequest: one attempt to connect, from the click to its one outcome.

use std::str::FromStr;

use super::clock::Moment;
use super::connection::UnknownWord;
use super::id::{ConnectionId, FlowId, PortalId, UserId};
use super::origin::Origin;
use super::scopes::Scopes;
use super::secret::Sealed;

/// One attempt to connect.
#[derive(Debug, Clone)]
pub struct AuthRequest {
    /// The flow's public id.
    pub id: FlowId,
    /// For whom: the session's user, or one born with this request.
    pub user_id: UserId,
    /// The HubSpot app that is asked for; the exchange is made for this one and no other (RFC 9700 section 4.4).
    pub client_id: String,
    /// The redirect URI that was sent; the exchange repeats it (RFC 6749 section 4.1.3).
    pub redirect_uri: String,
    /// Required scopes.
    pub scopes: Scopes,
    /// Scopes that the account may lack.
    pub optional_scopes: Scopes,
    /// The one origin that is told the outcome.
    pub opener: Option<Origin>,
    /// The account that the person is expected to choose.
    pub portal_id: Option<PortalId>,
    /// The PKCE verifier (RFC 7636), where it is switched on.
    pub pkce: Option<Sealed>,
    /// How far it has come.
    pub status: FlowStatus,
    /// Why it failed.
    pub error_code: Option<String>,
    /// What it led to.
    pub connection_id: Option<ConnectionId>,
    /// When the person clicked.
    pub created_at: Moment,
    /// Until when HubSpot's answer is awaited.
    pub expires_at: Moment,
    /// When the outcome was handed to the popup.
    pub delivered_at: Option<Moment>,
}

impl AuthRequest {
    /// How far it has come, seen at `now`: one that nobody finished in time is expired.
    pub fn status_at(&self, now: Moment) -> FlowStatus {
        match self.status {
            FlowStatus::AwaitingUser if self.expires_at <= now => FlowStatus::Expired,
            // The exchange has a deadline of its own; what is still at it long after was cut off.
            FlowStatus::Exchanging if self.expires_at.plus(EXCHANGE_GRACE) <= now => FlowStatus::Expired,
            status => status,
        }
    }
}

/// How long after its expiry a request that is being exchanged may still succeed.
pub const EXCHANGE_GRACE: std::time::Duration = std::time::Duration::from_secs(60);

/// How far an attempt has come. The last four are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowStatus {
    /// The person is at HubSpot.
    AwaitingUser,
    /// The person is back, the code is being exchanged.
    Exchanging,
    /// There is a connection.
    Connected,
    /// There is none, and there is a reason.
    Failed,
    /// Given up by the page that began it.
    Cancelled,
    /// Nobody came back in time.
    Expired,
}

impl FlowStatus {
    /// The word in the database and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingUser => "awaiting_user",
            Self::Exchanging => "exchanging",
            Self::Connected => "connected",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

impl FromStr for FlowStatus {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::AwaitingUser, Self::Exchanging, Self::Connected, Self::Failed, Self::Cancelled, Self::Expired]
            .into_iter()
            .find(|status| status.as_str() == word)
            .ok_or(UnknownWord)
    }
}
