//! /auth/hubspot/start, /auth/hubspot/launch and /auth/hubspot/continue.

use actix_session::Session;
use actix_web::http::Method;
use actix_web::http::header::{LOCATION, ORIGIN};
use actix_web::web::{Data, Form};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder};
use serde::Deserialize;
use serde_json::json;

use super::caller::Caller;
use super::csrf::same_origin;
use super::navigation::{Query, admit, fetch_header, navigation_only};
use crate::domain::auth_request::{AUTH_REQUEST_RETENTION, Mode};
use crate::domain::clock::Timestamp;
use crate::domain::id::FlowId;
use crate::domain::origin::Origin;
use crate::domain::secret::{Hash, Secret};
use crate::http::Web;
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::http::request::body::ApiJson;
use crate::http::request::span::about_flow;
use crate::http::templates::html;
use crate::services::{StartConnect, Started};

/// The parameters with which a page starts an authorization request.
const FIELDS: [&str; 7] =
    ["origin", "portal_id", "return_url", "challenge", "opener_challenge", "mode", SESSION];
/// The token of a connect session, only in the body of a POST: URLs are kept in histories and logs.
const SESSION: &str = "connect_session";

/// `GET /auth/hubspot/start`: starts an authorization request from a link, or from a hand-written `window.open`.
pub async fn start_by_link(request: HttpRequest, web: Data<Web>, session: Session) -> Handled {
    let fields = Query::parse(request.query_string(), &FIELDS)?;
    if fields.get(SESSION).is_some() {
        return Err(Problem::new(ProblemCode::ConnectSessionInUrl));
    }
    navigation_only(&request)?;
    let limit = admit(&request, &web, &web.limits.starts);
    // With a challenge, the launch page asks the user itself.
    if limit.is_ok() && fields.get("challenge").is_none() && was_not_asked_for(&request) {
        return confirmation(&request, &web, fields.get("origin"));
    }
    let started = match limit {
        Ok(()) => start(&request, &web, &session, &fields, None).await,
        Err(problem) => Err(problem),
    };
    started.map_err(|problem| problem.opener(notified_opener(&web, &fields)))
}

/// `POST /auth/hubspot/start`: starts an authorization request from a form, whose sender the browser names.
pub async fn start_by_form(request: HttpRequest, web: Data<Web>, session: Session, body: String) -> Handled {
    if request.content_type() != "application/x-www-form-urlencoded" {
        return Err(Problem::new(ProblemCode::BadRequest));
    }
    let fields = Query::parse(&body, &FIELDS)?;
    navigation_only(&request)?;
    let sender = sender(&request, &web);
    let limit = admit(&request, &web, &web.limits.starts).and_then(|()| match sender {
        Some(_) => Ok(()),
        None => admit(&request, &web, &web.limits.unverified_starts),
    });
    let started = match limit {
        Ok(()) => start(&request, &web, &session, &fields, sender).await,
        Err(problem) => Err(problem),
    };
    started.map_err(|problem| problem.opener(notified_opener(&web, &fields)))
}

/// Returns the origin that the page of a refused start reports to. If the host page itself navigates to HubSpot, the
/// window may have an opener, but the opener has not started the request.
fn notified_opener(web: &Web, fields: &Query) -> Option<Origin> {
    let mode: Mode = fields.get("mode").map(str::parse).transpose().ok()?.unwrap_or_default();
    let opener = web.services.connect.starts.opener(fields.get("origin")).ok()?;
    (mode == Mode::Popup).then_some(opener)
}

/// Returns the origin of the page that sent a form, if the browser names it. A page that sends no referrer sends the
/// origin `null`.
fn sender(request: &HttpRequest, web: &Web) -> Option<String> {
    if fetch_header(request, "sec-fetch-site") == Some("same-origin") {
        return Some(web.config.server.origin().to_string());
    }
    let origin = request.headers().get(ORIGIN)?.to_str().unwrap_or("unreadable");
    (origin != "null").then(|| origin.to_owned())
}

async fn start(
    request: &HttpRequest,
    web: &Web,
    session: &Session,
    fields: &Query,
    sender: Option<String>,
) -> Handled {
    let bad = |_| Problem::new(ProblemCode::BadRequest);
    let hash = |name| match fields.get(name) {
        Some(text) => Hash::parse(text).map(Some).ok_or(Problem::new(ProblemCode::BadChallenge)),
        None => Ok(None),
    };
    let ask = StartConnect {
        user: Caller::of(session).map(|caller| caller.user),
        origin: fields.get("origin").map(str::to_owned),
        portal_id: fields
            .get("portal_id")
            .map(str::parse)
            .transpose()
            .map_err(|_| ProblemCode::BadRequest)?,
        connect_session: fields.get(SESSION).map(|token| Secret::new(token.to_owned())),
        challenge: hash("challenge")?,
        opener_challenge: hash("opener_challenge")?,
        return_url: fields.get("return_url").map(str::to_owned),
        mode: fields.get("mode").map(str::parse).transpose().map_err(bad)?.unwrap_or_default(),
        sender,
    };
    let goes_by_page = ask.challenge.is_some() || request.method() == Method::POST;
    let started = web.services.connect.starts.start(ask).await.map_err(Problem::from);
    let flow = started.as_ref().map_or_else(|problem| problem.flow, |started| Some(started.flow));
    flow.into_iter().for_each(about_flow);
    let started = started?;
    // A form must not be answered with a redirect: a host page's `form-action` applies to every hop.
    let mut answer = if goes_by_page { HttpResponse::Ok() } else { HttpResponse::Found() };
    // Any page can send a browser here as often as it likes, and a form of another site is sent without our cookies,
    // so older cookies could not be removed. An unverified launch page requests its cookie from our own origin later.
    if started.is_verified || !goes_by_page {
        bind(&mut answer, request, web, (started.flow, &started.binding, started.expires_at));
    }
    if !goes_by_page {
        return Ok(answer.insert_header((LOCATION, started.authorize_url.as_str())).finish());
    }
    Ok(launch_page(answer, web, &started, !started.is_verified))
}

/// Sets the cookie of a flow, and removes those of the oldest flows.
fn bind(
    answer: &mut HttpResponseBuilder,
    request: &HttpRequest,
    web: &Web,
    (flow, binding, expires_at): (FlowId, &Secret, Timestamp),
) {
    for cookie in web.cookies.make_room(request, flow) {
        answer.cookie(cookie);
    }
    let now = web.services.platform.clock.now();
    // The cookie outlives the flow, so that a user who returns too late is shown that in this browser.
    let max_age = expires_at.since(now) + AUTH_REQUEST_RETENTION;
    answer.cookie(web.cookies.new_cookie(flow, binding, now, max_age));
}

/// Returns the page that leads to HubSpot: at once, or after the opener has shown its key or the user has confirmed.
/// It contains the binding, which an opener on another origin cannot read.
fn launch_page(mut answer: HttpResponseBuilder, web: &Web, started: &Started, asks: bool) -> HttpResponse {
    let values = json!({
        "flow": started.flow,
        "origin": started.opener,
        "proven": !asks,
        "authorize_url": started.authorize_url,
        "state": started.state.expose(),
        "binding": started.binding.expose(),
    });
    answer.content_type("text/html; charset=utf-8").body(web.templates.page("popup_launch.html", &values))
}

/// The launch page's form when the user continues.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Continued {
    state: String,
    binding: String,
}

/// `POST /auth/hubspot/continue`: the user has confirmed the launch page's question. Sets the cookie of the flow; the
/// page then navigates to HubSpot.
pub async fn continue_start(request: HttpRequest, web: Data<Web>, form: Form<Continued>) -> Handled {
    same_origin(&request, &web)?;
    let Continued { state, binding } = form.0;
    let started = web.services.connect.starts.started(Secret::new(state), Secret::new(binding)).await?;
    let started = started.ok_or(ProblemCode::FlowUnknown)?;
    let mut answer = HttpResponse::Ok();
    bind(&mut answer, &request, &web, (started.flow, &started.binding, started.expires_at));
    Ok(launch_page(answer, &web, &started, false))
}

/// `GET /auth/hubspot/launched`: the launch page again, if it is reloaded while HubSpot's page is loading. Its script
/// has kept the URL it leads to.
pub async fn get_launched(web: Data<Web>) -> HttpResponse {
    let values = json!({"flow": "", "origin": "", "proven": true, "authorize_url": ""});
    html(web.templates.page("popup_launch.html", &values))
}

/// The key of an opener, for the authorization request that it started.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyOpener {
    /// The authorization request.
    flow: FlowId,
    /// The key that the opener has shown.
    opener_key: String,
    /// The binding from the launch page. Omit it if the browser already has the cookie.
    binding: Option<String>,
}

/// `POST /auth/hubspot/launch`: the launch page forwards the key that the opener has shown.
pub async fn verify_opener(request: HttpRequest, web: Data<Web>, body: ApiJson<VerifyOpener>) -> Handled {
    same_origin(&request, &web)?;
    let VerifyOpener { flow, opener_key, binding } = body.0;
    let binding = binding.map(Secret::new).or_else(|| web.cookies.binding(&request, flow));
    let binding = binding.ok_or(ProblemCode::FlowUnknown)?;
    let verified =
        web.services.connect.starts.verify_opener(flow, &binding, &Secret::new(opener_key)).await?;
    let expires_at = verified.ok_or(ProblemCode::FlowUnknown)?;
    let mut answer = HttpResponse::NoContent();
    bind(&mut answer, &request, &web, (flow, &binding, expires_at));
    Ok(answer.finish())
}

/// Returns whether another site navigated the browser here without a click.
fn was_not_asked_for(request: &HttpRequest) -> bool {
    fetch_header(request, "sec-fetch-site") == Some("cross-site")
        && fetch_header(request, "sec-fetch-user").is_none()
}

/// Asks the user. The link leads back to this URL from our own page, which no other site can do.
fn confirmation(request: &HttpRequest, web: &Web, named: Option<&str>) -> Handled {
    let origin = web.services.connect.starts.opener(named)?;
    // Only path and query: a request line may name another host.
    let here = request.uri().path_and_query().map_or("/login", |here| here.as_str());
    let values = json!({"origin": origin, "continue_url": here, "cancel_url": "/login"});
    Ok(html(web.templates.page("start_confirm.html", &values)))
}
