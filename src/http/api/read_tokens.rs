//! POST /api/hubspot/read-tokens: the host's backend lets a page read the connections of one of its users.

use std::ops::RangeInclusive;
use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::caller;
use super::connect_sessions::ExternalUserIdWord;
use crate::domain::api_key::ApiScope;
use crate::domain::external::ExternalUserId;
use crate::http::Web;
use crate::http::problem::{Handled, Problem};
use crate::http::request::body::{ApiJson, whole_number};

/// The allowed lifetimes of a token, in seconds.
const LIFETIME: RangeInclusive<u64> = 60..=86_400;
/// The default lifetime of a token, in seconds.
const DEFAULT_LIFETIME: u64 = 3_600;

/// A new read token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateReadToken {
    /// Your id of the user, who may not have connected yet.
    #[schema(value_type = ExternalUserIdWord)]
    external_user_id: ExternalUserId,
    /// The lifetime of the token in seconds: an hour if omitted.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 60, maximum = 86400, default = 3600)]
    expires_in: Option<u64>,
}

/// A read token.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewReadToken {
    /// The token that the user's page passes to the SDK. It is not stored, and cannot be revoked before it expires.
    #[schema(example = "hsc_read_MTc5NTAwMzYwMDAwMCB1c2VyXzQy.<mac>")]
    token: String,
    #[schema(value_type = String)]
    external_user_id: ExternalUserId,
    /// The expiry time of the token.
    #[schema(format = DateTime, example = "2026-11-21T10:00:00Z")]
    expires_at: String,
}

/// Creates a token with which a page shows the connections of one user, on any site and without cookies.
///
/// It gives access to `GET /api/hubspot/status` for the connections of this user and to nothing else: it reads no
/// access token and changes nothing.
#[utoipa::path(
    post, path = "/api/hubspot/read-tokens", tag = "connect sessions",
    security(("api_key" = ["connections:read"])),
    request_body = CreateReadToken,
    responses(
        (status = 201, description = "The token.", body = NewReadToken),
        (status = 400, description = "`invalid_json`, `validation_failed`"),
    )
)]
pub async fn create_read_token(
    request: HttpRequest,
    web: Data<Web>,
    body: ApiJson<CreateReadToken>,
) -> Handled {
    let key = caller(&request, &web, ApiScope::ConnectionsRead).await?;
    let CreateReadToken { external_user_id, expires_in } = body.0;
    let seconds = expires_in.unwrap_or(DEFAULT_LIFETIME);
    if !LIFETIME.contains(&seconds) {
        return Err(Problem::invalid("/expires_in", "must be a number of seconds from 60 to 86400"));
    }
    let tokens = &web.services.connections.read_tokens;
    let lifetime = Duration::from_secs(seconds);
    let (token, expires_at) = tokens.create(&key.project_id, &external_user_id, lifetime);
    // The caller has asked for the token.
    let (token, expires_at) = (token.expose().to_owned(), expires_at.rfc3339());
    Ok(HttpResponse::Created().json(NewReadToken { token, external_user_id, expires_at }))
}
