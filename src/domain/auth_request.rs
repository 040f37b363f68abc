//! AuthRequest: one attempt to connect, from the click to its one outcome.

use super::clock::Timestamp;
use super::failure::FailureCode;
use super::id::{ConnectSessionId, ConnectionId, FlowId, PortalId, UserId};
use super::origin::{Origin, ReturnUrl};
use super::scopes::Scopes;
use super::secret::{Hash, Sealed};
use super::text_enum::{UnknownText, text_enum};

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
    /// SHA-256 of the secret with which the page that began it asks how it fares, where it sent one.
    pub challenge: Option<Hash>,
    /// SHA-256 of the key by which the opener can prove that it began it, where it sent one.
    pub opener_challenge: Option<Hash>,
    /// What proves that a page of the opener's origin began it.
    pub opener_verification: Option<OpenerVerification>,
    /// Where the browser goes when all is done and nobody can be told by a message.
    pub return_url: Option<ReturnUrl>,
    /// In a popup or in the page's own window.
    pub mode: Mode,
    /// The backend's word that this was begun on, where it was: then the connection is that of the host's user, and of
    /// no browser session.
    pub connect_session: Option<ConnectSessionId>,
    /// The account that the person is expected to choose.
    pub portal_id: Option<PortalId>,
    /// The PKCE verifier (RFC 7636), where it is switched on.
    pub pkce: Option<Sealed>,
    /// How far it has come.
    pub state: FlowState,
    /// When the person clicked.
    pub created_at: Timestamp,
    /// Until when HubSpot's answer is awaited.
    pub expires_at: Timestamp,
    /// Whether the outcome was handed to the popup.
    pub is_handed_off: bool,
    /// Whether the access token was handed out, on whatever way.
    pub is_token_taken: bool,
}

/// How far an attempt has come, with what it has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowState {
    /// The person is at HubSpot.
    AwaitingUser,
    /// The person is back: the code is being exchanged, or somebody has to decide on the grant.
    Exchanging,
    /// There is a connection.
    Connected {
        /// Which.
        connection: ConnectionId,
        /// When it was stored: the connection's `connected_at`, until another attempt renews it.
        at: Timestamp,
    },
    /// There is none, and there is a reason.
    Failed {
        /// Why.
        code: FailureCode,
        /// When it failed.
        at: Timestamp,
    },
    /// Given up by the page that began it.
    Cancelled {
        /// When it was given up.
        at: Timestamp,
    },
    /// Nobody came back in time.
    Expired,
}

impl FlowState {
    /// Returns how far that is, as it is stored and told.
    pub fn status(self) -> AuthorizationStatus {
        match self {
            Self::AwaitingUser => AuthorizationStatus::AwaitingUser,
            Self::Exchanging => AuthorizationStatus::Exchanging,
            Self::Connected { .. } => AuthorizationStatus::Connected,
            Self::Failed { .. } => AuthorizationStatus::Failed,
            Self::Cancelled { .. } => AuthorizationStatus::Cancelled,
            Self::Expired => AuthorizationStatus::Expired,
        }
    }
}

impl AuthRequest {
    /// Where the browser goes when this has come to an end in the page's own window: back, with the flow's id in the
    /// fragment, which is sent to no server and opens nothing by itself.
    pub(crate) fn return_to(&self) -> Option<String> {
        self.return_link().filter(|_| self.mode == Mode::Redirect)
    }

    /// The page that can be told when the opener cannot: it is of the opener's origin and finds the page that waits.
    pub(crate) fn return_link(&self) -> Option<String> {
        self.return_url.as_ref().map(|url| format!("{}#hsc={}", url.as_str(), self.id))
    }

    /// Returns whether its outcome is older than [`HANDOFF_WINDOW`].
    pub fn is_over(&self, now: Timestamp) -> bool {
        match self.state {
            FlowState::Connected { at, .. } | FlowState::Failed { at, .. } | FlowState::Cancelled { at } => {
                at.plus(HANDOFF_WINDOW) < now
            }
            FlowState::AwaitingUser | FlowState::Exchanging | FlowState::Expired => false,
        }
    }

    /// How far it has come, seen at `now`: one that nobody finished in time is expired.
    pub(crate) fn state_at(&self, now: Timestamp) -> FlowState {
        match self.state {
            FlowState::AwaitingUser if self.expires_at <= now => FlowState::Expired,
            // The exchange has a deadline of its own; what is still at it long after was cut off.
            FlowState::Exchanging if self.expires_at.plus(EXCHANGE_GRACE) <= now => FlowState::Expired,
            state => state,
        }
    }
}

text_enum! {
    /// What proves that a page of the opener's origin began an attempt. Without proof its outcome stays in the browser
    /// and goes by message to the opener's origin alone: whoever began it elsewhere and asks for it learns nothing.
    pub enum OpenerVerification: UnknownText {
        /// The browser named the origin in the request that began it (Fetch standard, `Origin` header).
        OriginHeader = "origin_header",
        /// The opener, at that origin, knew the key of the challenge.
        OpenerHandshake = "opener_handshake",
    }
}

text_enum! {
    /// In which window an attempt takes place.
    #[derive(Default)]
    pub enum Mode: UnknownText {
        /// In a popup, which closes at the end.
        #[default]
        Popup = "popup",
        /// In the page's own window, which goes back to the page at the end.
        Redirect = "redirect",
    }
}

/// How long after its expiry a request that is being exchanged may still succeed.
pub const EXCHANGE_GRACE: std::time::Duration = std::time::Duration::from_secs(60);

/// How long after its expiry an attempt is remembered, so that whoever comes late is told so.
pub const AUTH_REQUEST_RETENTION: std::time::Duration = std::time::Duration::from_secs(600);

/// How long after the outcome the browser's cookie can still repair a lost answer, that is restore the session, and the
/// popup's message can still carry a token. The cookie outlives the browser's session, so it must not replace it.
pub const HANDOFF_WINDOW: std::time::Duration = std::time::Duration::from_secs(60);

text_enum! {
    /// The status of an authorization request. The last four values are final.
    pub enum AuthorizationStatus: UnknownText {
        /// The person is at HubSpot.
        AwaitingUser = "awaiting_user",
        /// The person is back, the code is being exchanged.
        Exchanging = "exchanging",
        /// There is a connection.
        Connected = "connected",
        /// There is none, and there is a reason.
        Failed = "failed",
        /// Given up by the page that began it.
        Cancelled = "cancelled",
        /// Nobody came back in time.
        Expired = "expired",
    }
}
