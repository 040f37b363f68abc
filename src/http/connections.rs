//! POST /api/hubspot/disconnect, by a session or by the verifier of the attempt that connected.

use actix_session::Session;
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Web;
use super::attempt::verifier;
use super::caller::Caller;
use super::csrf;
use super::problem::Problem;
use crate::domain::id::{ConnectionId, UserId};
use crate::domain::secret::Secret;
use crate::flows::{Outcome, Revoked};

/// Which connection ends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Disconnect {
    connection_id: ConnectionId,
}

/// `POST /api/hubspot/disconnect`: ends one connection of this browser's session.
pub(super) async fn disconnect_connection(
    request: HttpRequest,
    web: Data<Web>,
    session: Session,
    body: Json<Disconnect>,
) -> Result<HttpResponse, Problem> {
    let user = match verifier(&request)? {
        Some(verifier) => owner(&web, &verifier, body.connection_id).await?,
        None => {
            let caller = Caller::of(&session).ok_or(Problem::new("not_authenticated"))?;
            let token = request.headers().get("x-csrf-token").and_then(|token| token.to_str().ok());
            csrf::check(&request, &web, &caller, token)?;
            caller.user
        }
    };
    let ended = web.flows.disconnect(user, body.connection_id, true).await?;
    let ended = ended.ok_or(Problem::new("not_found"))?;
    let (revoked, reason): (Value, Value) = match ended.revoked {
        Revoked::Yes => (true.into(), Value::Null),
        Revoked::Queued => ("queued".into(), Value::Null),
        Revoked::Shared => (false.into(), "shared".into()),
        Revoked::No => (false.into(), "not_possible".into()),
    };
    Ok(HttpResponse::Ok()
        .json(json!({"connection_id": ended.connection, "revoked": revoked, "reason": reason})))
}

/// Whose connection an attempt led to. It is no cookie that speaks here, so no other site can borrow it.
async fn owner(web: &Web, verifier: &Secret, connection: ConnectionId) -> Result<UserId, Problem> {
    match web.flows.attempt(verifier, None).await?.and_then(|attempt| attempt.outcome) {
        Some(Outcome::Connected(found)) if found.token.id == connection => Ok(found.token.user_id),
        _ => Err(Problem::new("not_found")),
    }
}
