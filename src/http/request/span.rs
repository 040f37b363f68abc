//! The id and the span of a request: every event inside names the request, also in detached work.

use actix_web::dev::ServiceRequest;
use tracing::field::{Empty, display};
use tracing::{Span, error_span};

use crate::domain::id::FlowId;
use crate::http::paths::proxied;

/// The id of a request, in its log lines, its response and its problem.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Returns the span of a request. Its level is the highest, so that every event has it, whatever LOG_LEVEL is.
///
/// HubSpot's own path may contain personal data, so proxied requests are logged without it.
pub fn of(request: &ServiceRequest, request_id: &str) -> Span {
    let path = request.path();
    let path = proxied(path).and_then(|(_, hubspots)| path.strip_suffix(hubspots)).unwrap_or(path);
    error_span!("request", request_id, method = %request.method(), path, flow = Empty)
}

/// Records the authorization request that the current request belongs to.
pub fn about_flow(flow: FlowId) {
    Span::current().record("flow", display(flow));
}
