//! GET /api/hubspot/status.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use actix_session::Session;
use actix_web::http::header::{ETAG, IF_NONE_MATCH};
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Web;
use super::attempt::{attempt_status, verifier};
use super::caller::Caller;
use super::problem::Problem;
use crate::domain::clock::Moment;
use crate::domain::id::{ConnectionId, PortalId, UserId};
use crate::domain::scopes::Scopes;
use crate::flows::Connection;

/// A longer wait would outlast proxies on the way.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

/// How long the answer may wait for a change, and of which attempt it is asked.
#[derive(Debug, Deserialize)]
pub(super) struct Ask {
    wait: Option<u64>,
    flow: Option<String>,
}

/// `GET /api/hubspot/status?wait=SECONDS`: the connections of this browser's session, or with a verifier the attempt
/// that the page has begun. With `wait` and the ETag of the last answer, it answers as soon as something has changed.
pub(super) async fn get_status(
    request: HttpRequest,
    web: Data<Web>,
    session: Session,
    ask: Query<Ask>,
) -> Result<HttpResponse, Problem> {
    let deadline = Instant::now() + Duration::from_secs(ask.wait.unwrap_or(0)).min(LONGEST_WAIT);
    match (verifier(&request)?, ask.flow.as_deref()) {
        (Some(verifier), flow) => attempt_status(&request, &web, &verifier, flow, deadline).await,
        (None, Some(_)) => Err(Problem::new("flow_unknown")),
        (None, None) => session_status(&request, &web, &session, deadline).await,
    }
}

async fn session_status(
    request: &HttpRequest,
    web: &Web,
    session: &Session,
    deadline: Instant,
) -> Result<HttpResponse, Problem> {
    let known = known_tag(request);
    let caller = Caller::of(session);
    let mut wakes = known.and(caller.as_ref()).map(|caller| web.flows.user_wakes(caller.user));
    loop {
        let now = web.flows.clock().now();
        let connections = match &caller {
            Some(caller) => web.flows.connections(caller.user).await?,
            None => Default::default(),
        };
        let tag = etag(&connections, now);
        if known != Some(tag.as_str()) {
            let body = Body::of(caller.as_ref(), &connections, now);
            return Ok(HttpResponse::Ok().insert_header((ETAG, tag)).json(body));
        }
        if Instant::now() >= deadline || web.flows.is_stopping() {
            return Ok(HttpResponse::NotModified().insert_header((ETAG, tag)).finish());
        }
        match &mut wakes {
            Some(wakes) => wakes.next(deadline.min(next_expiry(&connections, now))).await,
            // Who has no session gets none by waiting.
            None => tokio::time::sleep_until(deadline).await,
        }
    }
}

/// The ETag of the last answer, as the caller shows it.
pub(super) fn known_tag(request: &HttpRequest) -> Option<&str> {
    request.headers().get(IF_NONE_MATCH).and_then(|tag| tag.to_str().ok())
}

/// When the passing of time alone changes the answer: an access token that is not refreshed expires.
fn next_expiry(connections: &[Connection], now: Moment) -> Instant {
    let ends = connections.iter().map(|connection| connection.token.expires_at).filter(|end| *end > now);
    Instant::now() + ends.min().map_or(LONGEST_WAIT, |end| end.since(now))
}

/// The answer. Its fields are written out one by one: what is not named here does not leave.
#[derive(Serialize)]
struct Body<'a> {
    authenticated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
    /// The newest connection's, for the many who have one.
    #[serde(flatten)]
    newest: Option<Fields<'a>>,
    connections: Vec<Entry<'a>>,
}

#[derive(Serialize)]
pub(super) struct Entry<'a> {
    id: ConnectionId,
    #[serde(flatten)]
    fields: Fields<'a>,
}

#[derive(Serialize, Clone)]
struct Fields<'a> {
    portal_id: Option<PortalId>,
    hub_domain: Option<&'a str>,
    time_zone: Option<&'a str>,
    state: &'static str,
    state_sentence: &'static str,
    scopes: &'a Scopes,
    missing_scopes: Scopes,
    expires_at: String,
    connected_at: String,
    seconds_until_refresh: Option<i64>,
}

impl<'a> Body<'a> {
    fn of(caller: Option<&Caller>, connections: &'a [Connection], now: Moment) -> Self {
        let connections: Vec<_> = connections.iter().map(|one| Entry::of(one, now)).collect();
        let newest = connections.first().map(|entry| entry.fields.clone());
        let user_id = caller.filter(|_| newest.is_some()).map(|caller| caller.user);
        Self { authenticated: newest.is_some(), user_id, newest, connections }
    }
}

impl<'a> Entry<'a> {
    /// One connection as it is now.
    pub fn of(connection: &'a Connection, now: Moment) -> Self {
        let token = &connection.token;
        let fields = Fields {
            portal_id: token.portal_id,
            hub_domain: token.hub_domain.as_deref(),
            time_zone: token.time_zone.as_deref(),
            state: token.public_state(now),
            state_sentence: sentence(token.public_state(now)),
            scopes: &token.scopes,
            missing_scopes: token.wanted_scopes.missing_from(&token.scopes),
            expires_at: token.expires_at.rfc3339(),
            connected_at: token.connected_at.rfc3339(),
            seconds_until_refresh: connection.refresh_at.map(|at| seconds_until(at, now)),
        };
        Self { id: token.id, fields }
    }
}

/// What a person is told of a state.
fn sentence(state: &str) -> &'static str {
    match state {
        "active" => "Access is renewed by itself, always before it expires.",
        "degraded" => "HubSpot could not be reached in time. We keep trying; nothing is lost.",
        "needs_reauth" => "HubSpot has ended this access. Reconnect to go on.",
        _ => "What is stored for this account cannot be trusted. Reconnect to go on.",
    }
}

/// Seconds until a moment, rounded up; zero once it is there.
fn seconds_until(at: Moment, now: Moment) -> i64 {
    i64::try_from(at.since(now).as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

/// Stands for all that the answer says, but for the seconds that pass: the moment of the next refresh in their place.
fn etag(connections: &[Connection], now: Moment) -> String {
    let mut hasher = DefaultHasher::new();
    for Connection { token, refresh_at } in connections {
        (token.user_id, token.id, token.public_state(now), token.portal_id, refresh_at).hash(&mut hasher);
        (&token.hub_domain, &token.time_zone, &token.scopes, &token.wanted_scopes).hash(&mut hasher);
        (token.expires_at, token.connected_at).hash(&mut hasher);
    }
    format!("\"{:016x}\"", hasher.finish())
}
