//! GET /api/hubspot/api-key: the API key of the request.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::any_caller;
use crate::domain::api_key::ApiScope;
use crate::domain::id::ApiKeyId;
use crate::http::Web;
use crate::http::problem::Handled;
use crate::http::request::query::ApiQuery;

/// An API key without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyBody {
    #[schema(value_type = uuid::Uuid)]
    id: ApiKeyId,
    /// The first characters of the key.
    prefix: String,
    name: String,
    /// The project whose connections, connect sessions and webhook endpoints the key can access.
    project: String,
    /// The scopes of the key.
    scopes: Vec<ApiScope>,
    created_at: String,
}

/// Returns the API key that authenticates the request.
#[utoipa::path(
    get, path = "/api/hubspot/api-key", tag = "api keys", security(("api_key" = [])),
    responses(
        (status = 200, description = "The key without its secret.", body = ApiKeyBody),
    )
)]
pub async fn get_api_key(request: HttpRequest, web: Data<Web>) -> Handled {
    let key = any_caller(&request, &web).await?;
    ApiQuery::none(&request)?;
    Ok(HttpResponse::Ok().json(ApiKeyBody {
        id: key.id,
        prefix: key.prefix(),
        name: key.name.clone(),
        project: key.project_id.to_string(),
        scopes: key.scopes.0.to_vec(),
        created_at: key.created_at.rfc3339(),
    }))
}
