//! The envelope around every request: host check, request id, security headers, bodies of problems, one line in the
//! log.

use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpResponse, ResponseError};
use tracing::Instrument;
use url::Url;

use super::Web;
use super::api::{PassedOn, add_rate_limit_headers, challenge};
use super::browser::callback::done_without_answer;
use super::browser::navigation::see_other;
use super::openapi::has_path;
use super::paths::{CLAIM, is_api, is_streamed};
use super::problem::{Problem, ProblemCode};
use super::request::body_timeout::await_body;
use super::request::span::{self, RequestId};
use super::templates::error_page;
use crate::config::Server;
use crate::config::marketplace::INSTALL;

/// The policy for pages: only our own files, nothing inline, never in a frame.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'; \
    require-trusted-types-for 'script'",
);
const API_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000");
const HSTS_SUBDOMAINS: HeaderValue = HeaderValue::from_static("max-age=63072000; includeSubDomains");

/// The headers of every response.
const ALWAYS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
];
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps every request.
///
/// # Errors
/// None: a failure inside becomes a response.
pub async fn envelope(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = request_id(&request);
    let span = span::of(&request, &id.0);
    let path = request.path().to_owned();
    let web = request.app_data::<Data<Web>>().cloned();
    if web.as_ref().is_none_or(|web| !web.acts_on_get(&path)) {
        head_as_get(&mut request);
    }
    answer(request, next, id, path).instrument(span).await
}

async fn answer(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    id: RequestId,
    path: String,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    request.extensions_mut().insert(id.clone());
    let web = request.app_data::<Data<Web>>().map(|web| web.clone().into_inner());
    let refused = web.as_ref().and_then(|web| wrong_host(&request, web));
    let is_callback = web.as_ref().is_some_and(|web| web.is_callback(&path));
    let back_to = is_callback.then(|| done_without_answer(request.query_string()));
    let refused = match refused {
        Some(problem) => Some(problem),
        None => await_body(&mut request).await.err(),
    };
    let mut response = match refused {
        Some(problem) => refuse(request, &problem),
        None => match to_its_end(&next, request).await {
            Ok(response) => response.map_into_boxed_body(),
            // A middleware has failed, not a handler: the session middleware, because the database is unavailable.
            // There is no request left to respond to, so the response is returned as an error that is finished
            // already.
            Err(why) => {
                tracing::error!(error = %why, "middleware failed");
                let mut answer = match back_to {
                    // Code and state must not stay in the URL, whatever happens.
                    Some(done) => see_other(&done),
                    None => unanswered(&why).error_response(),
                };
                finish(&mut answer, web.as_deref(), &path, &id);
                return Err(InternalError::from_response("answered", answer).into());
            }
        },
    };
    add_rate_limit_headers(&mut response);
    finish(response.response_mut(), web.as_deref(), &path, &id);
    log(&response, web.as_deref(), started);
    Ok(response)
}

/// Treats HEAD as GET; the server leaves the body out (RFC 9110 section 9.3.2). For proxied requests, HubSpot does
/// that.
fn head_as_get(request: &mut ServiceRequest) {
    if request.method() == Method::HEAD && !is_streamed(request.path()) {
        request.head_mut().method = Method::GET;
    }
}

/// Adds HEAD to `Allow`: actix-web lists only registered methods.
fn allow_head(headers: &mut HeaderMap) {
    let allowed = headers.get(header::ALLOW).and_then(|allowed| allowed.to_str().ok());
    let has = |method| allowed.is_some_and(|allowed| allowed.split(',').any(|name| name.trim() == method));
    if has("GET") && !has("HEAD") {
        let allowed = format!("{}, HEAD", allowed.unwrap_or_default());
        headers.insert(
            header::ALLOW,
            HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static("GET, HEAD")),
        );
    }
}

/// Runs a handler to its end even if its caller hangs up, so that a change that has started is completed. (A logout
/// that stopped halfway would leave the session.) Reads change nothing, and end with their caller: a poll would
/// otherwise wait without one. So do proxied requests.
async fn to_its_end<B: MessageBody + 'static>(
    next: &Next<B>,
    request: ServiceRequest,
) -> Result<ServiceResponse<B>, Error> {
    if is_streamed(request.path()) {
        return next.call(request).await;
    }
    let is_read = request.method().is_safe() && is_api(request.path());
    let mut work = next.call(request);
    let panicked = || Err(Problem::new(ProblemCode::InternalError).into());
    let mut caught = poll_fn(move |context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(panicked()))
    });
    // A handler that never waits cannot be cut off, and needs no task of its own.
    let begin = poll_fn(|context| Poll::Ready(Pin::new(&mut caught).poll(context)));
    match begin.await {
        Poll::Ready(answer) => answer,
        Poll::Pending if is_read => caught.await,
        Poll::Pending => actix_web::rt::spawn(caught.in_current_span()).await.unwrap_or_else(|_| panicked()),
    }
}

/// Returns the problem to report if no handler has responded: its own, if a handler panicked.
fn unanswered(why: &Error) -> Problem {
    why.as_error::<Problem>().cloned().unwrap_or_else(|| Problem::new(ProblemCode::StorageUnavailable))
}

/// Responds without calling the handler. If a body has not been read to its end, the connection cannot be used again.
fn refuse(request: ServiceRequest, problem: &Problem) -> ServiceResponse<BoxBody> {
    let mut answer = problem.error_response();
    if matches!(problem.entry.code, ProblemCode::RequestTimeout | ProblemCode::PayloadTooLarge) {
        answer.head_mut().set_connection_type(ConnectionType::Close);
    }
    request.into_response(answer)
}

/// Adds the headers to a response, and the body if it is a problem.
fn finish(answer: &mut HttpResponse, web: Option<&Web>, path: &str, id: &RequestId) {
    if let Some(web) = web {
        if web.services.is_stopping() {
            // A client that continues on the same connection would delay the stop; on a new connection another
            // replica responds.
            answer.head_mut().set_connection_type(ConnectionType::Close);
        }
        if answer.status() == StatusCode::METHOD_NOT_ALLOWED && !web.acts_on_get(path) {
            allow_head(answer.headers_mut());
        }
        write_problem(answer, web, path, id);
        secure(answer.headers_mut(), path, &web.config.server);
    }
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        answer.headers_mut().insert(REQUEST_ID, value);
    }
}

/// Returns the request id: the caller's own, if it is harmless.
fn request_id(request: &ServiceRequest) -> RequestId {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        (8..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    RequestId(given.filter(harmless).map_or_else(fresh_id, str::to_owned))
}

/// Returns sixteen digits that cannot be guessed and that no other request has. A keyed hash of a counter, because
/// asking the system for randomness costs as much as the rest of a small request.
fn fresh_id() -> String {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}", KEY.hash_one(COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// Returns the host and port of a URL as a browser writes them into `Host`.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Returns the authorities of a URL: a client may name the default port, too.
pub(super) fn authorities(url: &Url) -> Vec<String> {
    let explicit = url.host_str().zip(url.port_or_known_default());
    explicit.map(|(host, port)| format!("{host}:{port}")).into_iter().chain([authority(url)]).collect()
}

/// Returns the problem of a request with an unexpected `Host`: another name for this address may be an attacker's
/// (DNS rebinding). Health checks call by address, and a backend may have its own name for the API.
fn wrong_host(request: &ServiceRequest, web: &Web) -> Option<Problem> {
    if request.path() == "/livez" {
        return None;
    }
    let Some(host) = only_host(request) else { return Some(Problem::new(ProblemCode::BadRequest)) };
    let is_one_of = |hosts: &[String]| hosts.iter().any(|known| known.eq_ignore_ascii_case(host));
    let is_backend_s = request.path().starts_with("/api/") && is_one_of(&web.config.server.alternate_hosts);
    if is_one_of(&web.hosts) || is_backend_s {
        return None;
    }
    let expected = authority(&web.config.server.public_url);
    if web.limits.lines.admit() {
        tracing::warn!(host, expected, "request refused: unexpected Host header");
    }
    Some(Problem::new(ProblemCode::WrongHost).hint(format!("Expected the host {expected}.")))
}

/// Returns the value of `Host`, if there is exactly one.
pub(super) fn only_host(request: &ServiceRequest) -> Option<&str> {
    let mut hosts = request.headers().get_all(header::HOST);
    hosts.next().filter(|_| hosts.next().is_none())?.to_str().ok()
}

/// Writes the body of a problem. An error that is not one of ours is reported by its status, without its own text.
fn write_problem(answer: &mut HttpResponse, web: &Web, path: &str, id: &RequestId) {
    if is_passed_on(answer) {
        return;
    }
    let status = answer.status();
    let stated = answer.extensions().get::<Problem>().cloned();
    let problem = match stated {
        Some(problem) => problem,
        None if status.is_client_error() || status.is_server_error() => by_status(status),
        None => return,
    };
    let problem =
        if problem.entry.code == ProblemCode::NotFound { with_path(problem, path) } else { problem };
    let (kind, body) = match is_api(path) {
        true => ("application/problem+json", problem.json(path, &id.0).to_string()),
        false => ("text/html; charset=utf-8", error_page(&web.templates, &problem, &id.0)),
    };
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let usual = match problem.entry.status {
        429 => Some(60),
        503 => Some(5),
        _ => None,
    };
    if let Some(seconds) = problem.retry_after.or(usual) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(challenge) = challenge(problem.entry.code) {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    web.metrics.http.problems(problem.entry.code.as_str(), problem.entry.status, 1);
    *answer.status_mut() = problem.status_code();
    answer.extensions_mut().insert(problem);
    let head = std::mem::replace(answer, HttpResponse::new(status));
    *answer = head.set_body(BoxBody::new(body));
}

/// Names the right path if only a trailing slash is wrong.
fn with_path(problem: Problem, path: &str) -> Problem {
    match path.trim_end_matches('/') {
        right if right != path && has_path(right) => {
            problem.hint(format!("The path is `{right}`, without a trailing slash."))
        }
        _ => problem,
    }
}

fn is_passed_on(answer: &HttpResponse) -> bool {
    answer.extensions().contains::<PassedOn>()
}

/// Returns the problem for a bare status of the framework.
fn by_status(status: StatusCode) -> Problem {
    Problem::new(match status.as_u16() {
        404 => ProblemCode::NotFound,
        405 => ProblemCode::MethodNotAllowed,
        413 => ProblemCode::PayloadTooLarge,
        415 => ProblemCode::UnsupportedMediaType,
        400..=499 => ProblemCode::BadRequest,
        _ => ProblemCode::InternalError,
    })
}

fn secure(headers: &mut HeaderMap, path: &str, server: &Server) {
    let popup = path.starts_with("/auth/") || path == INSTALL;
    let opens_popups = matches!(path, "/" | "/login" | "/logout" | CLAIM);
    // Any other policy on a popup page would cut it off from its opener permanently.
    let opener = match (popup, opens_popups) {
        (true, _) => "unsafe-none",
        (false, true) => "same-origin-allow-popups",
        (false, false) => "same-origin",
    };
    let policy = if is_api(path) { API_POLICY } else { PAGE_POLICY };
    // The responses that host pages may load or probe.
    let cross_origin =
        path.starts_with("/api/hubspot/status") || path.starts_with("/static/sdk/") || path == "/livez";
    let resource = if cross_origin { "cross-origin" } else { "same-origin" };
    for (name, value) in ALWAYS {
        headers.insert(name, value);
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(OPENER_POLICY, HeaderValue::from_static(opener));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static(resource));
    if server.public_url.scheme() == "https" {
        let policy = if server.hsts_subdomains { HSTS_SUBDOMAINS } else { HSTS };
        headers.insert(header::STRICT_TRANSPORT_SECURITY, policy);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Logs one line per request, without its query, which contains codes and states. A page with a problem shows a
/// support code, so its line is logged at the default level.
fn log(response: &ServiceResponse<BoxBody>, web: Option<&Web>, started: Instant) {
    let status = response.status().as_u16();
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let answer = response.response();
    let extensions = answer.extensions();
    match extensions.get::<Problem>().map(|problem| (problem.entry.code.as_str(), problem.about())) {
        // HubSpot's own errors are forwarded without a problem of ours.
        _ if is_passed_on(answer) => tracing::debug!(status, duration_ms, "request"),
        Some((code, about)) if status >= 500 => {
            tracing::error!(code, about, status, duration_ms, "request failed");
        }
        Some((code, about))
            if !is_api(response.request().path()) && web.is_none_or(|web| web.limits.lines.admit()) =>
        {
            tracing::info!(code, about, status, duration_ms, "problem returned");
        }
        Some((code, about)) => tracing::debug!(code, about, status, duration_ms, "request"),
        None => tracing::debug!(status, duration_ms, "request"),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::App;
    use actix_web::dev::fn_service;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, init_service, try_call_service};

    use super::*;

    #[actix_web::test]
    async fn panicking_handlers_get_a_response() {
        let panics = fn_service(async |request: ServiceRequest| -> Result<ServiceResponse, Error> {
            if request.path() == "/later" {
                tokio::task::yield_now().await;
            }
            panic!("{}", request.path())
        });
        let app = init_service(App::new().wrap(from_fn(envelope)).default_service(panics)).await;
        for path in ["/at-once", "/later"] {
            let answer = try_call_service(&app, TestRequest::get().uri(path).to_request()).await;
            let status = answer.expect_err("the handler panics").as_response_error().status_code();
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        }
    }
}
