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

use super::authorization::{attempt_status, verifier};
use super::caller::Caller;
use super::connection_body::{Entry, Fields};
use super::long_poll::{known_tag, unchanged_for_now, wait};
use crate::domain::clock::Moment;
use crate::domain::id::UserId;
use crate::http::Web;
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::http::request::query::ApiQuery;
use crate::services::Connection;

/// A longer wait would outlast proxies on the way.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

/// `GET /api/hubspot/status?wait=SECONDS`: the connections of this browser's session, or with a verifier the attempt
/// that the page has begun. With `wait` and the ETag of the last answer, it answers as soon as something has changed.
#[utoipa::path(
    get, path = "/api/hubspot/status", tag = "page",
    summary = "Connections of a session, or how an attempt fares",
    params(
        ("wait" = Option<i64>, Query, minimum = 0, description = "How many seconds the answer may wait for a change since the ETag in `If-None-Match`; more than 25 is taken for 25.", example = 20),
        ("flow" = Option<Uuid>, Query, description = "The attempt that is meant, where the page knows its id. Only beside a verifier."),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the last answer."),
        ("Hubspot-Connect-Verifier" = Option<String>, Header, pattern = "^[A-Za-z0-9._~-]{43,128}$", description = "The secret of the page that has begun the attempt, which is then what is told."),
    ),
    security((), ("session" = []), ("verifier" = [])),
    responses(
        (status = 200, description = "Without a verifier the connections of the browser's session, with one the attempt.",
            body = StatusAnswer, headers(("ETag" = String, description = "Stands for this answer."))),
        (status = 304, description = "Nothing has changed. Without a session, or with too many requests that wait already, the answer comes at once.", headers(
            ("ETag" = String, description = "The same as before."),
            ("Retry-After" = Option<i64>, description = "After how many seconds to ask again, where the answer has not waited."),
        )),
        (status = 400, description = "`bad_request`: a parameter is unknown, given twice, or has no such value. `bad_challenge`: the verifier is none."),
        (status = 404, description = "`flow_unknown`: no such attempt, or not this page's."),
    )
)]
pub async fn get_status(request: HttpRequest, web: Data<Web>, session: Session) -> Handled {
    let query = ApiQuery::read(&request, &["wait", "flow"])?;
    let wait = query.get("wait", "a number of seconds")?.unwrap_or(0);
    let flow: Option<String> = query.get("flow", "the id of an attempt")?;
    let deadline = Instant::now() + Duration::from_secs(wait).min(LONGEST_WAIT);
    match (verifier(&request)?, flow) {
        (Some(verifier), flow) => attempt_status(&request, &web, &verifier, flow.as_deref(), deadline).await,
        (None, Some(_)) => Err(Problem::new(ProblemCode::FlowUnknown)),
        (None, None) => session_status(&request, &web, &session, deadline).await,
    }
}

async fn session_status(request: &HttpRequest, web: &Web, session: &Session, deadline: Instant) -> Handled {
    let known = known_tag(request);
    let caller = Caller::of(session);
    // An action in another tab may have moved the end: the next request sees whether it has come.
    let ends_at = caller.as_ref().map(|caller| caller.ends_at.since(web.services.platform.clock.now()));
    let deadline = ends_at.map_or(deadline, |left| deadline.min(Instant::now() + left));
    let mut wakes =
        known.and(caller.as_ref()).and_then(|caller| web.services.platform.notifier.user_wakes(caller.user));
    loop {
        let now = web.services.platform.clock.now();
        let connections = match &caller {
            Some(caller) => web.services.connections.list.connections(caller.user).await?,
            None => Default::default(),
        };
        let tag = etag(caller.as_ref(), &connections, now);
        if known != Some(tag.as_str()) {
            let body = Body::of(caller.as_ref(), &connections, now);
            return Ok(HttpResponse::Ok().insert_header((ETAG, tag)).json(body));
        }
        if Instant::now() >= deadline || web.services.is_stopping() {
            return Ok(HttpResponse::NotModified().insert_header((ETAG, tag)).finish());
        }
        // A request without a session gets none by waiting.
        let Some(wakes) = &mut wakes else { return Ok(unchanged_for_now(tag)) };
        if !wait(request, wakes, deadline.min(next_expiry(&connections, now))).await {
            return Ok(unchanged_for_now(tag));
        }
    }
}

/// When the passing of time alone changes the answer: an access token that is not refreshed expires.
fn next_expiry(connections: &[Connection], now: Moment) -> Instant {
    let ends = connections.iter().map(|connection| connection.token.expires_at).filter(|end| *end > now);
    Instant::now() + ends.min().map_or(LONGEST_WAIT, |end| end.since(now))
}

/// What a status says: of a session, or of an attempt.
#[derive(ToSchema)]
#[schema(as = Status)]
#[expect(dead_code, reason = "the two answers are written by two functions; here they stand side by side")]
#[serde(untagged)]
pub enum StatusAnswer<'a> {
    /// A session.
    Session(Body<'a>),
    /// An attempt.
    Attempt(super::authorization::AttemptAnswer<'a>),
}

/// The connections of a session. Its fields are written out one by one: what is not named here does not leave.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionStatus)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "there is one, for as long as it is written out")]
pub enum Body<'a> {
    /// There is at least one connection.
    Connected(Connected<'a>),
    /// There is none, or no session.
    Nobody(Nobody),
}

/// What a session has.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionConnected)]
pub struct Connected<'a> {
    /// True.
    authenticated: bool,
    /// Who the session belongs to.
    #[schema(value_type = String, format = Uuid)]
    user_id: UserId,
    /// When the session ends without an action of the user. Polls of this address do not move it.
    #[schema(format = DateTime, example = "2026-11-21T09:30:00Z")]
    session_expires_at: String,
    /// The newest connection's, for the many who have one.
    #[serde(flatten)]
    newest: Fields<'a>,
    /// The newest first.
    connections: Vec<Entry<'a>>,
}

/// What nobody has.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionNobody)]
pub struct Nobody {
    /// False.
    authenticated: bool,
    /// None.
    #[schema(value_type = Vec<String>, max_items = 0)]
    connections: [(); 0],
}

impl<'a> Body<'a> {
    fn of(caller: Option<&Caller>, connections: &'a [Connection], now: Moment) -> Self {
        let (Some(caller), Some(newest)) = (caller, connections.first()) else {
            return Self::Nobody(Nobody { authenticated: false, connections: [] });
        };
        Self::Connected(Connected {
            authenticated: true,
            user_id: caller.user,
            session_expires_at: caller.ends_at.rfc3339(),
            newest: Entry::of(newest, now).fields,
            connections: connections.iter().map(|one| Entry::of(one, now)).collect(),
        })
    }
}

/// Stands for all that the answer says, but for the seconds that pass: the moment of the next refresh in their place.
fn etag(caller: Option<&Caller>, connections: &[Connection], now: Moment) -> String {
    let mut hasher = DefaultHasher::new();
    if !connections.is_empty() {
        caller.map(|caller| caller.ends_at).hash(&mut hasher);
    }
    for Connection { token, refresh_at } in connections {
        (token.user_id, token.id, token.status_at(now), token.portal_id, refresh_at).hash(&mut hasher);
        (&token.hub_domain, &token.time_zone, &token.scopes, &token.wanted_scopes).hash(&mut hasher);
        (token.expires_at, token.connected_at).hash(&mut hasher);
    }
    format!("\"{:016x}\"", hasher.finish())
}
