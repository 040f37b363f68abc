//! /api/hubspot/installs: installs that began at HubSpot's Marketplace and wait to be claimed.

use std::collections::BTreeMap;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::caller::{authenticate, caller};
use super::connect_sessions::{ExternalUserIdWord, metadata_text};
use super::pagination::{Page, PageParams, PageRequest};
use crate::domain::api_key::ApiScope;
use crate::domain::external::ExternalUserId;
use crate::domain::id::{ConnectionId, InstallId, PortalId};
use crate::http::Web;
use crate::http::problem::{Handled, ProblemCode};
use crate::http::request::body::ApiJson;
use crate::services::PendingGrant;

/// An unclaimed install.
#[derive(Debug, Serialize, ToSchema)]
pub struct InstallBody {
    #[schema(value_type = uuid::Uuid)]
    id: InstallId,
    /// The HubSpot account in which the app was installed.
    #[schema(value_type = i64)]
    portal_id: PortalId,
    /// The account's website, if HubSpot has named it.
    hub_domain: Option<String>,
    /// The e-mail address of the HubSpot user who installed the app, if HubSpot has named it. It is not proof of
    /// identity.
    installed_by: Option<String>,
    scopes: Vec<String>,
    installed_at: String,
    /// The time until which the install can be claimed.
    expires_at: String,
}

impl From<PendingGrant> for InstallBody {
    fn from(install: PendingGrant) -> Self {
        Self {
            id: install.id.install(),
            portal_id: install.portal_id,
            hub_domain: install.hub_domain,
            installed_by: install.hub_user,
            scopes: install.scopes.iter().flat_map(|scopes| scopes.iter()).map(str::to_owned).collect(),
            installed_at: install.obtained_at.rfc3339(),
            expires_at: install.expires_at.rfc3339(),
        }
    }
}

/// Lists unclaimed installs, ordered by id. An install belongs to no project until it is claimed.
#[utoipa::path(
    get, path = "/api/hubspot/installs", tag = "installs", security(("api_key" = ["sessions:write"])),
    params(
        PageParams,
        ("portal_id" = Option<u64>, Query, maximum = 9_007_199_254_740_991_u64, description = "Only the installs of this HubSpot account."),
    ),
    responses(
        (status = 200, description = "A page of installs.", body = Page<InstallBody>),
        (status = 400, description = "`bad_request`: a parameter is unknown, repeated or invalid."),
    )
)]
pub async fn list_installs(request: HttpRequest, web: Data<Web>) -> Handled {
    authenticate(&request, &web, ApiScope::SessionsWrite).await?;
    let page = PageRequest::read(&request, &["portal_id"])?;
    let portal = page.filters.get("portal_id", "the number of a HubSpot account")?;
    let installs = &web.services.marketplace.installs;
    let installs = installs.waiting_installs(portal, page.after, page.rows().into()).await?;
    Ok(page.answer(installs, |install| install.id.install(), InstallBody::from))
}

/// The user who claims an install.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InstallClaim {
    /// Your id of the user. Verify yourself that the HubSpot account belongs to this user.
    #[schema(value_type = ExternalUserIdWord)]
    external_user_id: ExternalUserId,
    /// Your metadata of the connection.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<BTreeMap<String, Value>>,
}

/// A claimed install.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClaimedInstallBody {
    #[schema(value_type = uuid::Uuid)]
    install_id: InstallId,
    /// The connection that was created or reconnected.
    #[schema(value_type = uuid::Uuid)]
    connection_id: ConnectionId,
    #[schema(value_type = i64)]
    portal_id: PortalId,
    #[schema(value_type = String)]
    external_user_id: ExternalUserId,
}

/// Claims an install for one of your users: it becomes a connection of your key's project, or reconnects the one that
/// the user has to that account. Repeating the same claim returns the same response.
#[utoipa::path(
    post, path = "/api/hubspot/installs/{id}/claim", tag = "installs",
    security(("api_key" = ["sessions:write"])),
    params(("id" = uuid::Uuid, Path, description = "The install.")),
    request_body = InstallClaim,
    responses(
        (status = 200, description = "The install is now a connection of that user.", body = ClaimedInstallBody),
        (status = 400, description = "`invalid_json`, `validation_failed`"),
        (status = 404, description = "`install_not_found`"),
        (status = 409, description = "`install_claimed`"),
        (status = 500, description = "`unknown_key`, `integrity_error`"),
    )
)]
pub async fn claim_install(
    request: HttpRequest,
    web: Data<Web>,
    id: Path<String>,
    body: ApiJson<InstallClaim>,
) -> Handled {
    let key = caller(&request, &web, ApiScope::SessionsWrite).await?;
    let id: InstallId = id.parse().map_err(|_| ProblemCode::InstallNotFound)?;
    let InstallClaim { external_user_id, metadata } = body.0;
    let metadata = metadata_text(metadata)?;
    let (project, user) = (key.project_id.clone(), external_user_id.clone());
    let claimed = web.services.marketplace.installs.claim_install(id, project, user, metadata).await?;
    Ok(HttpResponse::Ok().json(ClaimedInstallBody {
        install_id: id,
        connection_id: claimed.connection_id,
        portal_id: claimed.portal_id,
        external_user_id,
    }))
}
