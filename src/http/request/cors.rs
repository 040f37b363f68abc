//! CORS: the pages of other origins that may read responses.

use actix_cors::Cors;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, IF_NONE_MATCH};

use crate::http::Web;

/// The secret of the page that started an authorization request (RFC 7636 section 4.1, there for another purpose).
pub const VERIFIER: &str = "hubspot-connect-verifier";

/// The token that the host's backend has created for a page of one of its users.
pub const READ_TOKEN: &str = "hubspot-connect-read-token";

/// Returns the CORS policy: listed origins may send requests and read responses, without credentials, because a cookie of
/// this service does not authenticate a page of another site.
pub fn cors(web: &Web, method: &str) -> Cors {
    let (allowed, own) = (web.allowed_origins().clone(), web.config.server.origin());
    Cors::default()
        .allowed_origin_fn(move |origin, _| {
            origin.to_str().is_ok_and(|origin| allowed.find(origin).is_some() || origin == own.as_str())
        })
        .allowed_methods([method])
        .allowed_headers([CONTENT_TYPE, IF_NONE_MATCH, HeaderName::from_static(VERIFIER)])
        .allowed_header(HeaderName::from_static(READ_TOKEN))
        .expose_headers(["etag", "date", "retry-after"])
        .max_age(600)
}
