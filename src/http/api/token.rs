//! GET /api/hubspot/connections/{id}/token: an access token, lent to the host's backend.

use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::{authenticate, connection_of};
use crate::domain::api_key::ApiScope;
use crate::domain::id::ConnectionId;
use crate::domain::scopes::Scopes;
use crate::http::Web;
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::services::{ApiKey, BackendToken, TokenWarning};

/// What is asked for where nothing is said, in seconds.
const DEFAULT_MIN_TTL: u64 = 60;
/// More cannot be asked for: half of the life that HubSpot gives.
const MAX_MIN_TTL: u64 = 900;

/// An access token of HubSpot's, for `Authorization: Bearer`.
#[derive(Serialize, ToSchema)]
pub struct TokenBody<'a> {
    #[schema(value_type = uuid::Uuid)]
    connection_id: ConnectionId,
    /// Show it to HubSpot and to nobody else.
    access_token: &'a str,
    /// Always `bearer` (RFC 6750).
    token_type: &'static str,
    /// When it expires (RFC 3339, UTC).
    expires_at: String,
    /// The seconds until then.
    expires_in: u64,
    /// Rises by one with every renewal.
    generation: i64,
    /// The granted scopes; null as long as HubSpot has not named them.
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<&'a Scopes>,
    /// What speaks against relying on it; usually nothing.
    warnings: Vec<WarningBody>,
}

/// Something to know about a token.
#[derive(Serialize, ToSchema)]
pub struct WarningBody {
    /// `expires_soon`, `scopes_missing`, `refresh_failing` or `portal_unknown`.
    code: &'static str,
    /// A sentence for the developer.
    message: String,
}

/// Lends the access token of a connection. It has at least `min_ttl` seconds left, renewed first if need be; if that
/// cannot be had, the warning `expires_soon` says so.
#[utoipa::path(
    get, path = "/api/hubspot/connections/{id}/token", tag = "tokens",
    security(("api_key" = ["tokens:read"])),
    params(
        ("id" = uuid::Uuid, Path, description = "The connection."),
        ("min_ttl" = Option<u64>, Query, minimum = 0, maximum = 900, description = "How many seconds it shall live at least; 60 if nothing is said."),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the last answer: 304 says that its token still does."),
    ),
    responses(
        (status = 200, description = "The token, with `ETag`, and `Cache-Control: private` for as long as `min_ttl` is kept.", body = TokenBody),
        (status = 304, description = "The token of the last answer still has `min_ttl` left."),
        (status = 400, description = "`bad_request`: `min_ttl` is not a number from 0 to 900, or there is another parameter."),
        (status = 403, description = "`api_key_scope_missing`: `tokens:read`"),
        (status = 404, description = "`connection_not_found`"),
        (status = 409, description = "`needs_reauth`: the person has to connect again."),
        (status = 500, description = "`integrity_error`"),
        (status = 503, description = "`token_unavailable`, with `Retry-After`; `storage_unavailable`"),
    )
)]
pub async fn get_access_token(request: HttpRequest, web: Data<Web>, id: Path<String>) -> Handled {
    let key = authenticate(&request, &web, ApiScope::TokensRead).await?;
    let answer = respond(&request, &web, &key, &id).await;
    let status =
        answer.as_ref().map_or_else(|problem| problem.entry.status, |answer| answer.status().as_u16());
    web.metrics.token_reads.answered(key.id, status);
    answer
}

async fn respond(request: &HttpRequest, web: &Web, key: &ApiKey, id: &str) -> Handled {
    let min_ttl = min_ttl(request.query_string())?;
    let id = connection_of(web, key, id).await?;
    let backend_token = web.services.connections.access_tokens.get(id, min_ttl).await?;
    let tag = format!("\"{}-{:016x}\"", backend_token.generation(), backend_token.version_hash());
    let fresh = format!("private, max-age={}", backend_token.fresh_for.as_secs());
    let is_known = is_known(request, &tag) && !backend_token.is_short();
    let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header((ETAG, tag)).insert_header((CACHE_CONTROL, fresh));
    answer.insert_header((VARY, "authorization"));
    if is_known {
        return Ok(answer.finish());
    }
    // The one answer with a token of HubSpot's in it.
    let token = backend_token.open()?;
    Ok(answer.json(body(&backend_token, token.expose())))
}

fn body<'a>(backend_token: &'a BackendToken, access_token: &'a str) -> TokenBody<'a> {
    TokenBody {
        connection_id: backend_token.connection(),
        access_token,
        token_type: "bearer",
        expires_at: backend_token.expires_at().rfc3339(),
        expires_in: backend_token.expires_in.as_secs(),
        generation: backend_token.generation(),
        scopes: backend_token.scopes(),
        warnings: backend_token.warnings.iter().map(warning).collect(),
    }
}

fn warning(warning: &TokenWarning) -> WarningBody {
    let (code, message) = match warning {
        TokenWarning::ExpiresSoon => (
            "expires_soon",
            "The token lives for less than was asked for: it cannot be renewed now.".to_owned(),
        ),
        TokenWarning::ScopesMissing(missing) => (
            "scopes_missing",
            format!("The account has not granted {missing}; calls that need it will be refused."),
        ),
        TokenWarning::RefreshFailing { code, since } => {
            let since = since.map_or_else(String::new, |since| format!(" since {}", since.rfc3339()));
            ("refresh_failing", format!("Renewals have failed with `{code}`{since}; they are tried again."))
        }
        TokenWarning::PortalUnknown => (
            "portal_unknown",
            "HubSpot has not said yet which account this is; it is asked again.".to_owned(),
        ),
    };
    WarningBody { code, message }
}

/// The one parameter. It is read by hand: this is the call that a backend makes before each of its own.
fn min_ttl(query: &str) -> Result<Duration, Problem> {
    if query.is_empty() {
        return Ok(Duration::from_secs(DEFAULT_MIN_TTL));
    }
    let given = query.strip_prefix("min_ttl=").filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds = given.and_then(|text| text.parse().ok()).filter(|seconds| *seconds <= MAX_MIN_TTL);
    let hint = "The one query parameter is `min_ttl`, a number of seconds from 0 to 900.";
    seconds.map(Duration::from_secs).ok_or_else(|| Problem::new(ProblemCode::BadRequest).hint(hint))
}

/// Whether the caller has the answer with this ETag, or any at all (RFC 9110 section 13.1.2).
fn is_known(request: &HttpRequest, tag: &str) -> bool {
    let lines = request.headers().get_all(IF_NONE_MATCH).filter_map(|line| line.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(','));
    tags.any(|known| known.trim() == "*" || known.trim().trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_asked_for_in_whole_seconds_up_to_half_of_the_longest() {
        for (query, seconds) in [("", 60), ("min_ttl=0", 0), ("min_ttl=900", 900), ("min_ttl=0060", 60)] {
            assert_eq!(min_ttl(query).ok(), Some(Duration::from_secs(seconds)), "{query}");
        }
        for query in [
            "min_ttl=",
            "min_ttl=901",
            "min_ttl=-1",
            "min_ttl=+1",
            "min_ttl=1.5",
            "min_ttl=1&min_ttl=1",
            "a=1&min_ttl=900",
            "min_ttl=900&a=1",
            "xmin_ttl=5",
        ] {
            assert!(min_ttl(query).is_err(), "{query}");
        }
    }
}
