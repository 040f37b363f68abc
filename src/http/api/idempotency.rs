//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a POST that may be repeated after a lost
//! connection, and is executed once.
//!
//! It covers all routes of the host's backend but the proxy, where the header is HubSpot's business. Only successful
//! responses are stored. A rejected request has changed nothing, so it is executed again.

use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody, to_bytes_limited};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{Error, HttpResponse, HttpResponseBuilder, ResponseError};

use super::caller::recognised;
use crate::http::Web;
use crate::http::paths::is_streamed;
use crate::http::problem::{Problem, ProblemCode};
use crate::services::{GivenAnswer, Once, OnceLease};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const MAX_KEY_LENGTH: usize = 255;
/// The header fields that are stored with a response.
const HEADERS: [HeaderName; 2] = [CONTENT_TYPE, LOCATION];
/// The maximum size of a stored response: larger than any response to a POST.
const MAX_STORED_ANSWER: usize = 64 * 1024;

/// Wraps the routes of the host's backend.
///
/// # Errors
/// None of its own: its failures are responses.
pub(super) async fn once(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if request.method() != Method::POST
        || !request.headers().contains_key(IDEMPOTENCY_KEY)
        || is_streamed(request.path())
    {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    }
    let key = match key(&request) {
        Ok(key) => key,
        Err(problem) => return Ok(request.into_response(problem.error_response())),
    };
    let Some(web) = request.app_data::<Data<Web>>().cloned() else {
        return Err(Problem::new(ProblemCode::InternalError).into());
    };
    let Some(caller) = recognised(&request, &web).await else {
        // Without a valid key the handler reports the problem, and nothing is stored.
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    let body = match request.extract::<Bytes>().await {
        Ok(body) => body,
        Err(why) => return Ok(request.error_response(why)),
    };
    let target = request.uri().path_and_query().map_or("", |target| target.as_str()).to_owned();
    let asked =
        web.services.platform.idempotency.once(caller.id, &key, &[b"POST", target.as_bytes(), &body]).await;
    let problem = match asked {
        Ok(Once::Do(lease)) => {
            request.set_payload(Payload::from(body));
            // In a separate task: a caller that disconnects and repeats the request finds it completed.
            let work = actix_web::rt::spawn(async move {
                let response = next.call(request).await?.map_into_boxed_body();
                remember(&web, lease, response).await
            });
            return work.await.unwrap_or_else(|_| Err(Problem::new(ProblemCode::InternalError).into()));
        }
        Ok(Once::Again(answer)) => {
            match web.limits.keys.admit(request.request(), caller.id, web.services.platform.clock.now()) {
                Ok(()) => return Ok(request.into_response(again(answer))),
                Err(problem) => problem,
            }
        }
        Ok(Once::Reused) => Problem::new(ProblemCode::IdempotencyKeyReused),
        Ok(Once::Busy(left)) => Problem::new(ProblemCode::IdempotencyInProgress)
            .retry_after(left.clamp(Duration::from_secs(1), Duration::from_secs(5))),
        Err(why) => why.into(),
    };
    Ok(request.into_response(problem.error_response()))
}

/// Returns the key: a string as in RFC 9651, or without its quotation marks, as most clients send it.
fn key(request: &ServiceRequest) -> Result<String, Problem> {
    let mut lines = request.headers().get_all(IDEMPOTENCY_KEY);
    let bad = |hint| Problem::new(ProblemCode::IdempotencyKeyInvalid).hint(hint);
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(bad("The header was sent more than once."));
    };
    let text = line.to_str().map_err(|_| bad("The key has characters outside ASCII."))?.trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_plain = bare.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\');
    match bare.len() {
        0 => Err(bad("The key is empty.")),
        1..=MAX_KEY_LENGTH if is_plain => Ok(bare.to_owned()),
        1..=MAX_KEY_LENGTH => Err(bad("The key has quotation marks or backslashes inside.")),
        _ => Err(bad("The key has more than 255 characters.")),
    }
}

/// Stores a successful response; releases the key after any other.
async fn remember(
    web: &Web,
    lease: OnceLease,
    response: ServiceResponse<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !response.status().is_success() {
        web.services.platform.idempotency.answered(lease, None).await;
        return Ok(response);
    }
    let (request, response) = response.into_parts();
    let (head, body) = response.into_parts();
    let body = to_bytes_limited(body, MAX_STORED_ANSWER)
        .await
        .map_err(|_| Problem::new(ProblemCode::InternalError))??;
    let text = |name: &HeaderName| head.headers().get(name).and_then(|value| value.to_str().ok());
    let answer = GivenAnswer {
        status: head.status().as_u16(),
        headers: HEADERS.iter().filter_map(|name| Some((name.to_string(), text(name)?.to_owned()))).collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    web.services.platform.idempotency.answered(lease, Some(&answer)).await;
    Ok(ServiceResponse::new(request, head.set_body(BoxBody::new(body))))
}

fn again(answer: GivenAnswer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponseBuilder::new(status);
    for (name, value) in answer.headers {
        response.insert_header((name, value));
    }
    response.insert_header((REPLAYED, HeaderValue::from_static("true"))).body(answer.body)
}
