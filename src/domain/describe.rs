//! The status of a connection in sentences, for the operator and for the host's backend.

use super::clock::Timestamp;
use super::connection::ConnectionStatus;
use super::failure::FailureCode;
use super::token::Token;

/// The refresh schedule of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefreshPlan {
    /// The time of the next refresh; an active connection always has one.
    pub run_at: Option<Timestamp>,
    /// Failed attempts since the last success.
    pub attempts: i64,
    /// The end of the current lease on the refresh job.
    pub lease_until: Option<Timestamp>,
}

/// Returns sentences about the status of a connection and what will happen next.
pub fn describe(token: &Token, plan: RefreshPlan, now: Timestamp) -> Vec<String> {
    let mut text = vec![
        format!(
            "Account: {} ({})",
            token.portal_id.map_or_else(|| "unknown".to_owned(), |id| id.to_string()),
            token.hub_domain.as_deref().unwrap_or("not known yet")
        ),
        format!(
            "First connected {}, last authorized by the user {}.",
            token.created_at.rfc3339(),
            token.connected_at.rfc3339()
        ),
        format!(
            "Token generation {}, received {}; the access token expires {}.",
            token.generation,
            token.obtained_at.rfc3339(),
            token.expires_at.rfc3339()
        ),
        token.scopes.as_ref().map_or_else(
            || "HubSpot has not named the granted scopes yet.".to_owned(),
            |scopes| format!("Granted: {scopes}."),
        ),
    ];
    let missing = token.missing_scopes();
    if !missing.is_empty() {
        text.push(format!("Requested but not granted: {missing}."));
    }
    text.push(status(token, now));
    if let (Some(error), Some(since)) = (&token.last_error, token.error_since) {
        text.push(format!("The last refresh failed with `{error}`; failing since {}.", since.rfc3339()));
    }
    if let Some(run_at) = plan.run_at {
        text.push(format!(
            "The next refresh is scheduled for {} after {} failed attempt(s).",
            run_at.rfc3339(),
            plan.attempts
        ));
    }
    if plan.lease_until.is_some_and(|until| until > now) {
        text.push("A process is refreshing it right now.".to_owned());
    }
    text
}

fn status(token: &Token, now: Timestamp) -> String {
    let error = token.last_error.as_deref().and_then(|code| code.parse().ok());
    match token.status_at(now) {
        ConnectionStatus::Active => "It is active: it is refreshed before it expires.".to_owned(),
        ConnectionStatus::Degraded => "It is degraded: the access token has expired and no refresh has succeeded yet.".to_owned(),
        ConnectionStatus::NeedsReauth if error == Some(FailureCode::KeyLost) => {
            "The user must reconnect: the encryption key of its tokens is lost. It is not refreshed until then.".to_owned()
        }
        ConnectionStatus::NeedsReauth => "The user must reconnect: HubSpot has rejected the refresh token twice. It is not refreshed until then.".to_owned(),
        status @ ConnectionStatus::IntegrityError => format!("Its status is {status}: the stored tokens are damaged. No access token is available; the user must reconnect."),
    }
}
