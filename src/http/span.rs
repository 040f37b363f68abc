//! The span of a request: every event inside names the request, also in detached work.

use actix_web::dev::ServiceRequest;
use tracing::field::{Empty, display};
use tracing::{Span, error_span};

use crate::domain::id::FlowId;

/// Returns the span of a request. Its level is the highest, so that it is there for every event, whatever LOG_LEVEL is.
pub(super) fn of(request: &ServiceRequest, request_id: &str) -> Span {
    error_span!("request", request_id, method = %request.method(), path = request.path(), flow = Empty)
}

/// Notes the authorization request that the current request is about.
pub(super) fn about_flow(flow: FlowId) {
    Span::current().record("flow", display(flow));
}
