//! Authentication of the host's backend by an API key.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{AUTHORIZATION, HeaderValue};

use crate::domain::api_key::ApiScope;
use crate::domain::id::ConnectionId;
use crate::domain::secret::Secret;
use crate::http::Web;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::request::client_ip::address;
use crate::http::request::query::ApiQuery;
use crate::services::ApiKey;

/// The maximum length of a key: longer than any.
const MAX_KEY_LENGTH: usize = 200;

/// Returns the API key of a request without query parameters, if it has this scope.
///
/// # Errors
/// The errors of [`authenticate`], and `bad_request` (400) if there is a query.
pub async fn caller(request: &HttpRequest, web: &Web, scope: ApiScope) -> Result<Arc<ApiKey>, Problem> {
    let key = authenticate(request, web, scope).await?;
    ApiQuery::none(request)?;
    Ok(key)
}

/// Returns the API key of a request (RFC 6750 section 2.1), if it has this scope.
///
/// # Errors
/// The errors of [`any_caller`], and `api_key_scope_missing` (403).
pub async fn authenticate(request: &HttpRequest, web: &Web, scope: ApiScope) -> Result<Arc<ApiKey>, Problem> {
    let key = any_caller(request, web).await?;
    if key.may(scope) {
        return Ok(key);
    }
    Err(Problem::new(ProblemCode::ApiKeyScopeMissing)
        .hint(format!("This call requires a key with the scope {scope}.")))
}

/// Returns the connection of this id. One of another project than the key's is reported as not found.
///
/// # Errors
/// `connection_not_found` (404), or the database's.
pub(super) async fn connection_of(web: &Web, key: &ApiKey, id: &str) -> Result<ConnectionId, Problem> {
    let not_found = || Problem::new(ProblemCode::ConnectionNotFound);
    let id = id.parse().map_err(|_| not_found())?;
    let is_theirs = web.services.connections.list.is_in_project(&key.project_id, id).await?;
    is_theirs.then_some(id).ok_or_else(not_found)
}

/// Returns the API key of a request, with any scopes.
///
/// # Errors
/// `api_key_missing` and `api_key_invalid` (401), `rate_limited_key` and `rate_limited` (429), or the database's.
pub(super) async fn any_caller(request: &HttpRequest, web: &Web) -> Result<Arc<ApiKey>, Problem> {
    let shown = shown(request)?;
    let Some(key) = web.services.platform.api_keys.authenticate(&shown).await? else {
        return Err(wrong(request, web));
    };
    web.limits.keys.admit(request, key.id, web.services.platform.clock.now())?;
    Ok(key)
}

/// Returns the API key for a middleware. An invalid key is reported and counted by the handler.
pub(super) async fn recognised(request: &ServiceRequest, web: &Web) -> Option<Arc<ApiKey>> {
    let shown = shown(request.request()).ok()?;
    web.services.platform.api_keys.authenticate(&shown).await.ok().flatten()
}

/// Invalid keys are rate limited by address. A valid key is accepted whatever others try from the same address.
fn wrong(request: &HttpRequest, web: &Web) -> Problem {
    match address(request, web).is_some_and(|address| web.limits.wrong_keys.admit(address)) {
        true => Problem::new(ProblemCode::ApiKeyInvalid),
        false => Problem::new(ProblemCode::RateLimited),
    }
}

fn shown(request: &HttpRequest) -> Result<Secret, Problem> {
    let mut lines = request.headers().get_all(AUTHORIZATION);
    let line = lines.next().ok_or(ProblemCode::ApiKeyMissing)?;
    let text = line.to_str().ok().filter(|_| lines.next().is_none()).and_then(bearer);
    text.map(|key| Secret::new(key.to_owned())).ok_or_else(|| Problem::new(ProblemCode::ApiKeyInvalid))
}

/// Returns the key of an `Authorization` header. The name of the scheme may be in any case (RFC 9110 section 11.1).
fn bearer(line: &str) -> Option<&str> {
    let (scheme, key) = line.split_once(' ')?;
    let key = key.trim_start_matches(' ');
    let fits = scheme.eq_ignore_ascii_case("bearer") && !key.is_empty() && key.len() <= MAX_KEY_LENGTH;
    fits.then_some(key)
}

/// Returns the challenge of a 401 or 403 (RFC 6750 section 3).
pub fn challenge(code: ProblemCode) -> Option<HeaderValue> {
    match code {
        ProblemCode::ApiKeyMissing => Some(HeaderValue::from_static("Bearer realm=\"hubspot-connect\"")),
        ProblemCode::ApiKeyInvalid => {
            Some(HeaderValue::from_static("Bearer realm=\"hubspot-connect\", error=\"invalid_token\""))
        }
        ProblemCode::ApiKeyScopeMissing => {
            Some(HeaderValue::from_static("Bearer realm=\"hubspot-connect\", error=\"insufficient_scope\""))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_keys_follow_the_bearer_scheme() {
        assert_eq!(bearer("Bearer hsc_key_1"), Some("hsc_key_1"));
        assert_eq!(bearer("bearer  hsc_key_1"), Some("hsc_key_1"));
        for bad in
            ["", "Bearer", "Bearer ", "Basic hsc_key_1", "hsc_key_1", &format!("Bearer {}", "a".repeat(201))]
        {
            assert_eq!(bearer(bad), None, "{bad}");
        }
    }
}
