//! AuthRequest: one authorization request, from the click to its outcome.

use super::clock::Timestamp;
use super::failure::FailureCode;
use super::id::{ConnectSessionId, ConnectionId, FlowId, PortalId, UserId};
use super::origin::{Origin, ReturnUrl};
use super::scopes::Scopes;
use super::secret::{Hash, Sealed};
use super::text_enum::{UnknownText, text_enum};

/// An authorization request.
#[derive(Debug, Clone)]
pub struct AuthRequest {
    /// The flow's public id.
    pub id: FlowId,
    /// The user it is for: that of the browser session, or a new one.
    pub user_id: UserId,
    /// The HubSpot app that was requested; the code is exchanged for this app only (RFC 9700 section 4.4).
    pub client_id: String,
    /// The redirect URI that was sent; the exchange repeats it (RFC 6749 section 4.1.3).
    pub redirect_uri: String,
    /// Required scopes.
    pub scopes: Scopes,
    /// Scopes that the account may lack.
    pub optional_scopes: Scopes,
    /// The only origin that receives the outcome.
    pub opener: Option<Origin>,
    /// SHA-256 of the secret with which the page that started the flow polls its status, if it sent one.
    pub challenge: Option<Hash>,
    /// SHA-256 of the key with which the opener can verify that it started the flow, if it sent one.
    pub opener_challenge: Option<Hash>,
    /// The verification of the opener, if there was one.
    pub opener_verification: Option<OpenerVerification>,
    /// The URL to which the browser returns when no page can receive the outcome as a message.
    pub return_url: Option<ReturnUrl>,
    /// The window in which the flow runs.
    pub mode: Mode,
    /// The connect session that the flow belongs to, if any: the connection then belongs to the host's user, not to a
    /// browser session.
    pub connect_session: Option<ConnectSessionId>,
    /// The account that the user is expected to choose.
    pub portal_id: Option<PortalId>,
    /// The PKCE verifier (RFC 7636), if PKCE is enabled.
    pub pkce: Option<Sealed>,
    /// Its state.
    pub state: FlowState,
    /// The time of the user's click.
    pub created_at: Timestamp,
    /// The time until which HubSpot's redirect is accepted.
    pub expires_at: Timestamp,
    /// Whether the outcome was handed off to the popup.
    pub is_handed_off: bool,
    /// Whether the access token was handed out, by any route.
    pub is_token_taken: bool,
}

/// The state of an authorization request, with its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowState {
    /// The user is at HubSpot.
    AwaitingUser,
    /// The user is back: the code is being exchanged, or a pending grant awaits a decision.
    Exchanging,
    /// A connection was created or reconnected.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// The time it was stored: the connection's `connected_at`, until another flow reconnects it.
        at: Timestamp,
    },
    /// The flow failed.
    Failed {
        /// The reason.
        code: FailureCode,
        /// The time of the failure.
        at: Timestamp,
    },
    /// The page that started the flow cancelled it.
    Cancelled {
        /// The time of the cancellation.
        at: Timestamp,
    },
    /// The user did not come back in time.
    Expired,
}

impl FlowState {
    /// Returns the status as it is stored and reported.
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
    /// Returns the URL to which the browser returns after a flow in the page's own window, with the flow's id in the
    /// fragment: fragments are not sent to servers, and the id alone gives no access.
    pub(crate) fn return_to(&self) -> Option<String> {
        self.return_link().filter(|_| self.mode == Mode::Redirect)
    }

    /// Returns the URL of a page that can receive the outcome if the opener cannot: it is on the opener's origin and
    /// can find the waiting page.
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

    /// Returns the state at `now`: a flow that was not finished in time is expired.
    pub(crate) fn state_at(&self, now: Timestamp) -> FlowState {
        match self.state {
            FlowState::AwaitingUser if self.expires_at <= now => FlowState::Expired,
            // The exchange has its own deadline; a request that is still exchanging long after it was cut off.
            FlowState::Exchanging if self.expires_at.plus(EXCHANGE_GRACE) <= now => FlowState::Expired,
            state => state,
        }
    }
}

text_enum! {
    /// A verification of the opener, after which the service knows that a page of the opener's origin started the flow.
    /// The outcome of an unverified flow stays in the browser and is sent only as a message to the opener's origin, so
    /// a caller that started the flow elsewhere learns nothing.
    pub enum OpenerVerification: UnknownText {
        /// The browser sent the origin with the request that started the flow (Fetch standard, `Origin` header).
        OriginHeader = "origin_header",
        /// The opener, at that origin, knew the key of the challenge.
        OpenerHandshake = "opener_handshake",
    }
}

text_enum! {
    /// The window in which a flow runs.
    #[derive(Default)]
    pub enum Mode: UnknownText {
        /// A popup, which closes at the end.
        #[default]
        Popup = "popup",
        /// The page's own window, which returns to the page at the end.
        Redirect = "redirect",
    }
}

/// The time after its expiry for which a request in the exchange may still succeed.
pub const EXCHANGE_GRACE: std::time::Duration = std::time::Duration::from_secs(60);

/// The time after its expiry for which an authorization request is kept, so that a late user or page gets an
/// explanation.
pub const AUTH_REQUEST_RETENTION: std::time::Duration = std::time::Duration::from_secs(600);

/// The time after the outcome for which the flow's cookie can repair a lost response (restore the session), and for
/// which the popup's message can carry a token. The cookie outlives the browser's session, so it must not replace it.
pub const HANDOFF_WINDOW: std::time::Duration = std::time::Duration::from_secs(60);

text_enum! {
    /// The status of an authorization request. The last four values are final.
    pub enum AuthorizationStatus: UnknownText {
        /// The user is at HubSpot.
        AwaitingUser = "awaiting_user",
        /// The user is back; the code is being exchanged.
        Exchanging = "exchanging",
        /// A connection was created or reconnected.
        Connected = "connected",
        /// The flow failed.
        Failed = "failed",
        /// The page that started the flow cancelled it.
        Cancelled = "cancelled",
        /// The user did not come back in time.
        Expired = "expired",
    }
}
