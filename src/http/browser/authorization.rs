//! The status of an authorization request, for the page that started it: /api/hubspot/status with a verifier,
//! /api/hubspot/token and /api/hubspot/cancel. They use no cookies, so they work on pages of any site.

use std::hash::{DefaultHasher, Hash, Hasher};

use actix_web::http::header::{ETAG, ORIGIN};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::connection_body::Entry;
use super::long_poll::{known_tag, unchanged_for_now, wait};
use crate::domain::auth_request::AuthorizationStatus;
use crate::domain::clock::Timestamp;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId};
use crate::domain::secret::Secret;
use crate::http::Web;
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::http::request::body::ApiJson;
use crate::http::request::cors::VERIFIER;
use crate::services::{AuthRequestView, Outcome, Subscription};

/// Returns the verifier of a request, if it has one.
pub fn verifier(request: &HttpRequest) -> Result<Option<Secret>, Problem> {
    let Some(text) = request.headers().get(VERIFIER) else { return Ok(None) };
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    match text.to_str() {
        Ok(text) if (43..=128).contains(&text.len()) && text.bytes().all(unreserved) => {
            Ok(Some(Secret::new(text.to_owned())))
        }
        _ => Err(Problem::new(ProblemCode::BadChallenge)),
    }
}

/// Responds with the authorization request of this verifier, at once or as soon as it has changed.
pub async fn authorization_status(
    request: &HttpRequest,
    web: &Web,
    verifier: &Secret,
    named: Option<&str>,
    deadline: Instant,
) -> Handled {
    let find = async || -> Result<AuthRequestView, Problem> {
        // Another flow's id, an unknown id and a wrong verifier are indistinguishable to the caller.
        let named = named.map(str::parse).transpose().map_err(|_| ProblemCode::FlowUnknown)?;
        let found = web.services.connect.statuses.find(verifier, named).await?;
        found.ok_or(Problem::new(ProblemCode::FlowUnknown))
    };
    let mut authorization = find().await?;
    if known_tag(request) == Some(tag(&authorization, web.services.platform.clock.now()).as_str()) {
        let mut subscription = subscribe(web, &authorization);
        loop {
            authorization = find().await?;
            let now = web.services.platform.clock.now();
            let tag = tag(&authorization, now);
            if known_tag(request) != Some(tag.as_str()) {
                break;
            }
            if Instant::now() >= deadline || web.services.is_stopping() {
                return Ok(HttpResponse::NotModified().insert_header((ETAG, tag)).finish());
            }
            let Some(subscription) = subscription.as_mut() else { return Ok(unchanged_for_now(tag)) };
            let left = authorization.changes_at.since(now);
            // A time in the past brings no further change.
            let until = if left.is_zero() { deadline } else { deadline.min(Instant::now() + left) };
            if !wait(request, subscription, until).await {
                return Ok(unchanged_for_now(tag));
            }
        }
    }
    let body = body(&authorization, web.services.platform.clock.now());
    let tag = tag(&authorization, web.services.platform.clock.now());
    Ok(HttpResponse::Ok().insert_header((ETAG, tag)).json(body))
}

/// Subscribes to the flow until there is an outcome, and to the user's connections after that.
fn subscribe(web: &Web, authorization: &AuthRequestView) -> Option<Subscription> {
    match &authorization.outcome {
        Some(Outcome::Connected(connection)) => {
            web.services.platform.notifier.subscribe_to_user(connection.token.user_id)
        }
        _ => web.services.platform.notifier.subscribe_to_flow(authorization.flow),
    }
}

/// A pickup code and its authorization request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Redeem {
    /// The authorization request.
    #[schema(value_type = String, format = Uuid)]
    flow: FlowId,
    /// The pickup code from the message or from the status. It is valid for one minute.
    pickup_code: String,
}

/// An access token for a page.
#[derive(Serialize, ToSchema)]
struct AccessTokenAnswer<'a> {
    /// The access token for HubSpot's API, sent as `Authorization: Bearer …`. Handed off once.
    #[schema(example = "<access token>")]
    access_token: &'a str,
    /// Always `bearer` (RFC 6750).
    #[schema(pattern = "^bearer$")]
    token_type: &'static str,
    /// The expiry time of the token.
    #[schema(format = DateTime, example = "2026-11-21T09:30:00Z")]
    expires_at: String,
}

/// `POST /api/hubspot/token`: returns the access token of an authorization request, once, for a pickup code from its
/// message or its status.
#[utoipa::path(
    post, path = "/api/hubspot/token", tag = "page",
    summary = "Redeems a pickup code for the access token",
    request_body = Redeem,
    params(("Hubspot-Connect-Verifier" = String, Header, pattern = "^[A-Za-z0-9._~-]{43,128}$", description = "The secret of the page that started the authorization request.")),
    security(("verifier" = [])),
    responses(
        (status = 200, description = "The access token. It is returned only once.", body = AccessTokenAnswer),
        (status = 400, description = "`bad_challenge`: the verifier is missing or invalid."),
        (status = 403, description = "`pickup_code_rejected`: the pickup code belongs to another authorization request or origin, or is older than a minute."),
        (status = 404, description = "`flow_unknown`: no such authorization request, or another page's."),
        (status = 410, description = "`already_delivered`: the access token was already handed off."),
    )
)]
pub async fn redeem_pickup_code(request: HttpRequest, web: Data<Web>, body: ApiJson<Redeem>) -> Handled {
    let verifier = verifier(&request)?.ok_or(ProblemCode::BadChallenge)?;
    let origin = request.headers().get(ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default();
    let access =
        web.services.connect.statuses.redeem(body.0.flow, &body.0.pickup_code, &verifier, origin).await?;
    Ok(HttpResponse::Ok().json(AccessTokenAnswer {
        // The page has asked for the token, with a pickup code and its own secret.
        access_token: access.token.expose(),
        token_type: "bearer",
        expires_at: access.expires_at.rfc3339(),
    }))
}

/// The authorization request to cancel; the page's own, if the page does not know the id yet.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// The authorization request; if omitted, the one of the verifier.
    #[schema(value_type = Option<String>, format = Uuid)]
    flow: Option<FlowId>,
}

/// `POST /api/hubspot/cancel`: cancels an authorization request and returns its status. HubSpot may have answered
/// first.
#[utoipa::path(
    post, path = "/api/hubspot/cancel", tag = "page",
    summary = "Cancels an authorization request",
    request_body = Cancel,
    params(("Hubspot-Connect-Verifier" = String, Header, pattern = "^[A-Za-z0-9._~-]{43,128}$", description = "The secret of the page that started the authorization request.")),
    security(("verifier" = [])),
    responses(
        (status = 200, description = "The status of the authorization request: it may have finished before it could be cancelled.", body = AuthRequestBody),
        (status = 400, description = "`bad_challenge`: the verifier is missing or invalid."),
        (status = 404, description = "`flow_unknown`: no such authorization request, or another page's."),
    )
)]
pub async fn cancel_authorization_request(
    request: HttpRequest,
    web: Data<Web>,
    body: ApiJson<Cancel>,
) -> Handled {
    let verifier = verifier(&request)?.ok_or(ProblemCode::BadChallenge)?;
    let authorization = web.services.connect.statuses.cancel(body.0.flow, &verifier).await?;
    let authorization = authorization.ok_or(ProblemCode::FlowUnknown)?;
    Ok(HttpResponse::Ok().json(self::body(&authorization, web.services.platform.clock.now())))
}

/// An authorization request. Only the fields listed here are sent.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthorizationRequest)]
pub struct AuthRequestBody<'a> {
    /// The authorization request.
    #[schema(value_type = String, format = Uuid)]
    flow: FlowId,
    /// The status. The last four values are final.
    status: AuthorizationStatus,
    /// The time at which the authorization request expires.
    #[schema(format = DateTime, example = "2026-11-21T09:10:00Z")]
    expires_at: String,
    /// Whether the host's backend has to confirm the connection.
    awaiting_confirmation: bool,
    /// The connect session that the host's backend has to confirm. Present while `awaiting_confirmation` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid, nullable = false)]
    connect_session_id: Option<ConnectSessionId>,
    /// The connection that this session reconnects. Present while `awaiting_confirmation` is true, if the session was
    /// created for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid, nullable = false)]
    connection_id: Option<ConnectionId>,
    /// Whether the outcome is withheld from the page, because the opener was not verified.
    withheld: bool,
    /// The connection. Present once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    connection: Option<Entry<'a>>,
    /// The reason for the failure. Present if the authorization request ended without a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<AuthRequestError>,
    /// The code that `/api/hubspot/token` exchanges for the access token. Present for pages that may have the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pickup_code: Option<&'a str>,
}

/// The reason for a failed authorization request.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthorizationRequestError)]
struct AuthRequestError {
    code: ProblemCode,
    /// A sentence for the user.
    message: &'static str,
    /// Whether a later attempt may succeed.
    retryable: bool,
}

fn body(authorization: &AuthRequestView, now: Timestamp) -> AuthRequestBody<'_> {
    let (connection, error) = match &authorization.outcome {
        Some(Outcome::Connected(found)) => (Some(Entry::of(found, now)), None),
        Some(Outcome::Failed { code }) => {
            let entry = ProblemCode::from(*code).entry();
            let (code, message, retryable) = (entry.code, entry.detail, entry.retryable);
            (None, Some(AuthRequestError { code, message, retryable }))
        }
        Some(Outcome::Pending { .. }) | None => (None, None),
    };
    let awaited = authorization.awaiting_confirmation.as_ref();
    AuthRequestBody {
        flow: authorization.flow,
        status: authorization.status,
        expires_at: authorization.expires_at.rfc3339(),
        awaiting_confirmation: awaited.is_some(),
        connect_session_id: awaited.map(|session| session.id),
        connection_id: awaited.and_then(|session| session.connection),
        withheld: authorization.withheld,
        connection,
        error,
        pickup_code: authorization.pickup_code.as_deref(),
    }
}

/// Returns a hash of the response, except for the pickup code, which is a new one each time.
fn tag(authorization: &AuthRequestView, now: Timestamp) -> String {
    let mut hasher = DefaultHasher::new();
    (authorization.flow, authorization.status, authorization.pickup_code.is_some(), authorization.withheld)
        .hash(&mut hasher);
    authorization.awaiting_confirmation.is_some().hash(&mut hasher);
    if let Some(Outcome::Connected(connection)) = &authorization.outcome {
        let token = &connection.token;
        (token.id, token.portal_id, &token.hub_domain, &token.time_zone).hash(&mut hasher);
        (token.status_at(now), token.expires_at, &token.scopes, &token.wanted_scopes).hash(&mut hasher);
    }
    format!("\"{:016x}\"", hasher.finish())
}
