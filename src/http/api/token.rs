//! GET /api/hubspot/connections/{id}/token: an access token for the host's backend.

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

/// The default of `min_ttl`, in seconds.
const DEFAULT_MIN_TTL: u64 = 60;
/// The maximum of `min_ttl`: half the lifetime that HubSpot gives an access token.
const MAX_MIN_TTL: u64 = 900;

/// An access token of HubSpot's, for `Authorization: Bearer`.
#[derive(Serialize, ToSchema)]
pub struct TokenBody<'a> {
    #[schema(value_type = uuid::Uuid)]
    connection_id: ConnectionId,
    /// The access token. Send it only to HubSpot.
    access_token: &'a str,
    /// Always `bearer` (RFC 6750).
    token_type: &'static str,
    /// The expiry time of the token (RFC 3339, UTC).
    expires_at: String,
    /// The number of seconds until the token expires.
    expires_in: u64,
    /// A counter that rises by one with every refresh.
    generation: i64,
    /// The granted scopes; null until HubSpot has named them.
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<&'a Scopes>,
    /// Reasons not to rely on the token; usually empty.
    warnings: Vec<WarningBody>,
}

/// A warning about a token.
#[derive(Serialize, ToSchema)]
pub struct WarningBody {
    /// `expires_soon`, `scopes_missing`, `refresh_failing` or `portal_unknown`.
    code: &'static str,
    /// A sentence for the developer.
    message: String,
}

/// Returns the access token of a connection. It is valid for at least `min_ttl` seconds, and refreshed first if
/// necessary; if the refresh fails, the response has the warning `expires_soon`.
#[utoipa::path(
    get, path = "/api/hubspot/connections/{id}/token", tag = "tokens",
    security(("api_key" = ["tokens:read"])),
    params(
        ("id" = uuid::Uuid, Path, description = "The connection."),
        ("min_ttl" = Option<u64>, Query, minimum = 0, maximum = 900, description = "The minimum number of seconds for which the token must stay valid; 60 if omitted."),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the last response: 304 means that its token is still valid for `min_ttl`."),
    ),
    responses(
        (status = 200, description = "The token, with `ETag`, and `Cache-Control: private` for as long as `min_ttl` is satisfied.", body = TokenBody),
        (status = 304, description = "The token of the last response is still valid for `min_ttl`."),
        (status = 400, description = "`bad_request`: `min_ttl` is not a number from 0 to 900, or there is another parameter."),
        (status = 403, description = "`api_key_scope_missing`: `tokens:read`"),
        (status = 404, description = "`connection_not_found`"),
        (status = 409, description = "`needs_reauth`: the user has to reconnect."),
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
    // The only response with an access token.
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
        TokenWarning::ExpiresSoon => {
            ("expires_soon", "The token expires before `min_ttl`: it could not be refreshed.".to_owned())
        }
        TokenWarning::ScopesMissing(missing) => (
            "scopes_missing",
            format!("The account has not granted {missing}; calls that need it will fail."),
        ),
        TokenWarning::RefreshFailing { code, since } => {
            let since = since.map_or_else(String::new, |since| format!(" since {}", since.rfc3339()));
            ("refresh_failing", format!("Refreshes have failed with `{code}`{since}; the service retries."))
        }
        TokenWarning::PortalUnknown => {
            ("portal_unknown", "HubSpot has not named the account yet; the service asks again.".to_owned())
        }
    };
    WarningBody { code, message }
}

/// Parses the only parameter, by hand: a backend makes this call before each of its own.
fn min_ttl(query: &str) -> Result<Duration, Problem> {
    if query.is_empty() {
        return Ok(Duration::from_secs(DEFAULT_MIN_TTL));
    }
    let given = query.strip_prefix("min_ttl=").filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds = given.and_then(|text| text.parse().ok()).filter(|seconds| *seconds <= MAX_MIN_TTL);
    let hint = "The one query parameter is `min_ttl`, a number of seconds from 0 to 900.";
    seconds.map(Duration::from_secs).ok_or_else(|| Problem::new(ProblemCode::BadRequest).hint(hint))
}

/// Returns whether `If-None-Match` has this ETag or `*` (RFC 9110 section 13.1.2).
fn is_known(request: &HttpRequest, tag: &str) -> bool {
    let lines = request.headers().get_all(IF_NONE_MATCH).filter_map(|line| line.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(','));
    tags.any(|known| known.trim() == "*" || known.trim().trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimum_lifetimes_are_whole_seconds_up_to_half_of_the_longest() {
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
