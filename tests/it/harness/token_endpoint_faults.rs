//! All faults of HubSpot's token endpoint, and their meaning.

use fake_hubspot::Fault;
use serde_json::{Map, Value, json};

/// A text in the responses below that must not be shown to users.
pub const UPSTREAM: &str = "upstream-says-so";

/// The class of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Transient.
    Passing,
    /// HubSpot refuses the service's request or credentials.
    OurFault,
    /// This grant is revoked, or this code is invalid.
    Dead,
}

/// A fault and its meaning.
#[derive(Debug, Clone)]
pub struct TokenFault {
    pub name: String,
    pub fault: Fault,
    pub class: Class,
    pub code: &'static str,
}

/// Returns faults with the same meaning for a code and for a refresh token.
pub fn faults() -> Vec<TokenFault> {
    [lines(), statuses(), bodies(), fields(), redirects(), refusals()].concat()
}

/// Returns refusals of a code.
pub fn code_refusals() -> Vec<TokenFault> {
    let rejected = |error, status| refusal(error, status, Class::Dead, "code_rejected");
    vec![
        rejected(Some("invalid_grant"), None),
        rejected(Some("invalid_grant"), Some("BAD_AUTH_CODE")),
        rejected(Some("invalid_request"), Some("BAD_AUTH_CODE")),
        rejected(None, Some("EXPIRED_AUTH_CODE")),
        rejected(Some("invalid_grant"), Some("BAD_CODE_VERIFIER")),
        refusal(None, Some("MISMATCH_REDIRECT_URI_AUTH_CODE"), Class::OurFault, "redirect_uri_mismatch"),
        refusal(Some("invalid_request"), Some("BAD_REDIRECT_URI"), Class::OurFault, "redirect_uri_mismatch"),
    ]
}

/// Returns refusals of a refresh token: in RFC 6749's form, in HubSpot's, in both.
pub fn grant_refusals() -> Vec<TokenFault> {
    let dead = |error, status| refusal(error, status, Class::Dead, "grant_dead");
    vec![
        dead(Some("invalid_grant"), None),
        dead(None, Some("BAD_REFRESH_TOKEN")),
        dead(Some("invalid_grant"), Some("BAD_REFRESH_TOKEN")),
        dead(Some("access_denied"), Some("BAD_HUB")),
    ]
}

fn case(name: impl Into<String>, fault: Fault, class: Class, code: &'static str) -> TokenFault {
    TokenFault { name: name.into(), fault, class, code }
}

fn passing(name: impl Into<String>, fault: Fault, code: &'static str) -> TokenFault {
    case(name, fault, Class::Passing, code)
}

/// Returns failures of the connection.
pub fn lines() -> Vec<TokenFault> {
    vec![
        passing("hangs up at once", Fault::CloseBeforeAnswer, "provider_unreachable"),
        passing("issues and resets", Fault::ResetAfterIssue, "provider_unreachable"),
        passing("only a head", Fault::CloseAfterHeaders, "provider_bad_response"),
        passing("half a body", Fault::HalfBody, "provider_bad_response"),
        passing("a bad chunk", Fault::BadChunk, "provider_bad_response"),
        passing("endless", Fault::Endless, "provider_bad_response"),
        passing("50 MB", Fault::Large(50 << 20), "provider_bad_response"),
        passing("compressed", Fault::Gzip, "provider_bad_response"),
    ]
}

/// Returns error statuses.
pub fn statuses() -> Vec<TokenFault> {
    let page = format!("<html><h1>Oops</h1>{UPSTREAM}</html>");
    let answer = |status: u16| Fault::Status {
        status,
        headers: vec![("content-type".to_owned(), "text/html".to_owned())],
        body: page.clone(),
    };
    let unavailable = [408, 425, 500, 502, 503, 504, 520, 599];
    let busy = [423, 429, 477];
    let refused = [400, 401, 402, 403, 404, 405, 409, 410, 415, 418, 422, 451, 600, 999];
    let mut all: Vec<TokenFault> = Vec::new();
    all.extend(unavailable.map(|status| passing(status.to_string(), answer(status), "provider_unavailable")));
    all.extend(busy.map(|status| passing(status.to_string(), answer(status), "provider_busy")));
    all.extend(
        refused.map(|status| case(status.to_string(), answer(status), Class::OurFault, "provider_refused")),
    );
    all
}

/// Returns successes whose body is not a token response.
pub fn bodies() -> Vec<TokenFault> {
    let json = "application/json";
    let bodies = [
        ("malformed", json, "{\"access_token\":"),
        ("empty", json, ""),
        ("null", json, "null"),
        ("a list", json, "[]"),
        ("a text", json, "\"x\""),
        ("a number", json, "17"),
        ("a byte order mark", json, "\u{feff}{\"access_token\":\"a\",\"refresh_token\":\"r\"}"),
        ("something behind the end", json, "{\"access_token\":\"a\",\"refresh_token\":\"r\"} x"),
        ("a page", "text/html", "<html>upstream-says-so</html>"),
    ];
    bodies
        .map(|(name, label, body)| {
            let fault = Fault::Body { content_type: Some(label.to_owned()), body: body.to_owned() };
            passing(name, fault, "provider_bad_response")
        })
        .into()
}

/// Returns token responses with an unusable field.
pub fn fields() -> Vec<TokenFault> {
    let long = "a".repeat(8 * 1024);
    let mut all = vec![passing(
        "no access token",
        Fault::Patch { set: Map::new(), drop: vec!["access_token".to_owned()] },
        "provider_bad_response",
    )];
    for field in ["access_token", "refresh_token"] {
        for (name, value) in [
            ("of 8 kB", json!(long)),
            ("with a line end", json!("a\nb")),
            ("with a zero", json!("a\0b")),
            ("that is a number", json!(17)),
            ("that is a list", json!(["a"])),
        ] {
            all.push(passing(format!("{field} {name}"), patch(field, value), "provider_bad_response"));
        }
    }
    all.push(passing("an empty access token", patch("access_token", json!("")), "provider_bad_response"));
    all
}

/// Returns redirects.
pub fn redirects() -> Vec<TokenFault> {
    [301, 302, 303, 307, 308]
        .map(|status| {
            let fault = Fault::Redirect { status, location: "/oauth/2026-09/token".to_owned() };
            case(format!("redirect {status}"), fault, Class::OurFault, "provider_redirected")
        })
        .into()
}

/// Returns refusals of the service's request or credentials.
pub fn refusals() -> Vec<TokenFault> {
    let ours = |error, status, code| refusal(error, status, Class::OurFault, code);
    vec![
        ours(Some("invalid_client"), None, "client_rejected"),
        ours(Some("unauthorized_client"), None, "client_rejected"),
        ours(None, Some("BAD_CLIENT_ID"), "client_rejected"),
        ours(Some("invalid_client"), Some("BAD_CLIENT_SECRET"), "client_rejected"),
        ours(None, Some("MISMATCH_REFRESH_TOKEN_CLIENT"), "grant_of_another_app"),
        ours(Some("invalid_scope"), Some("BAD_SCOPES"), "provider_refused"),
        ours(Some("unsupported_grant_type"), Some("BAD_GRANT_TYPE"), "provider_refused"),
        ours(Some("something_new"), None, "provider_refused"),
        ours(None, Some("SOMETHING_NEW"), "provider_refused"),
    ]
}

fn refusal(
    error: Option<&str>,
    hubspot_status: Option<&str>,
    class: Class,
    code: &'static str,
) -> TokenFault {
    let name = format!("{} {}", error.unwrap_or_default(), hubspot_status.unwrap_or_default());
    let fault = Fault::Oauth {
        status: 400,
        error: error.map(str::to_owned),
        hubspot_status: hubspot_status.map(str::to_owned),
        message: UPSTREAM.to_owned(),
    };
    case(name, fault, class, code)
}

/// Returns a valid response with one changed field.
pub fn patch(field: &str, value: Value) -> Fault {
    Fault::Patch { set: Map::from_iter([(field.to_owned(), value)]), drop: Vec::new() }
}

/// Returns a valid response without a field.
pub fn lacking(field: &str) -> Fault {
    Fault::Patch { set: Map::new(), drop: vec![field.to_owned()] }
}
