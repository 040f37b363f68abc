//! /connect: the page behind a hosted link. It names the requester and the requested access before the user continues
//! to HubSpot.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::csrf::same_origin;
use super::navigation::admit;
use crate::domain::id::PortalId;
use crate::domain::project::ProjectId;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Secret;
use crate::http::Web;
use crate::http::problem::{Handled, ProblemCode};
use crate::http::request::body::ApiJson;
use crate::http::templates::html;

/// `GET /connect`: the same page for every link. The link's token is in the fragment, which the page's script reads.
pub async fn get_link(web: Data<Web>) -> HttpResponse {
    let origin = web.config.server.origin();
    html(web.templates.page("link.html", &json!({"origin": origin})))
}

/// The token of a link, or of its page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The fragment of the link, or the token that its page has exchanged it for.
    token: String,
}

/// The requester and the requested access.
#[derive(Debug, Serialize)]
struct LinkBody<'a> {
    /// The name of the requester. It is user input: show it as text, never as HTML.
    requested_by: String,
    /// The name of the application, if it has one.
    application: Option<&'a str>,
    /// The origins that are notified.
    applications: Vec<String>,
    /// The scopes that the account must grant.
    scopes: &'a Scopes,
    /// The scopes that the account may lack.
    optional_scopes: &'a Scopes,
    /// The only HubSpot account that may be connected.
    portal_id: Option<PortalId>,
    /// The time at which the link expires.
    expires_at: String,
}

/// `POST /auth/hubspot/link`: returns the requester and the requested access, for our own page only.
pub async fn read_link(request: HttpRequest, web: Data<Web>, body: ApiJson<Link>) -> Handled {
    same_origin(&request, &web)?;
    admit(&request, &web, &web.limits.starts)?;
    let found = web.services.connect.sessions.hosted_session(&Secret::new(body.0.token)).await?;
    let session = found.ok_or(ProblemCode::ConnectSessionEnded)?;
    let settings = &web.config.hubspot;
    // APP_NAME names one product; another project is another product.
    let is_named = session.project_id == ProjectId::default();
    let applications = session.allowed_origins.as_ref().unwrap_or(web.allowed_origins());
    Ok(HttpResponse::Ok().json(LinkBody {
        requested_by: session.requested_by.unwrap_or_else(|| session.external_id.to_string()),
        application: web.config.server.app_name.as_deref().filter(|_| is_named),
        applications: applications.iter().map(ToString::to_string).collect(),
        scopes: session.scopes.as_ref().unwrap_or(&settings.scopes),
        optional_scopes: session.optional_scopes.as_ref().unwrap_or(&settings.optional_scopes),
        portal_id: session.portal_id,
        expires_at: session.expires_at.rfc3339(),
    }))
}

/// `POST /auth/hubspot/link/open`: the user continues. From now on the link itself is invalid.
pub async fn open_link(request: HttpRequest, web: Data<Web>, body: ApiJson<Link>) -> Handled {
    same_origin(&request, &web)?;
    admit(&request, &web, &web.limits.starts)?;
    let opened = web.services.connect.sessions.open_link(&Secret::new(body.0.token)).await?;
    let token = opened.ok_or(ProblemCode::ConnectSessionEnded)?;
    Ok(HttpResponse::Ok().json(json!({"token": token.expose()})))
}
