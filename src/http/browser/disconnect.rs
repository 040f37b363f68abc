//! POST /api/hubspot/disconnect, by a session or by the verifier of the authorization request that connected.

use actix_session::Session;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::authorization::verifier;
use super::caller::Caller;
use super::csrf;
use crate::domain::connection::Revocation;
use crate::domain::id::{ConnectionId, UserId};
use crate::domain::secret::Secret;
use crate::http::Web;
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::http::request::body::ApiJson;
use crate::services::{Disconnected, Outcome};

/// The connection to delete.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Disconnect {
    /// The connection.
    #[schema(value_type = String, format = Uuid)]
    connection_id: ConnectionId,
}

/// A deleted connection.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Disconnected)]
pub struct DisconnectAnswer {
    /// The id of the deleted connection.
    #[schema(value_type = String, format = Uuid)]
    connection_id: ConnectionId,
    revocation: Revocation,
}

impl From<Disconnected> for DisconnectAnswer {
    fn from(Disconnected { connection, revocation }: Disconnected) -> Self {
        Self { connection_id: connection, revocation }
    }
}

/// `POST /api/hubspot/disconnect`: ends one connection of this browser's session.
#[utoipa::path(
    post, path = "/api/hubspot/disconnect", tag = "page",
    summary = "Disconnects, from the browser or the page that connected",
    request_body = Disconnect,
    params(
        ("Hubspot-Connect-Csrf" = Option<String>, Header, description = "The form token of the service's own pages, required with a session."),
        ("Hubspot-Connect-Verifier" = Option<String>, Header, pattern = "^[A-Za-z0-9._~-]{43,128}$", description = "The secret of the page that connected, instead of a session."),
    ),
    security(("session" = []), ("verifier" = [])),
    responses(
        (status = 200, description = "The connection is deleted.", body = DisconnectAnswer),
        (status = 400, description = "`bad_challenge`: the verifier is invalid."),
        (status = 401, description = "`not_authenticated`: the request has neither a session nor a verifier."),
        (status = 403, description = "`csrf_rejected`: the request did not come from a page of the service."),
        (status = 404, description = "`connection_not_found`: no such connection, or another user's."),
    )
)]
pub async fn disconnect_connection(
    request: HttpRequest,
    web: Data<Web>,
    session: Session,
    body: ApiJson<Disconnect>,
) -> Handled {
    let user = match verifier(&request)? {
        Some(verifier) => owner(&web, &verifier, body.0.connection_id).await?,
        None => {
            let caller = Caller::of(&session).ok_or(ProblemCode::NotAuthenticated)?;
            let token = request.headers().get("hubspot-connect-csrf").and_then(|token| token.to_str().ok());
            csrf::check(&request, &web, &caller, token)?;
            caller.user
        }
    };
    let ended = web.services.connections.disconnects.disconnect(user, body.0.connection_id, true).await?;
    let ended = ended.ok_or(ProblemCode::ConnectionNotFound)?;
    Ok(HttpResponse::Ok().json(DisconnectAnswer::from(ended)))
}

/// Returns the owner of the connection that an authorization request led to. No cookie is used, so no other site can
/// forge this request.
async fn owner(web: &Web, verifier: &Secret, connection: ConnectionId) -> Result<UserId, Problem> {
    match web
        .services
        .connect
        .statuses
        .find(verifier, None)
        .await?
        .and_then(|authorization| authorization.outcome)
    {
        Some(Outcome::Connected(found)) if found.token.id == connection => Ok(found.token.user_id),
        _ => Err(Problem::new(ProblemCode::ConnectionNotFound)),
    }
}
