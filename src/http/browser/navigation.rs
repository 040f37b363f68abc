//! Shared parts of the URLs that browsers navigate to.

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse};
use url::form_urlencoded;

use crate::domain::id::FlowId;
use crate::domain::origin::Origin;
use crate::http::Web;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::request::client_ip::address;
use crate::http::request::limits::PerAddress;

/// Refuses a request whose client address has used up a limit.
pub fn admit(request: &HttpRequest, web: &Web, limit: &PerAddress) -> Result<(), Problem> {
    match address(request, web).is_some_and(|address| limit.admit(address)) {
        true => Ok(()),
        false => Err(Problem::new(ProblemCode::RateLimited)),
    }
}

/// Returns the URL that starts an authorization request for this opener.
pub fn start_url(opener: &Origin) -> String {
    let query =
        form_urlencoded::Serializer::new(String::new()).append_pair("origin", opener.as_str()).finish();
    format!("/auth/hubspot/start?{query}")
}

/// Returns the URL of the popup's last page. The empty fragment replaces one that the redirect may have carried
/// along.
pub fn done(flow: FlowId) -> String {
    format!("/auth/hubspot/done?flow={flow}#_")
}

/// Returns whether a text has the form of a state of ours.
pub fn is_state(state: &str) -> bool {
    state.len() == 43 && state.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Redirects with 303, so that the browser never posts again to the target (RFC 9700 section 4.12).
pub fn see_other(location: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, location)).finish()
}

/// Refuses requests that are no navigation: an image, a frame or a prefetch must not start or finish anything.
pub fn navigation_only(request: &HttpRequest) -> Result<(), Problem> {
    let navigates = fetch_header(request, "sec-fetch-mode").is_none_or(|mode| mode == "navigate")
        && fetch_header(request, "sec-fetch-dest").is_none_or(|dest| dest == "document");
    if navigates && !is_prefetch(request) { Ok(()) } else { Err(Problem::new(ProblemCode::NotANavigation)) }
}

/// Returns whether the browser prefetches for a click that may never happen.
pub fn is_prefetch(request: &HttpRequest) -> bool {
    ["sec-purpose", "purpose", "x-moz"]
        .iter()
        .any(|name| fetch_header(request, name).is_some_and(|purpose| purpose.contains("prefetch")))
}

/// Returns the value of a `Sec-Fetch` or purpose header.
pub fn fetch_header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// A query in which every known name appears at most once.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query. A known name that appears twice is refused: another reader might use the other value.
    pub fn parse(query: &str, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let base = name.split('[').next().unwrap_or_default();
            if !known.contains(&base) {
                continue;
            }
            if base != name || pairs.iter().any(|(known, _)| *known == name) {
                return Err(Problem::new(ProblemCode::BadRequest));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
