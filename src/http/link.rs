//! /connect: the page behind a hosted link. It names who asks, and for what, before the person goes on to HubSpot.

use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::Web;
use super::client::address;
use super::csrf::same_origin;
use super::problem::Problem;
use crate::domain::secret::Secret;

/// `GET /connect`: the same page for every link. What opens one stands behind the `#` and is read by the page's script.
pub(super) async fn get_link(web: Data<Web>) -> HttpResponse {
    let origin = web.config.server.origin();
    let page = web.templates.page("link.html", &json!({"origin": origin}));
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}

/// What opens a link.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Link {
    token: String,
}

/// `POST /auth/hubspot/link`: who asks, and for what, for our own page alone.
pub(super) async fn read_link(
    request: HttpRequest,
    web: Data<Web>,
    body: Json<Link>,
) -> Result<HttpResponse, Problem> {
    same_origin(&request, &web)?;
    if !address(&request, &web).is_some_and(|address| web.starts.admit(address)) {
        return Err(Problem::new("rate_limited"));
    }
    let found = web.flows.hosted_session(&Secret::new(body.into_inner().token)).await?;
    let session = found.ok_or_else(|| Problem::new("connect_session_ended"))?;
    let settings = &web.config.hubspot;
    let applications = match &session.allowed_origins {
        Some(origins) => origins.iter().map(ToString::to_string).collect::<Vec<_>>(),
        None => web.allowed_origins().iter().map(ToString::to_string).collect(),
    };
    Ok(HttpResponse::Ok().json(json!({
        "requested_by": session.requested_by.unwrap_or_else(|| session.external_id.to_string()),
        "applications": applications,
        "scopes": session.scopes.as_ref().unwrap_or(&settings.scopes),
        "optional_scopes": session.optional_scopes.as_ref().unwrap_or(&settings.optional_scopes),
        "hub_id": session.portal_id,
        "expires_at": session.expires_at.rfc3339(),
    })))
}
