//! Faults on the wire.

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use tokio::time::sleep;

use crate::answer::{Answer, Content, Refusal, status_code};
use crate::hub::CallGuard;
use crate::incoming::Incoming;
use crate::random;
use crate::script::Fault;
use crate::wire::{Drip, Endless, Line, Padded, dropped};

const JSON: (&str, &str) = ("content-type", "application/json;charset=utf-8");
/// `{"token_type":"bearer"}`, compressed.
const COMPRESSED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x2a\xc9\xcf\x4e\xcd\x8b\
    \x2f\xa9\x2c\x48\x55\xb2\x52\x4a\x4a\x4d\x2c\x4a\x2d\x52\xaa\x05\x00\x35\x81\xb2\x6d\x17\x00\x00\x00";

/// Answers a call with its fault.
pub(crate) async fn play(
    fault: Fault,
    call: &Incoming,
    mut guard: CallGuard,
    request: &HttpRequest,
) -> HttpResponse {
    match fault {
        Fault::Delay(time) => {
            sleep(time).await;
            compute(call, &mut guard).into_response()
        }
        Fault::DelayAfterIssue(time) => {
            let answer = compute(call, &mut guard);
            sleep(time).await;
            answer.into_response()
        }
        Fault::Hold => {
            guard.released().await;
            compute(call, &mut guard).into_response()
        }
        Fault::HoldAfterIssue => {
            let answer = compute(call, &mut guard);
            guard.released().await;
            answer.into_response()
        }
        Fault::Patch { set, drop } => {
            let mut answer = compute(call, &mut guard);
            answer.patch(set, &drop);
            answer.into_response()
        }
        Fault::ResetAfterIssue => {
            compute(call, &mut guard);
            guard.ending.status = None;
            end(guard, request, Line::arm_reset)
        }
        Fault::Hang(time) => {
            sleep(time).await;
            end(guard, request, Line::hang_up)
        }
        Fault::CloseBeforeAnswer => end(guard, request, Line::hang_up),
        Fault::CloseAfterHeaders => say(guard, request, &head("content-length: 700")),
        Fault::HalfBody => say(guard, request, &half_body()),
        Fault::BadChunk => say(guard, request, &bad_chunk()),
        other => {
            let response = without_answering(other);
            guard.ending.status = Some(response.status().as_u16());
            response
        }
    }
}

/// Computes the normal response, with all its effects.
pub(crate) fn compute(call: &Incoming, guard: &mut CallGuard) -> Answer {
    let answer = guard.hub.lock().answer(call);
    guard.ending = answer.ending();
    answer
}

/// Acts on the connection and drops it.
fn end(guard: CallGuard, request: &HttpRequest, act: impl FnOnce(&Line)) -> HttpResponse {
    // The journal is complete before the caller can notice that the call is over.
    drop(guard);
    if let Some(line) = request.conn_data::<Line>() {
        act(line);
    }
    dropped()
}

/// Writes bytes past the server and closes the connection.
fn say(mut guard: CallGuard, request: &HttpRequest, bytes: &str) -> HttpResponse {
    guard.ending.status = Some(200);
    end(guard, request, |line| {
        line.say(bytes.as_bytes());
        line.hang_up();
    })
}

/// Returns the response of faults that leave codes and grants as they are.
fn without_answering(fault: Fault) -> HttpResponse {
    match fault {
        Fault::Status { status, headers, body } => {
            let mut response = HttpResponse::build(status_code(status));
            for (name, value) in headers {
                response.insert_header((name, value));
            }
            response.body(body)
        }
        Fault::Body { content_type, body } => {
            let mut response = HttpResponse::Ok();
            if let Some(content_type) = content_type {
                response.insert_header((CONTENT_TYPE, content_type));
            }
            response.body(body)
        }
        Fault::Json(json) => Answer::new(200, Content::Json(json)).into_response(),
        Fault::Oauth { status, error, hubspot_status, message } => {
            let refusal = Refusal {
                error: error.as_deref(),
                hubspot_status: hubspot_status.as_deref(),
                message: &message,
            };
            Answer::new(status, Content::Json(refusal.json())).into_response()
        }
        Fault::Redirect { status, location } => {
            HttpResponse::build(status_code(status)).insert_header((LOCATION, location)).finish()
        }
        Fault::Endless => {
            let start = Bytes::from_static(b"{\"access_token\":\"");
            HttpResponse::Ok().insert_header(JSON).body(Endless(Some(start)))
        }
        Fault::Drip => HttpResponse::Ok().insert_header(JSON).body(Drip::new(Bytes::from(look_alike()))),
        Fault::Large(length) => HttpResponse::Ok().insert_header(JSON).body(large(length)),
        Fault::Gzip => {
            HttpResponse::Ok().insert_header(JSON).insert_header((CONTENT_ENCODING, "gzip")).body(COMPRESSED)
        }
        // The caller handles every other fault itself.
        _ => dropped(),
    }
}

fn head(length: &str) -> String {
    let (name, value) = JSON;
    format!("HTTP/1.1 200 OK\r\n{name}: {value}\r\n{length}\r\n\r\n")
}

fn half_body() -> String {
    let body = look_alike();
    let head = head(&format!("content-length: {}", body.len()));
    format!("{head}{}", &body[..body.len() / 2])
}

fn bad_chunk() -> String {
    let head = head("transfer-encoding: chunked");
    format!("{head}10\r\n{{\"access_token\":\r\nzz\r\n\"C\"}}\r\n0\r\n\r\n")
}

/// Returns a token response whose tokens belong to no grant.
fn look_alike() -> String {
    json!({
        "token_type": "bearer",
        "refresh_token": random::na1(random::bytes()),
        "access_token": format!("C{}", "x".repeat(299)),
        "hub_id": 1_234_567,
        "scopes": ["oauth"],
        "token_use": "access_token",
        "expires_in": 1800,
    })
    .to_string()
}

fn large(length: usize) -> Padded {
    let start = look_alike().replacen('{', "{\"padding\":\"", 1);
    // The padding is the first field, so everything that matters comes after it.
    let (start, end) = start.split_at("{\"padding\":\"".len());
    let end = format!("\",{end}");
    Padded {
        start: Bytes::from(start.to_owned()),
        filler: length.saturating_sub(start.len() + end.len()),
        end: Bytes::from(end),
    }
}
