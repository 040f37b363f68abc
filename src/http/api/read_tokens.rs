//! POST /api/hubspot/read-tokens: the host's backend lets a page read what one of its users has connected.

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

/// How long a token may live, in seconds.
const LIFETIME: RangeInclusive<u64> = 60..=86_400;
/// How long it lives if nothing is said, in seconds.
const DEFAULT_LIFETIME: u64 = 3_600;

/// Whose connections may be read, and for how long.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateReadToken {
    /// Your own id of the user, who may have connected nothing yet.
    #[schema(value_type = ExternalUserIdWord)]
    external_user_id: ExternalUserId,
    /// How long the token lives, in seconds: an hour if left out.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 60, maximum = 86400, default = 3600)]
    expires_in: Option<u64>,
}

/// A read token.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewReadToken {
    /// For the page of this user, which gives it to the SDK. It is not stored, and cannot be revoked before it expires.
    #[schema(example = "hsc_read_MTc5NTAwMzYwMDAwMCB1c2VyXzQy.<mac>")]
    token: String,
    #[schema(value_type = String)]
    external_user_id: ExternalUserId,
    /// When the token expires.
    #[schema(format = DateTime, example = "2026-11-21T10:00:00Z")]
    expires_at: String,
}

/// Creates a token with which a page shows what one user has connected, on any site and without cookies.
///
/// It opens `GET /api/hubspot/status` for the connections of this user and nothing else: no access token, no change.
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
        return Err(Problem::invalid("/expires_in", "is a number of seconds from 60 to 86400"));
    }
    let tokens = &web.services.connections.read_tokens;
    let lifetime = Duration::from_secs(seconds);
    let (token, expires_at) = tokens.create(&key.project_id, &external_user_id, lifetime);
    // The caller has asked for the token.
    let (token, expires_at) = (token.expose().to_owned(), expires_at.rfc3339());
    Ok(HttpResponse::Created().json(NewReadToken { token, external_user_id, expires_at }))
}
