//! GET /auth/hubspot/start and /auth/hubspot/callback.

use actix_session::Session;
use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use url::form_urlencoded;

use super::Web;
use super::caller::Caller;
use super::client::address;
use super::problem::Problem;
use crate::domain::auth_request::EXCHANGE_GRACE;
use crate::domain::id::FlowId;
use crate::domain::origin::Origin;
use crate::domain::secret::Secret;
use crate::flows::{Answer, FinishConnect, StartConnect, flow_of_state};

/// `GET /auth/hubspot/start?origin&hub_id`: begins a connect and sends the popup to HubSpot.
pub(super) async fn start_auth(
    request: HttpRequest,
    web: Data<Web>,
    session: Session,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["origin", "hub_id", "return_url"])?;
    navigation_only(&request)?;
    if query.get("return_url").is_some() {
        return Err(Problem::new("return_url_not_allowed"));
    }
    if !address(&request, &web).is_some_and(|address| web.starts.admit(address)) {
        return Err(Problem::new("rate_limited"));
    }
    let portal_id =
        query.get("hub_id").map(str::parse).transpose().map_err(|_| Problem::new("bad_request"))?;
    let origin = query.get("origin").map(str::to_owned);
    if origin.is_none() && was_not_asked_for(&request) {
        return Ok(confirmation(&request, &web));
    }
    let user = Caller::of(&session).map(|caller| caller.user);
    let evidence = (fetch_header(&request, "sec-fetch-site") == Some("same-origin")).then_some("same_origin");
    let started = web.flows.start(StartConnect { user, origin, portal_id, evidence }).await?;
    let now = web.flows.clock().now();
    let mut answer = HttpResponse::Found();
    for cookie in web.cookies.make_room(&request) {
        answer.cookie(cookie);
    }
    // The cookie outlives the flow, so that whoever comes too late is told so, and told so in this browser.
    let max_age = started.expires_at.since(now) + EXCHANGE_GRACE * 10;
    let cookie = web.cookies.new_cookie(started.flow, &started.binding, now, max_age);
    Ok(answer.cookie(cookie).insert_header((LOCATION, started.authorize_url.as_str())).finish())
}

/// `GET /auth/hubspot/callback?code&state`: HubSpot's redirect. Whatever came of it, the popup goes on to a clean
/// address: code and state are in no history, no log and no referrer from here on.
pub(super) async fn finish_auth(
    request: HttpRequest,
    web: Data<Web>,
    session: Session,
) -> Result<HttpResponse, Problem> {
    navigation_only(&request)?;
    match finish(&request, &web, &session).await {
        Ok(location) => Ok(see_other(&location)),
        Err(problem) => Ok(see_other(&format!("/auth/hubspot/done?problem={}#_", problem.0.code))),
    }
}

async fn finish(request: &HttpRequest, web: &Web, session: &Session) -> Result<String, Problem> {
    let query = Query::parse(request.query_string(), &["code", "state", "error", "error_description"])?;
    let state =
        query.get("state").filter(|state| is_state(state)).ok_or_else(|| match query.get("state") {
            Some(_) => Problem::new("flow_unknown"),
            None => Problem::new("callback_incomplete"),
        })?;
    let answer = match (query.get("error"), query.get("code")) {
        (Some("access_denied"), _) => Answer::Denied,
        (Some(_), _) => Answer::Error,
        (None, Some(code)) if code.len() <= 2048 => Answer::Code(Secret::new(code.to_owned())),
        _ => return Err(Problem::new("callback_incomplete")),
    };
    let state = Secret::new(state.to_owned());
    let binding = web.cookies.binding(request, flow_of_state(&state));
    let user = Caller::of(session).map(|caller| caller.user);
    let finished = web.flows.finish(FinishConnect { state, binding, user, answer }).await?;
    if let Some(user) = finished.user {
        Caller::sign_in(session, user);
    }
    Ok(done(finished.flow))
}

/// Where the popup goes when the callback could not be answered: to the outcome of its flow, if the state names one.
pub(super) fn done_without_answer(query: &str) -> String {
    let query = Query::parse(query, &["state"]).ok();
    match query.as_ref().and_then(|query| query.get("state")).filter(|state| is_state(state)) {
        Some(state) => done(flow_of_state(&Secret::new(state.to_owned()))),
        None => "/auth/hubspot/done?problem=storage_unavailable#_".to_owned(),
    }
}

/// Where a connect for this opener begins.
pub(super) fn start_url(opener: &Origin) -> String {
    let query =
        form_urlencoded::Serializer::new(String::new()).append_pair("origin", opener.as_str()).finish();
    format!("/auth/hubspot/start?{query}")
}

/// The popup's last page. The empty fragment takes the place of one that the redirect may have brought along.
fn done(flow: FlowId) -> String {
    format!("/auth/hubspot/done?flow={flow}#_")
}

fn is_state(state: &str) -> bool {
    state.len() == 43 && state.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// 303, so that nothing is ever posted again to where it leads (RFC 9700 section 4.12).
pub(super) fn see_other(location: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, location)).finish()
}

/// An image, a frame or a prefetch begins and finishes nothing.
fn navigation_only(request: &HttpRequest) -> Result<(), Problem> {
    let navigates = fetch_header(request, "sec-fetch-mode").is_none_or(|mode| mode == "navigate")
        && fetch_header(request, "sec-fetch-dest").is_none_or(|dest| dest == "document");
    let prefetches = ["sec-purpose", "purpose", "x-moz"]
        .iter()
        .any(|name| fetch_header(request, name).is_some_and(|purpose| purpose.contains("prefetch")));
    if navigates && !prefetches { Ok(()) } else { Err(Problem::new("not_a_navigation")) }
}

/// Another site brought the browser here without a click, and named nobody who is to be told.
fn was_not_asked_for(request: &HttpRequest) -> bool {
    fetch_header(request, "sec-fetch-site") == Some("cross-site")
        && fetch_header(request, "sec-fetch-user").is_none()
}

/// Asks the person. The link leads back to this address from our own page, which no other site can do.
fn confirmation(request: &HttpRequest, web: &Web) -> HttpResponse {
    let origin = web.allowed_origins().only().cloned().unwrap_or_else(|| web.config.server.origin());
    // Path and query alone: a request line may name another host.
    let here = request.uri().path_and_query().map_or("/login", |here| here.as_str());
    let values = serde_json::json!({"origin": origin, "continue_url": here, "cancel_url": "/login"});
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .body(web.templates.page("start_confirm.html", &values))
}

fn fetch_header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// A query in which every known name stands at most once.
struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query. A name that is known and stands twice is refused: whoever reads the other one disagrees with us.
    fn parse(query: &str, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let base = name.split('[').next().unwrap_or_default();
            if !known.contains(&base) {
                continue;
            }
            if base != name || pairs.iter().any(|(known, _)| *known == name) {
                return Err(Problem::new("bad_request"));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
