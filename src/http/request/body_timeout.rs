//! A timeout for bodies: a client that sends one byte now and then must not hold a connection for long.
//!
//! A body is read whole before any handler sees it; bodies are small. Proxied bodies have their own timeout.

use std::rc::Rc;
use std::time::Duration;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::web::Bytes;

use crate::http::paths::is_streamed;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::server::{Watch, body_length};

/// The time that a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for the body of a request.
///
/// # Errors
/// `request_timeout` (408) if it takes too long, `payload_too_large` (413), `bad_request` if it breaks off.
pub async fn await_body(request: &mut ServiceRequest) -> Result<(), Problem> {
    if body_length(request.headers()) == Some(0) || is_streamed(request.path()) {
        return Ok(());
    }
    // The size limit is that of the extractors.
    let body = tokio::time::timeout(BODY_TIMEOUT, request.extract::<Bytes>())
        .await
        .map_err(|_| ProblemCode::RequestTimeout)?;
    let body = body.map_err(|why| match why.as_response_error().status_code().as_u16() {
        413 => Problem::new(ProblemCode::PayloadTooLarge),
        _ => Problem::new(ProblemCode::BadRequest),
    })?;
    if let Some(watch) = request.conn_data::<Rc<Watch>>() {
        watch.body_arrived();
    }
    request.set_payload(Payload::from(body));
    Ok(())
}
