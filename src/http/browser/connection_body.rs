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

/// How a connection fares.
#[derive(Serialize, ToSchema)]
#[schema(as = ConnectionFields)]
pub struct Fields<'a> {
    /// The HubSpot account; null until HubSpot has told it.
    #[schema(value_type = Option<i64>, example = 1234567)]
    portal_id: Option<PortalId>,
    /// The account's website. Somebody has typed it: show it as text, never as HTML.
    #[schema(example = "acme.example")]
    hub_domain: Option<&'a str>,
    /// The account's time zone.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<&'a str>,
    /// How it fares.
    status: ConnectionStatus,
    /// The same in a sentence for a person.
    status_text: &'static str,
    /// The granted scopes; null as long as HubSpot has not named them.
    #[schema(value_type = Option<Vec<String>>, example = json!(["oauth", "crm.objects.contacts.read"]))]
    scopes: Option<&'a Scopes>,
    /// Scopes that were asked for, optional ones included, and not granted; none as long as `scopes` is null.
    #[schema(value_type = Vec<String>)]
    missing_scopes: Scopes,
    /// When the access token expires.
    #[schema(format = DateTime, example = "2026-11-21T09:30:00Z")]
    expires_at: String,
    /// When the person connected.
    #[schema(format = DateTime, example = "2026-11-21T09:00:00Z")]
    connected_at: String,
    /// When it is refreshed next, in seconds; null where nothing is planned.
    #[schema(minimum = 0)]
    seconds_until_refresh: Option<i64>,
}

impl<'a> Entry<'a> {
    /// One connection as it is now.
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
        ConnectionStatus::Active => "Access is renewed by itself, always before it expires.",
        ConnectionStatus::Degraded
            if token.last_error.as_deref() == Some(FailureCode::GrantDead.as_str()) =>
        {
            "HubSpot has refused to renew this access. If it refuses once more, you have to reconnect."
        }
        ConnectionStatus::Degraded => "Access could not be renewed in time. We keep trying; nothing is lost.",
        ConnectionStatus::NeedsReauth => "HubSpot has ended this access. Reconnect to go on.",
        ConnectionStatus::IntegrityError => {
            "What is stored for this account cannot be trusted. Reconnect to go on."
        }
    }
}

/// Seconds until a moment, rounded up; zero once it is there.
pub fn seconds_until(at: Timestamp, now: Timestamp) -> i64 {
    i64::try_from(retry_after::seconds(at.since(now))).unwrap_or(i64::MAX)
}
