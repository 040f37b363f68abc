//! Classifies responses of HubSpot: where the fault is, and the stable code of the failure.

use oauth2::RequestTokenError;
use thiserror::Error;

use super::wire::ErrorBody;
use crate::domain::failure::{Failure, FailureCode};

/// The kind of request: the same refusal means something else for a code than for a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Exchange,
    Refresh,
    Other,
}

/// A call without a response that the OAuth client could parse.
#[derive(Debug, Error)]
#[error("no usable response: {}", .0.code)]
pub(super) struct NoAnswer(pub Failure);

/// Returns the failure of a token request. The parse error is never printed: it contains the whole body, tokens
/// included.
pub(super) fn failure(why: RequestTokenError<NoAnswer, ErrorBody>, asked: Asked) -> Failure {
    match why {
        RequestTokenError::Request(NoAnswer(failure)) => failure,
        RequestTokenError::ServerResponse(body) => refused(&body, asked),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            Failure::uncertain(FailureCode::ProviderBadResponse)
        }
    }
}

/// Returns the failure for a refusal with this body, from an endpoint other than the token endpoint.
pub(super) fn refused_body(body: &[u8], asked: Asked) -> Failure {
    serde_json::from_slice(body).map_or_else(
        |_| Failure::our_fault(FailureCode::ProviderRefused),
        |body: ErrorBody| refused(&body, asked),
    )
}

/// Classifies a refusal by `error` (RFC 6749 section 5.2) or HubSpot's own `status`, whichever is there. An unknown
/// refusal counts as our fault, because that harms no connection.
fn refused(body: &ErrorBody, asked: Asked) -> Failure {
    let error = body.error.as_deref().unwrap_or_default();
    match body.status.as_deref().unwrap_or_default() {
        "MISMATCH_REDIRECT_URI_AUTH_CODE" | "BAD_REDIRECT_URI" => {
            return Failure::our_fault(FailureCode::RedirectUriMismatch);
        }
        "MISMATCH_REFRESH_TOKEN_CLIENT" => return Failure::our_fault(FailureCode::GrantOfAnotherApp),
        "BAD_CLIENT_ID" | "BAD_CLIENT_SECRET" => return Failure::our_fault(FailureCode::ClientRejected),
        "BAD_REFRESH_TOKEN" | "BAD_HUB" => return dead(asked),
        "BAD_AUTH_CODE" | "EXPIRED_AUTH_CODE" | "BAD_CODE_VERIFIER" => {
            return Failure::invalid_grant(FailureCode::CodeRejected);
        }
        _ => {}
    }
    match error {
        "invalid_grant" => dead(asked),
        "invalid_client" | "unauthorized_client" => Failure::our_fault(FailureCode::ClientRejected),
        _ => Failure::our_fault(FailureCode::ProviderRefused),
    }
}

fn dead(asked: Asked) -> Failure {
    Failure::invalid_grant(match asked {
        Asked::Exchange => FailureCode::CodeRejected,
        Asked::Refresh | Asked::Other => FailureCode::GrantDead,
    })
}

/// Returns the failure of a call without a response.
pub(super) fn unanswered(why: &reqwest::Error) -> Failure {
    match (why.is_timeout(), why.is_connect()) {
        (true, true) => Failure::transient(FailureCode::ProviderTimeout),
        (true, false) => Failure::uncertain(FailureCode::ProviderTimeout),
        (false, true) => Failure::transient(FailureCode::ProviderUnreachable),
        (false, false) if why.is_body() || why.is_decode() => {
            Failure::uncertain(FailureCode::ProviderBadResponse)
        }
        (false, false) => Failure::uncertain(FailureCode::ProviderUnreachable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureClass;

    #[test]
    fn unknown_refusals_change_no_connection() {
        for body in [
            r#"{"error":"invalid_client"}"#,
            r#"{"status":"BAD_CLIENT_SECRET"}"#,
            r#"{"status":"MISMATCH_REFRESH_TOKEN_CLIENT","error":"invalid_grant"}"#,
            r#"{"error":"something_new"}"#,
            r#"{"status":"WHATEVER"}"#,
            "{}",
            "[]",
            "not json",
        ] {
            let failure = refused_body(body.as_bytes(), Asked::Refresh);
            assert_eq!(failure.class, FailureClass::OurFault, "{body}");
        }
    }
}
