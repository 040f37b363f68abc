//! /connect: the page behind a hosted link. It names who asks, and for what, before the person goes on to HubSpot.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::csrf::same_origin;
use super::navigation::admit;
use crate::domain::id::PortalId;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Secret;
use crate::http::Web;
use crate::http::problem::{Handled, ProblemCode};
use crate::http::request::body::ApiJson;
use crate::http::templates::html;

/// `GET /connect`: the same page for every link. What opens one stands behind the `#` and is read by the page's script.
pub async fn get_link(web: Data<Web>) -> HttpResponse {
    let origin = web.config.server.origin();
    html(web.templates.page("link.html", &json!({"origin": origin})))
}

/// What opens a link, or what its page has got for it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// What stands behind the `#` of the link, or the token that its page has exchanged it for.
    token: String,
}

/// What the page behind a link goes on with.
#[derive(Serialize, ToSchema)]
struct OpenedLink<'a> {
    /// For the form that begins an attempt. It opens no link.
    #[schema(example = "<token>")]
    token: &'a str,
}

/// Who asks, and for what.
#[derive(Debug, Serialize, ToSchema)]
struct LinkBody<'a> {
    /// Somebody has typed it: show it as text, never as HTML.
    requested_by: String,
    /// The origins that are told.
    applications: Vec<String>,
    /// Scopes that the account must grant.
    #[schema(value_type = Vec<String>)]
    scopes: &'a Scopes,
    /// Scopes that the account may lack.
    #[schema(value_type = Vec<String>)]
    optional_scopes: &'a Scopes,
    /// The one HubSpot account that may be connected.
    #[schema(value_type = Option<i64>)]
    portal_id: Option<PortalId>,
    /// Until when the link is good.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// `POST /auth/hubspot/link`: who asks, and for what, for our own page alone.
#[utoipa::path(
    post, path = "/auth/hubspot/link", tag = "popup",
    summary = "Who asks by a hosted link, and for what",
    description = "For the script of the page behind a link. The link stays as it is: programs that look at mail open links too.",
    request_body = Link,
    security(()),
    responses(
        (status = 200, description = "Who asks, and for what.", body = LinkBody),
        (status = 403, description = "`csrf_rejected`: not sent from our own page."),
        (status = 410, description = "`connect_session_ended`: there is no such link, or it has ended."),
        (status = 429, description = "`rate_limited`: too many from this address."),
    )
)]
pub async fn read_link(request: HttpRequest, web: Data<Web>, body: ApiJson<Link>) -> Handled {
    same_origin(&request, &web)?;
    admit(&request, &web, &web.limits.starts)?;
    let found = web.services.connect.sessions.hosted_session(&Secret::new(body.0.token)).await?;
    let session = found.ok_or(ProblemCode::ConnectSessionEnded)?;
    let settings = &web.config.hubspot;
    let applications = session.allowed_origins.as_ref().unwrap_or(web.allowed_origins());
    Ok(HttpResponse::Ok().json(LinkBody {
        requested_by: session.requested_by.unwrap_or_else(|| session.external_id.to_string()),
        applications: applications.iter().map(ToString::to_string).collect(),
        scopes: session.scopes.as_ref().unwrap_or(&settings.scopes),
        optional_scopes: session.optional_scopes.as_ref().unwrap_or(&settings.optional_scopes),
        portal_id: session.portal_id,
        expires_at: session.expires_at.rfc3339(),
    }))
}

/// `POST /auth/hubspot/link/open`: the person goes on. From here on the link opens nothing.
#[utoipa::path(
    post, path = "/auth/hubspot/link/open", tag = "popup",
    summary = "Exchanges what opens a hosted link, once",
    description = "For the script of the page behind a link, when the person goes on. The page keeps the new token to itself; the link opens nothing from then on, wherever it is still found.",
    request_body = Link,
    security(()),
    responses(
        (status = 200, description = "What the page goes on with.", body = OpenedLink),
        (status = 403, description = "`csrf_rejected`: not sent from our own page."),
        (status = 410, description = "`connect_session_ended`: there is no such link, or it was opened before or has ended."),
        (status = 429, description = "`rate_limited`: too many from this address."),
    )
)]
pub async fn open_link(request: HttpRequest, web: Data<Web>, body: ApiJson<Link>) -> Handled {
    same_origin(&request, &web)?;
    admit(&request, &web, &web.limits.starts)?;
    let opened = web.services.connect.sessions.open_link(&Secret::new(body.0.token)).await?;
    let token = opened.ok_or(ProblemCode::ConnectSessionEnded)?;
    Ok(HttpResponse::Ok().json(OpenedLink { token: token.expose() }))
}
