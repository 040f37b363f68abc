//! Events that are reported to the host's backend, and their messages.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sea_orm::DeriveValueType;
use serde::Serialize;
use utoipa::ToSchema;

use super::clock::Timestamp;
use super::connect_session::ConnectSessionStatus;
use super::external::ExternalUserId;
use super::id::{ConnectSessionId, ConnectionId, InstallId, PortalId, WebhookId};
use super::scopes::Scopes;
use super::text_enum::{UnknownText, not_a_number, text_enum};

text_enum! {
    /// The type of an event.
    #[derive(PartialOrd, Ord)]
    pub enum EventType: UnknownText {
        /// A user has connected an account.
        ConnectionCreated = "connection.created",
        /// A user has reconnected the same account.
        ConnectionReconnected = "connection.reconnected",
        /// New tokens are stored.
        ConnectionRefreshed = "connection.refreshed",
        /// A degraded or suspended connection works again.
        ConnectionRecovered = "connection.recovered",
        /// The access token has expired and could not be refreshed so far.
        ConnectionDegraded = "connection.degraded",
        /// HubSpot grants more or fewer scopes than before.
        ConnectionScopesChanged = "connection.scopes_changed",
        /// The user must reconnect.
        ConnectionNeedsReauth = "connection.needs_reauth",
        /// HubSpot has ended the grant, usually because the app was uninstalled.
        ConnectionRevokedAtProvider = "connection.revoked_at_provider",
        /// The connection was deleted.
        ConnectionDisconnected = "connection.disconnected",
        /// HubSpot rejects the app's own credentials, so nothing can be refreshed.
        AppCredentialsInvalid = "app.credentials_invalid",
        /// A user has authorized through the link of a connect session, and the backend has not confirmed it yet.
        ConnectSessionAwaitingConfirmation = "connect_session.awaiting_confirmation",
        /// A connection was created or reconnected through the link of a connect session.
        ConnectSessionConnected = "connect_session.connected",
        /// The link of a connect session has expired without a connection.
        ConnectSessionExpired = "connect_session.expired",
        /// The connect session of a link has ended without a connection.
        ConnectSessionFailed = "connect_session.failed",
        /// An install from HubSpot's Marketplace can be claimed.
        InstallUnclaimed = "install.unclaimed",
        /// The host's backend tests an endpoint.
        WebhookTest = "webhook.test",
    }
}

not_a_number!(EventType);

impl EventType {
    /// Returns whether an endpoint may subscribe to it. A test event is sent only to the endpoint under test.
    pub(crate) fn can_be_named(self) -> bool {
        self != Self::WebhookTest
    }

    /// Returns how long the event is kept. Types that are not read as history need only outlive their deliveries.
    pub(crate) fn kept_for(self) -> Duration {
        match self {
            Self::ConnectionRefreshed | Self::WebhookTest => Duration::from_secs(5 * DAY),
            _ => Duration::from_secs(30 * DAY),
        }
    }

    /// Returns whether the event's reason is the last error of the connection.
    pub(crate) fn has_error(self) -> bool {
        matches!(
            self,
            Self::ConnectionDegraded | Self::ConnectionNeedsReauth | Self::ConnectionRevokedAtProvider
        )
    }
}

const DAY: u64 = 24 * 3600;

/// The event types that an endpoint subscribes to. They are stored with a space before and after each, so that SQL can
/// search for a whole word.
#[derive(Debug, Clone, PartialEq, Eq, DeriveValueType)]
#[sea_orm(value_type = "String")]
pub struct EventTypes(pub Vec<EventType>);

impl fmt::Display for EventTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" ")?;
        self.0.iter().try_for_each(|kind| write!(f, "{kind} "))
    }
}

impl FromStr for EventTypes {
    type Err = Infallible;

    /// Skips unknown types, which a later release may have stored.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.split(' ').filter_map(|word| word.parse().ok()).collect()))
    }
}

/// Returns the id of an event of a connection: one per number, so that no event is written twice.
pub fn id_of(connection: ConnectionId, sequence: i64) -> String {
    format!("evt_{}_{sequence}", connection.uuid().simple())
}

/// The data of an event about a connection, as of the time of the event. It never contains a token.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ConnectionEventData)]
pub struct ConnectionData<'a> {
    /// The connection.
    #[schema(value_type = uuid::Uuid)]
    pub connection_id: ConnectionId,
    /// The position of this event among those of the connection.
    pub sequence: i64,
    /// The host's user who owns the connection, if the host's backend created it.
    pub external_user_id: Option<&'a str>,
    /// The HubSpot account, if it is known yet.
    #[schema(value_type = Option<i64>)]
    pub portal_id: Option<PortalId>,
    /// The account's website, if it is known yet.
    pub hub_domain: Option<&'a str>,
    /// `active`, `degraded`, `needs_reauth`, `integrity_error` or `disconnected`.
    #[schema(pattern = "^(active|degraded|needs_reauth|integrity_error|disconnected)$")]
    pub status: &'a str,
    /// The granted scopes; null until HubSpot has named them.
    #[schema(value_type = Option<Vec<String>>)]
    pub scopes: Option<&'a Scopes>,
    /// The reason, if there is one, as a stable code.
    pub reason: Option<&'a str>,
}

/// The data of an event about an unclaimed install. The account's name is not known yet.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = InstallEventData)]
pub struct InstallData {
    /// The install.
    #[schema(value_type = uuid::Uuid)]
    pub install_id: InstallId,
    /// The HubSpot account in which the app was installed.
    #[schema(value_type = i64)]
    pub portal_id: PortalId,
    /// The time until which the install can be claimed (RFC 3339).
    pub expires_at: String,
}

/// The data of an event about a connect session with a link.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ConnectSessionEventData)]
pub struct ConnectSessionData<'a> {
    /// The session.
    #[schema(value_type = uuid::Uuid)]
    pub connect_session_id: ConnectSessionId,
    /// The host's user for whom it was created.
    #[schema(value_type = String)]
    pub external_user_id: &'a ExternalUserId,
    /// `awaiting_confirmation`, `connected`, `expired` or `cancelled`.
    pub status: ConnectSessionStatus,
    /// The connection that was created, or that was to be reconnected.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub connection_id: Option<ConnectionId>,
    /// The failure reason, as a stable code.
    pub reason: Option<&'a str>,
}

/// The data of an event about the app whose credentials HubSpot rejects.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = AppEventData)]
pub struct AppData {
    /// The client id of the HubSpot app.
    pub client_id: String,
    /// The reason, as a stable code.
    pub reason: &'static str,
}

/// The data of a test event.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = TestEventData)]
pub struct TestData {
    /// The endpoint under test.
    #[schema(value_type = uuid::Uuid)]
    pub webhook_id: WebhookId,
}

/// Returns the id of an event of a connect session, which has each type at most once.
pub(crate) fn id_of_session(session: ConnectSessionId, kind: EventType) -> String {
    format!("evt_{}_{}", session.uuid().simple(), kind.as_str().trim_start_matches("connect_session."))
}

/// Returns the id of the event about an install; an install has only one.
pub(crate) fn id_of_install(install: InstallId) -> String {
    format!("evt_{}_0", install.uuid().simple())
}

#[derive(Serialize)]
struct Message<'a, D> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: String,
    data: D,
}

/// Returns the message of an event: the body of its deliveries (Standard Webhooks 1.0.0, "Payload structure").
pub fn message(kind: EventType, at: Timestamp, data: impl Serialize) -> String {
    let message = Message { kind: kind.as_str(), timestamp: at.rfc3339(), data };
    serde_json::to_string(&message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_a_type_a_time_and_data() {
        let text = message(EventType::WebhookTest, Timestamp::from_unix_ms(0), serde_json::json!({}));
        assert_eq!(text, r#"{"type":"webhook.test","timestamp":"1970-01-01T00:00:00Z","data":{}}"#);
    }
}
