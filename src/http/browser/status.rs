//! GET /api/hubspot/status.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use actix_session::Session;
use actix_web::http::header::ETAG;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::authorization::{authorization_status, verifier};
use super::caller::Caller;
use super::connection_body::{Entry, Fields};
use super::long_poll::{known_tag, unchanged_for_now, wait};
use crate::domain::clock::Timestamp;
use crate::domain::external::ExternalUserId;
use crate::domain::id::UserId;
use crate::domain::secret::Secret;
use crate::http::Web;
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::http::request::cors::READ_TOKEN;
use crate::http::request::query::ApiQuery;
use crate::services::{Connection, Reader};

/// The longest wait: a longer one would exceed the timeouts of proxies in between.
const MAX_WAIT: Duration = Duration::from_secs(25);

/// `GET /api/hubspot/status?wait=SECONDS`: the connections of this browser's session or of the user of a read token,
/// or with a verifier the authorization request that the page started. With `wait` and the ETag of the last response,
/// it responds as soon as something has changed.
#[utoipa::path(
    get, path = "/api/hubspot/status", tag = "page",
    summary = "Returns the connections of a session or of a user, or the status of an authorization request",
    params(
        ("wait" = Option<i64>, Query, minimum = 0, description = "The number of seconds for which the response may wait for a change since the ETag in `If-None-Match`; at most 25.", example = 20),
        ("flow" = Option<Uuid>, Query, description = "The authorization request, if the page knows its id. Only together with a verifier."),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the last response."),
        ("Hubspot-Connect-Verifier" = Option<String>, Header, pattern = "^[A-Za-z0-9._~-]{43,128}$", description = "The secret of the page that started the authorization request; the response then describes that request."),
        ("Hubspot-Connect-Read-Token" = Option<String>, Header, description = "A token that the host's backend has created for one of its users, whose connections are then returned. A verifier takes precedence."),
    ),
    security((), ("session" = []), ("read_token" = []), ("verifier" = [])),
    responses(
        (status = 200, description = "The connections of the read token's user or of the browser's session; with a verifier, the authorization request.",
            body = StatusAnswer, headers(("ETag" = String, description = "The ETag of this response."))),
        (status = 304, description = "Nothing has changed. Without a session, or when too many requests are already waiting, the response is sent immediately.", headers(
            ("ETag" = String, description = "The same ETag as before."),
            ("Retry-After" = Option<i64>, description = "The number of seconds to wait before the next request, if this response did not wait."),
        )),
        (status = 400, description = "`bad_request`: a parameter is unknown, repeated or invalid. `bad_challenge`: the verifier is invalid."),
        (status = 401, description = "`read_token_invalid`"),
        (status = 404, description = "`flow_unknown`: no such authorization request, or another page's."),
    )
)]
pub async fn get_status(request: HttpRequest, web: Data<Web>, session: Session) -> Handled {
    let query = ApiQuery::read(&request, &["wait", "flow"])?;
    let wait = query.get("wait", "a number of seconds")?.unwrap_or(0);
    let flow: Option<String> = query.get("flow", "the id of an authorization request")?;
    let deadline = Instant::now() + Duration::from_secs(wait).min(MAX_WAIT);
    match (verifier(&request)?, read_token(&request), flow) {
        (Some(verifier), _, flow) => {
            authorization_status(&request, &web, &verifier, flow.as_deref(), deadline).await
        }
        (None, _, Some(_)) => Err(Problem::new(ProblemCode::FlowUnknown)),
        (None, Some(token), None) => {
            let reader = web.services.connections.read_tokens.reader(&token).await?;
            let reader = reader.ok_or(ProblemCode::ReadTokenInvalid)?;
            user_status(&request, &web, Some(reader.into()), deadline).await
        }
        (None, None, None) => {
            user_status(&request, &web, Caller::of(&session).map(Viewer::from), deadline).await
        }
    }
}

fn read_token(request: &HttpRequest) -> Option<Secret> {
    let token = request.headers().get(READ_TOKEN)?.to_str().unwrap_or_default();
    Some(Secret::new(token.to_owned()))
}

/// The holder of a browser session or of a read token, who may see the connections of a user.
struct Viewer {
    user: Option<UserId>,
    /// The host's id of the user of a read token.
    external_user: Option<ExternalUserId>,
    /// The time at which the session or the token ends.
    ends_at: Timestamp,
}

impl From<Caller> for Viewer {
    fn from(caller: Caller) -> Self {
        Self { user: Some(caller.user), external_user: None, ends_at: caller.ends_at }
    }
}

impl From<Reader> for Viewer {
    fn from(reader: Reader) -> Self {
        let Reader { external_user, user, expires_at } = reader;
        Self { user, external_user: Some(external_user), ends_at: expires_at }
    }
}

async fn user_status(request: &HttpRequest, web: &Web, viewer: Option<Viewer>, deadline: Instant) -> Handled {
    let known = known_tag(request);
    let user = viewer.as_ref().and_then(|viewer| viewer.user);
    // An action in another tab may have extended the session: the next request checks whether it has ended.
    let ends_at = viewer.as_ref().map(|viewer| viewer.ends_at.since(web.services.platform.clock.now()));
    let deadline = ends_at.map_or(deadline, |left| deadline.min(Instant::now() + left));
    let mut subscription =
        known.and(user).and_then(|user| web.services.platform.notifier.subscribe_to_user(user));
    loop {
        let now = web.services.platform.clock.now();
        let connections = match user {
            Some(user) => web.services.connections.list.connections(user).await?,
            None => Default::default(),
        };
        let tag = etag(viewer.as_ref(), &connections, now);
        if known != Some(tag.as_str()) {
            let body = Body::of(viewer.as_ref(), &connections, now);
            return Ok(HttpResponse::Ok().insert_header((ETAG, tag)).json(body));
        }
        if Instant::now() >= deadline || web.services.is_stopping() {
            return Ok(HttpResponse::NotModified().insert_header((ETAG, tag)).finish());
        }
        // A request without a user does not get one by waiting.
        let Some(subscription) = &mut subscription else { return Ok(unchanged_for_now(tag)) };
        if !wait(request, subscription, deadline.min(next_expiry(&connections, now))).await {
            return Ok(unchanged_for_now(tag));
        }
    }
}

/// Returns when the response changes without any event: at the expiry of an access token that is not refreshed.
fn next_expiry(connections: &[Connection], now: Timestamp) -> Instant {
    let ends = connections.iter().map(|connection| connection.token.expires_at).filter(|end| *end > now);
    Instant::now() + ends.min().map_or(MAX_WAIT, |end| end.since(now))
}

/// The status of a session or of an authorization request.
#[derive(ToSchema)]
#[schema(as = Status)]
#[expect(dead_code, reason = "the two answers are written by two functions; here they stand side by side")]
#[serde(untagged)]
pub enum StatusAnswer<'a> {
    /// A session.
    Session(Body<'a>),
    /// An authorization request.
    AuthRequest(super::authorization::AuthRequestBody<'a>),
}

/// The connections of a session. Only the fields listed here are sent.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionStatus)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "there is one, for as long as it is written out")]
pub enum Body<'a> {
    /// At least one connection exists.
    Connected(Connected<'a>),
    /// No connection exists, or no session.
    NoConnection(NoConnection),
}

/// The connections of a session.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionConnected)]
pub struct Connected<'a> {
    /// Always true.
    authenticated: bool,
    #[serde(flatten)]
    viewer: ViewerBody<'a>,
    /// The status of the newest connection, since most users have only one.
    #[serde(flatten)]
    newest: Fields<'a>,
    /// The connections, the newest first.
    connections: Vec<Entry<'a>>,
}

/// The owner of the connections.
#[derive(Serialize, ToSchema)]
#[schema(as = StatusHolder)]
#[serde(untagged)]
pub enum ViewerBody<'a> {
    /// The user of a browser session.
    Session {
        /// The owner of the session.
        #[schema(value_type = String, format = Uuid)]
        user_id: Option<UserId>,
        /// The time at which the session ends if the user does nothing. Polling this endpoint does not extend it.
        #[schema(format = DateTime, example = "2026-11-21T09:30:00Z")]
        session_expires_at: String,
    },
    /// The user of a read token.
    ReadToken {
        /// The host's id of the user.
        #[schema(value_type = String)]
        external_user_id: &'a ExternalUserId,
        /// The expiry time of the read token.
        #[schema(format = DateTime, example = "2026-11-21T10:00:00Z")]
        read_token_expires_at: String,
    },
}

/// The response for a caller without connections.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionNobody)]
pub struct NoConnection {
    /// Always false.
    authenticated: bool,
    /// Always empty.
    #[schema(value_type = Vec<String>, max_items = 0)]
    connections: [(); 0],
}

impl<'a> Body<'a> {
    fn of(viewer: Option<&'a Viewer>, connections: &'a [Connection], now: Timestamp) -> Self {
        let (Some(viewer), Some(newest)) = (viewer, connections.first()) else {
            return Self::NoConnection(NoConnection { authenticated: false, connections: [] });
        };
        let ends_at = viewer.ends_at.rfc3339();
        let body = match &viewer.external_user {
            None => ViewerBody::Session { user_id: viewer.user, session_expires_at: ends_at },
            Some(external_user_id) => {
                ViewerBody::ReadToken { external_user_id, read_token_expires_at: ends_at }
            }
        };
        Self::Connected(Connected {
            authenticated: true,
            viewer: body,
            newest: Entry::of(newest, now).fields,
            connections: connections.iter().map(|one| Entry::of(one, now)).collect(),
        })
    }
}

/// Returns a hash of the response, with the time of the next refresh in place of the seconds until then.
fn etag(viewer: Option<&Viewer>, connections: &[Connection], now: Timestamp) -> String {
    let mut hasher = DefaultHasher::new();
    if !connections.is_empty() {
        viewer.map(|viewer| viewer.ends_at).hash(&mut hasher);
    }
    for Connection { token, refresh_at } in connections {
        (token.user_id, token.id, token.status_at(now), token.portal_id, refresh_at).hash(&mut hasher);
        (&token.hub_domain, &token.time_zone, &token.scopes, &token.wanted_scopes).hash(&mut hasher);
        (token.expires_at, token.connected_at).hash(&mut hasher);
    }
    format!("\"{:016x}\"", hasher.finish())
}
