//! A connection as browsers see it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::clock::Timestamp;
use crate::domain::connection::ConnectionStatus;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectionId, PortalId};
use crate::domain::retry_after;
use crate::domain::scopes::Scopes;
use crate::domain::token::Token;
use crate::services::Connection;

/// A connection.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionConnection)]
pub struct Entry<'a> {
    /// The connection; a reconnect of the same account keeps it.
    #[schema(value_type = String, format = Uuid)]
    id: ConnectionId,
    #[serde(flatten)]
    pub fields: Fields<'a>,
}

/// The status of a connection.
#[derive(Serialize, ToSchema)]
#[schema(as = ConnectionFields)]
pub struct Fields<'a> {
    /// The HubSpot account; null until HubSpot has named it.
    #[schema(value_type = Option<i64>, example = 1234567)]
    portal_id: Option<PortalId>,
    /// The account's website. It is user input: show it as text, never as HTML.
    #[schema(example = "acme.example")]
    hub_domain: Option<&'a str>,
    /// The account's time zone.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<&'a str>,
    /// The status.
    status: ConnectionStatus,
    /// The status as a sentence for the user.
    status_text: &'static str,
    /// The granted scopes; null until HubSpot has named them.
    #[schema(value_type = Option<Vec<String>>, example = json!(["oauth", "crm.objects.contacts.read"]))]
    scopes: Option<&'a Scopes>,
    /// Scopes that were requested, including optional ones, and not granted; empty while `scopes` is null.
    #[schema(value_type = Vec<String>)]
    missing_scopes: Scopes,
    /// The expiry time of the access token.
    #[schema(format = DateTime, example = "2026-11-21T09:30:00Z")]
    expires_at: String,
    /// The time at which the user connected.
    #[schema(format = DateTime, example = "2026-11-21T09:00:00Z")]
    connected_at: String,
    /// The number of seconds until the next refresh; null if none is scheduled.
    #[schema(minimum = 0)]
    seconds_until_refresh: Option<i64>,
}

impl<'a> Entry<'a> {
    /// Returns a connection as of this time.
    pub fn of(connection: &'a Connection, now: Timestamp) -> Self {
        let token = &connection.token;
        let fields = Fields {
            portal_id: token.portal_id,
            hub_domain: token.hub_domain.as_deref(),
            time_zone: token.time_zone.as_deref(),
            status: token.status_at(now),
            status_text: sentence(token, now),
            scopes: token.scopes.as_ref(),
            missing_scopes: token.missing_scopes(),
            expires_at: token.expires_at.rfc3339(),
            connected_at: token.connected_at.rfc3339(),
            seconds_until_refresh: connection.refresh_at.map(|at| seconds_until(at, now)),
        };
        Self { id: token.id, fields }
    }
}

/// Returns a sentence for the user about the status of a connection.
pub fn sentence(token: &Token, now: Timestamp) -> &'static str {
    match token.status_at(now) {
        ConnectionStatus::Active => "Access is refreshed automatically, before it expires.",
        ConnectionStatus::Degraded
            if token.last_error.as_deref() == Some(FailureCode::GrantDead.as_str()) =>
        {
            "HubSpot rejected the refresh of this access. If it does so again, you have to reconnect."
        }
        ConnectionStatus::Degraded => {
            "Access could not be refreshed in time. We keep trying; nothing is lost."
        }
        ConnectionStatus::NeedsReauth => "HubSpot has revoked this access. Reconnect to continue.",
        ConnectionStatus::IntegrityError => {
            "The stored tokens of this account are damaged. Reconnect to continue."
        }
    }
}

/// Returns the seconds until a time, rounded up; zero in the past.
pub fn seconds_until(at: Timestamp, now: Timestamp) -> i64 {
    i64::try_from(retry_after::seconds(at.since(now))).unwrap_or(i64::MAX)
}
