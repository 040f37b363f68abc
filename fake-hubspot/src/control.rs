//! The fake's own HTTP API, for tests in a browser.

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::clock::now_ms;
use crate::hub::Hub;
use crate::options::Options;
use crate::script::Rule;

/// Answers `POST /__script` with a [`Rule`].
pub(crate) async fn order(hub: Data<Hub>, body: Bytes) -> HttpResponse {
    with_body(&body, |rule: Rule| {
        hub.lock().script.order(rule);
        Ok(())
    })
}

/// Answers `DELETE /__script`, which also releases held calls.
pub(crate) async fn clear_script(hub: Data<Hub>) -> HttpResponse {
    let mut state = hub.lock();
    state.script.clear();
    state.release();
    HttpResponse::NoContent().finish()
}

/// Answers `GET /__journal`.
pub(crate) async fn journal(hub: Data<Hub>) -> HttpResponse {
    HttpResponse::Ok().json(hub.lock().journal.all())
}

/// Answers `GET /__counts`: the number of calls of each kind, including those that the journal has dropped.
pub(crate) async fn counts(hub: Data<Hub>) -> HttpResponse {
    HttpResponse::Ok().json(hub.lock().journal.counts())
}

/// Answers `DELETE /__journal`.
pub(crate) async fn clear_journal(hub: Data<Hub>) -> HttpResponse {
    hub.lock().journal.clear();
    HttpResponse::NoContent().finish()
}

/// Answers `GET /__options`.
pub(crate) async fn options(hub: Data<Hub>) -> HttpResponse {
    HttpResponse::Ok().json(&hub.lock().options)
}

/// Answers `POST /__options` with the options that change; the others stay.
pub(crate) async fn change_options(hub: Data<Hub>, body: Bytes) -> HttpResponse {
    with_body(&body, |changes: Map<String, Value>| {
        let mut state = hub.lock();
        let mut merged = serde_json::to_value(&state.options)?;
        if let Value::Object(fields) = &mut merged {
            fields.extend(changes);
        }
        state.options = serde_json::from_value::<Options>(merged)?;
        Ok(())
    })
}

/// Answers `POST /__uninstall` with the account; the response is one line, for the terminal of a user.
pub(crate) async fn uninstall(hub: Data<Hub>, body: Bytes) -> HttpResponse {
    #[derive(Deserialize)]
    struct Uninstall {
        hub_id: u64,
    }
    match serde_json::from_slice(&body) {
        Ok(Uninstall { hub_id }) => {
            let grants_ended = hub.lock().uninstall(hub_id, now_ms());
            let line =
                json!({"hub_id": hub_id, "uninstalled": grants_ended > 0, "grants_ended": grants_ended});
            HttpResponse::Ok().content_type("application/json").body(format!("{line}\n"))
        }
        Err(error) => bad_request(&error),
    }
}

/// Answers `GET /__grants`.
pub(crate) async fn grants(hub: Data<Hub>) -> HttpResponse {
    HttpResponse::Ok().json(hub.lock().grants.all())
}

/// Parses JSON of any content type and acts on it, or returns the parse error for the author of the test.
fn with_body<T: DeserializeOwned>(
    body: &[u8],
    act: impl FnOnce(T) -> serde_json::Result<()>,
) -> HttpResponse {
    match serde_json::from_slice(body).and_then(act) {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(error) => bad_request(&error),
    }
}

fn bad_request(error: &serde_json::Error) -> HttpResponse {
    HttpResponse::BadRequest().body(format!("{error}\n"))
}
