//! Which pages of other origins may read our answers.

use actix_cors::Cors;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, IF_NONE_MATCH};

use crate::http::Web;

/// The secret of the page that began an attempt (RFC 7636 section 4.1, there for another purpose).
pub(in crate::http) const VERIFIER: &str = "x-hsc-verifier";

/// Listed origins may ask and read, without credentials: a cookie of ours says nothing about somebody else's page.
pub(in crate::http) fn cors(web: &Web, method: &str) -> Cors {
    let (allowed, own) = (web.allowed_origins().clone(), web.config.server.origin());
    Cors::default()
        .allowed_origin_fn(move |origin, _| {
            origin.to_str().is_ok_and(|origin| allowed.find(origin).is_some() || origin == own.as_str())
        })
        .allowed_methods([method])
        .allowed_headers([CONTENT_TYPE, IF_NONE_MATCH, HeaderName::from_static(VERIFIER)])
        .expose_headers(["etag", "date", "retry-after"])
        .max_age(600)
}
