//! Any method on /api/hubspot/connections/{id}/proxy/…: a call to HubSpot with the connection's access token, which the
//! caller never sees.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use actix_web::http::{ConnectionType, StatusCode, Version};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use futures_core::Stream;
use tokio::time::{Instant, timeout_at};

use super::caller::{authenticate, connection_of};
use crate::domain::api_key::ApiScope;
use crate::domain::proxy_headers::Named;
use crate::domain::proxy_path::ProxyPath;
use crate::http::Web;
use crate::http::paths::proxied;
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::services::proxy::{
    Bytes, Call, Download, HeaderMap, Method, Passed, Pieces, ProxyError, Severed, Upload, UploadError,
};

/// The mark of a response of HubSpot's, which is forwarded unchanged, whatever its status.
#[derive(Debug, Clone, Copy)]
pub struct PassedOn;

/// The header field that marks HubSpot's responses.
const ORIGIN: HeaderName = HeaderName::from_static("hubspot-connect-origin");
/// The methods of HubSpot's API. Other methods are forwarded too, for HubSpot to reject.
const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";
/// The longest body that is passed on.
const MAX_BODY: u64 = 64 * 1024 * 1024;
/// The maximum pause within a caller's body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum duration of a body: the longest one at a slow 1 Mbit/s.
const CALL_TIMEOUT: Duration = Duration::from_secs(600);

/// Calls HubSpot's API with the access token of a connection.
///
/// HubSpot's response is returned unchanged, with the header `Hubspot-Connect-Origin: hubspot`; a response without it
/// comes from the service itself.
#[utoipa::path(
    method(get, post, put, patch, delete), path = "/api/hubspot/connections/{id}/proxy/{path}", tag = "proxy",
    security(("api_key" = ["proxy"])),
    params(
        ("id" = uuid::Uuid, Path, description = "The connection whose token is used."),
        ("path" = String, Path, example = "crm/v3/objects/contacts", description = "The path of HubSpot's API as in a URL, without its first slash. Slashes may be sent unescaped or, as generated clients do, as `%2F`. Paths below `/oauth/` and paths with `..` are rejected."),
        ("query" = Option<HashMap<String, String>>, Query, style = Form, explode, description = "HubSpot's query parameters, forwarded unchanged."),
    ),
    responses(
        (status = "default", description = "HubSpot's response, whatever its status, with `Hubspot-Connect-Origin: hubspot`. A response without that header is a problem of the service:", body = serde_json::Value, content_type = "application/json"),
        (status = 204, description = "HubSpot's response without content, with `Hubspot-Connect-Origin: hubspot`."),
        (status = 304, description = "HubSpot's response to a conditional request, with `Hubspot-Connect-Origin: hubspot`."),
        (status = 400, description = "`proxy_path_not_allowed`, `bad_request`"),
        (status = 403, description = "`api_key_scope_missing`: `proxy`"),
        (status = 404, description = "`connection_not_found`: there is no such connection."),
        (status = 405, description = "`method_not_allowed`: CONNECT, TRACE and TRACK are not forwarded."),
        (status = 409, description = "`needs_reauth`: the user has to reconnect."),
        (status = 413, description = "`proxy_body_too_large`"),
        (status = 429, description = "`account_rate_limited`, with `Retry-After`: the call was not sent to HubSpot."),
        (status = 502, description = "`provider_unreachable`, `provider_bad_response`"),
        (status = 503, description = "`token_unavailable`, with `Retry-After`; `storage_unavailable`"),
        (status = 504, description = "`provider_timeout`"),
    )
)]
pub async fn proxy(request: HttpRequest, web: Data<Web>, payload: Payload) -> Handled {
    let outcome = pass(&request, &web, payload).await;
    web.metrics.proxied.answered(match &outcome {
        Ok(passed) => Ok(passed.status),
        Err(problem) => Err(problem.entry.status),
    });
    match outcome {
        Ok(passed) => Ok(answer(&request, passed)),
        // A 405 lists the allowed methods (RFC 9110 section 15.5.6).
        Err(problem) if problem.entry.code == ProblemCode::MethodNotAllowed => {
            let mut answer = problem.error_response();
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
            Ok(answer)
        }
        Err(problem) => Err(problem),
    }
}

async fn pass(request: &HttpRequest, web: &Web, payload: Payload) -> Result<Passed, Problem> {
    let key = authenticate(request, web, ApiScope::Proxy).await?;
    let (id, path) = target(request)?;
    let connection = connection_of(web, &key, id).await?;
    let method = method(request)?;
    let body = body_length(request)?.map(|length| upload(payload, length));
    let call = Call { method, path, headers: headers(request), body };
    web.services.proxy.pass_on(connection, call).await.map_err(Problem::from)
}

/// Methods that are not forwarded: CONNECT would open a tunnel, and TRACE would reveal the access token (RFC 9110
/// section 9.3.8), as would Microsoft's TRACK.
const REFUSED_METHODS: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];

/// Returns the method, unless it is refused in upper or lower case: method names are case-sensitive, but not every
/// server compares them so.
fn method(request: &HttpRequest) -> Result<Method, Problem> {
    let name = request.method().as_str();
    let is_refused = REFUSED_METHODS.iter().any(|refused| name.eq_ignore_ascii_case(refused));
    let method = Method::from_bytes(name.as_bytes()).ok().filter(|_| !is_refused);
    method.ok_or_else(|| Problem::new(ProblemCode::MethodNotAllowed))
}

/// Returns the connection's id and HubSpot's path from the request line as it was sent: a path that looks like ours
/// only after decoding is refused.
fn target(request: &HttpRequest) -> Result<(&str, ProxyPath), Problem> {
    let uri = request.uri();
    let is_path = uri.scheme().is_none() && uri.authority().is_none();
    let refused = || Problem::new(ProblemCode::ProxyPathNotAllowed);
    let (id, path) = proxied(uri.path()).filter(|_| is_path).ok_or_else(refused)?;
    let path = ProxyPath::parse(path, uri.query()).map_err(|_| refused())?;
    Ok((id, path))
}

/// Returns the length of the body: `None` without a body, `Some(None)` if the length is unknown.
fn body_length(request: &HttpRequest) -> Result<Option<Option<u64>>, Problem> {
    let headers = request.headers();
    let content_length = headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
    match content_length {
        Some(0) => Ok(None),
        Some(length) if length > MAX_BODY => Err(Problem::new(ProblemCode::ProxyBodyTooLarge)),
        Some(length) => Ok(Some(Some(length))),
        None => Ok(headers.contains_key(TRANSFER_ENCODING).then_some(None)),
    }
}

/// Returns the header fields that are forwarded to HubSpot.
fn headers(request: &HttpRequest) -> HeaderMap {
    let given = request.headers();
    let named = Named::by(given.get_all(CONNECTION).filter_map(|value| value.to_str().ok()));
    let passed = given.iter().filter(|(name, _)| named.passes_to_hubspot(name.as_str()));
    // The two HTTP libraries have separate types for header names and values.
    let converted = passed.filter_map(|(name, value)| {
        let name = name.as_str().parse::<reqwest::header::HeaderName>().ok()?;
        Some((name, reqwest::header::HeaderValue::from_bytes(value.as_bytes()).ok()?))
    });
    let mut headers = HeaderMap::with_capacity(given.len());
    converted.for_each(|(name, value)| {
        headers.append(name, value);
    });
    headers
}

/// Reads the caller's body piece by piece, at the speed at which HubSpot reads it.
fn upload(payload: Payload, length: Option<u64>) -> Upload {
    let (pieces, upload) = Upload::new(length);
    actix_web::rt::spawn(forward_payload(payload, pieces));
    upload
}

async fn forward_payload(mut payload: Payload, pieces: Pieces) {
    let mut taken = 0;
    let ends_at = Instant::now() + CALL_TIMEOUT;
    loop {
        let next = std::future::poll_fn(|context| Pin::new(&mut payload).poll_next(context));
        let piece = match timeout_at(ends_at.min(Instant::now() + IDLE_TIMEOUT), next).await {
            Ok(None) => return,
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(_))) | Err(_) => return pieces.fail(UploadError::BrokeOff).await,
        };
        taken += piece.len() as u64;
        if taken > MAX_BODY {
            return pieces.fail(UploadError::TooLong).await;
        }
        if !pieces.send(piece).await {
            return;
        }
    }
}

/// Returns HubSpot's response for the caller.
fn answer(request: &HttpRequest, passed: Passed) -> HttpResponse {
    let status = StatusCode::from_u16(passed.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut answer = HttpResponse::build(status);
    for (name, value) in &passed.headers {
        answer.append_header((name.as_str(), value.as_bytes()));
    }
    answer.insert_header((ORIGIN, HeaderValue::from_static("hubspot")));
    let mut answer = match (passed.status, passed.length) {
        (204 | 304, _) => answer.finish(),
        (_, length) => answer.body(Relayed { body: passed.body, length }),
    };
    if request.headers().contains_key(UPGRADE) || request.version() < Version::HTTP_11 {
        // The framework would announce chunks to these clients, and write none to a client that offers a WebSocket.
        answer.head_mut().no_chunking(true);
        answer.head_mut().set_connection_type(ConnectionType::Close);
    }
    answer.extensions_mut().insert(PassedOn);
    tracing::debug!(method = %request.method(), status = passed.status, "request proxied to HubSpot");
    answer
}

/// HubSpot's body on its way to the caller. If it ends early, the connection to the caller is closed, so that the
/// caller does not take it for complete.
struct Relayed {
    body: Download,
    length: Option<u64>,
}

impl MessageBody for Relayed {
    type Error = Severed;

    fn size(&self) -> BodySize {
        self.length.map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Severed>>> {
        self.body.poll_piece(context)
    }
}

impl From<ProxyError> for Problem {
    fn from(why: ProxyError) -> Self {
        use crate::services::proxy::PassError;
        match why {
            ProxyError::Access(why) => why.into(),
            ProxyError::RateLimited { retry_after } => Self::new(ProblemCode::AccountRateLimited)
                .retry_after(retry_after.max(Duration::from_secs(1))),
            ProxyError::Pass(PassError::Failed(why)) => Self::new(why.code.into()),
            ProxyError::Pass(PassError::Upload(UploadError::TooLong)) => {
                Self::new(ProblemCode::ProxyBodyTooLarge)
            }
            ProxyError::Pass(PassError::Upload(UploadError::BrokeOff)) => {
                Self::new(ProblemCode::BadRequest).hint("The body was incomplete.")
            }
        }
    }
}
