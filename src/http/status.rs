//! GET /api/hubspot/status.

use std::time::{Duration, Instant};

use actix_session::Session;
use actix_web::http::header::{ETAG, IF_NONE_MATCH};
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Web;
use super::caller::Caller;
use super::problem::Problem;
use crate::domain::clock::Moment;
use crate::flows::Connection;

/// A longer wait would outlast proxies on the way.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

/// How long the answer may wait for a change.
#[derive(Debug, Deserialize)]
pub(super) struct Wait {
    wait: Option<u64>,
}

/// `GET /api/hubspot/status?wait=SECONDS`: the connections of this browser's session. With `wait` and the ETag of the
/// last answer, it answers as soon as something has changed.
pub(super) async fn get_status(
    request: HttpRequest,
    web: Data<Web>,
    session: Session,
    wait: Query<Wait>,
) -> Result<HttpResponse, Problem> {
    let deadline = Instant::now() + Duration::from_secs(wait.wait.unwrap_or(0)).min(LONGEST_WAIT);
    let known = request
        .headers()
        .get(IF_NONE_MATCH)
        .and_then(|tag| tag.to_str().ok());
    let caller = Caller::of(&session);
    loop {
        let now = web.flows.clock().now();
        let mut body = body(&web, caller.as_ref(), now).await?;
        let tag = etag(&body);
        if known != Some(tag.as_str()) {
            count_down(&mut body, now);
            return Ok(HttpResponse::Ok().insert_header((ETAG, tag)).json(body));
        }
        if Instant::now() >= deadline {
            return Ok(HttpResponse::NotModified().insert_header((ETAG, tag)).finish());
        }
        web.flows.changed().await;
    }
}

/// The answer, with the moment of the next refresh where the seconds until then will stand.
async fn body(web: &Web, caller: Option<&Caller>, now: Moment) -> Result<Value, Problem> {
    let connections = match caller {
        Some(caller) => web.flows.connections(caller.user).await?,
        None => Default::default(),
    };
    let list: Vec<Value> = connections
        .iter()
        .map(|connection| connection_fields(connection, now))
        .collect();
    let (Some(newest), Some(caller)) = (list.first(), caller) else {
        return Ok(json!({"authenticated": false, "connections": []}));
    };
    let mut body = Map::new();
    body.insert("authenticated".to_owned(), true.into());
    body.insert("user_id".to_owned(), json!(caller.user));
    if let Value::Object(fields) = newest {
        body.extend(
            fields
                .iter()
                .filter(|(name, _)| *name != "id")
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    body.insert("connections".to_owned(), list.into());
    Ok(Value::Object(body))
}

/// One connection. Its fields are written out one by one: what is not named here does not leave.
pub(super) fn connection_fields(connection: &Connection, now: Moment) -> Value {
    let token = &connection.token;
    json!({
        "id": token.id,
        "portal_id": token.portal_id,
        "hub_domain": token.hub_domain,
        "time_zone": token.time_zone,
        "state": token.public_state(now),
        "scopes": token.scopes,
        "missing_scopes": token.wanted_scopes.missing_from(&token.scopes),
        "expires_at": token.expires_at.rfc3339(),
        "connected_at": token.connected_at.rfc3339(),
        "seconds_until_refresh": connection.refresh_at.map(Moment::unix_ms),
    })
}

/// Seconds until `refresh_at`, rounded up; zero once it is due.
pub(super) fn seconds_until(refresh_at: Moment, now: Moment) -> u64 {
    refresh_at
        .since(now)
        .as_millis()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u64::MAX)
}

fn count_down(body: &mut Value, now: Moment) {
    let replace = |fields: &mut Value| {
        if let Some(at) = fields.get_mut("seconds_until_refresh").filter(|at| at.is_i64()) {
            *at = seconds_until(Moment::from_unix_ms(at.as_i64().unwrap_or_default()), now).into();
        }
    };
    if let Some(list) = body.get_mut("connections").and_then(Value::as_array_mut) {
        list.iter_mut().for_each(replace);
    }
    replace(body);
}

fn etag(body: &Value) -> String {
    let digest = Sha256::digest(body.to_string());
    format!(
        "\"{:016x}\"",
        u64::from_be_bytes(digest[..8].try_into().unwrap_or_default())
    )
}
