//! Every fault, seen from the other end of the wire.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use fake_hubspot::{FakeHubSpot, Fault, Kind, Rule};
use serde_json::json;

use crate::http::*;

struct Scene {
    fake: FakeHubSpot,
    token: String,
}

impl Scene {
    async fn with(fault: Fault) -> Scene {
        let fake = start(|options| {
            options.rotate_refresh_tokens = true;
            options.reject_reused_refresh_tokens = true;
        })
        .await;
        let token = connected(&fake, ACME);
        fake.script(Rule::once(Kind::Refresh, fault));
        Scene { fake, token }
    }

    fn call(&self) -> std::net::TcpStream {
        let form = format!("{}&{CLIENT}", refresh_form(&self.token));
        connect(&self.fake, "POST", "/oauth/2026-09/token", FORM, &form)
    }

    fn text(&self) -> String {
        let (bytes, end) = drain(self.call());
        end.expect("a regular end");
        String::from_utf8(bytes).expect("text")
    }

    /// Asserts that the grant is unchanged: the same token still works.
    fn assert_nothing_issued(&self) {
        assert_eq!(self.fake.current_refresh_token(ACME).as_ref(), Some(&self.token));
        assert_eq!(refresh(&self.fake, &self.token).status, 200);
    }

    fn assert_issued(&self) {
        assert_ne!(self.fake.current_refresh_token(ACME).as_ref(), Some(&self.token));
    }

    fn journaled(&self) -> (Option<String>, Option<u16>) {
        let calls = self.fake.calls(Kind::Refresh);
        let entry = calls.first().expect("one call");
        assert!(entry.finished_at_ms.is_some());
        (entry.fault.clone(), entry.status)
    }
}

#[tokio::test]
async fn delay_responds_late() {
    let scene = Scene::with(Fault::Delay(Duration::from_millis(200))).await;
    let begin = Instant::now();
    assert!(scene.text().starts_with("HTTP/1.1 200"));
    assert!(begin.elapsed() >= Duration::from_millis(200));
    scene.assert_issued();
}

#[tokio::test]
async fn calls_complete_when_their_caller_disconnects() {
    let scene = Scene::with(Fault::Delay(Duration::from_millis(300))).await;
    let call = scene.call();
    while scene.fake.calls(Kind::Refresh).is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // A process that is killed resets its connections.
    socket2::SockRef::from(&call).set_linger(Some(Duration::ZERO)).expect("a reset");
    drop(call);
    let begin = Instant::now();
    while scene.fake.current_refresh_token(ACME).as_ref() == Some(&scene.token) {
        assert!(begin.elapsed() < Duration::from_secs(5), "it was forgotten");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn delay_after_issue_rotates_before_the_delay() {
    let scene = Scene::with(Fault::DelayAfterIssue(Duration::from_millis(1500))).await;
    let call = scene.call();
    let begin = Instant::now();
    while scene.fake.current_refresh_token(ACME).as_ref() == Some(&scene.token) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(begin.elapsed() < Duration::from_millis(1200));
    assert!(drain(call).0.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn hang_sends_nothing_and_closes() {
    let scene = Scene::with(Fault::Hang(Duration::from_millis(200))).await;
    let begin = Instant::now();
    assert_eq!(scene.text(), "");
    assert!(begin.elapsed() >= Duration::from_millis(200));
    scene.assert_nothing_issued();
}

#[tokio::test]
async fn close_before_answer_sends_nothing() {
    let scene = Scene::with(Fault::CloseBeforeAnswer).await;
    assert_eq!(scene.text(), "");
    assert_eq!(scene.journaled(), (Some("close_before_answer".to_owned()), None));
    scene.assert_nothing_issued();
}

#[tokio::test]
async fn close_after_headers_sends_a_head_only() {
    let scene = Scene::with(Fault::CloseAfterHeaders).await;
    let text = scene.text();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.ends_with("content-length: 700\r\n\r\n"), "{text}");
    scene.assert_nothing_issued();
}

#[tokio::test]
async fn half_body_sends_less_than_it_announced() {
    let scene = Scene::with(Fault::HalfBody).await;
    let text = scene.text();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let announced: usize = head.rsplit(' ').next().and_then(|it| it.parse().ok()).expect("a length");
    assert_eq!(body.len(), announced / 2);
    assert_eq!(scene.journaled(), (Some("half_body".to_owned()), Some(200)));
    scene.assert_nothing_issued();
}

#[tokio::test]
async fn reset_after_issue_rotates_and_resets() {
    let scene = Scene::with(Fault::ResetAfterIssue).await;
    let (bytes, end) = drain(scene.call());
    assert_eq!(bytes, b"");
    assert_eq!(end.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    scene.assert_issued();
    assert_eq!(refresh(&scene.fake, &scene.token).status, 400);
}

#[tokio::test]
async fn status_and_body_are_sent_as_scripted() {
    let scene = Scene::with(Fault::Status {
        status: 477,
        headers: vec![("Retry-After".to_owned(), "3600".to_owned())],
        body: "<html>moving</html>".to_owned(),
    })
    .await;
    let reply = refresh(&scene.fake, &scene.token);
    assert_eq!((reply.status, reply.header("retry-after")), (477, Some("3600")));
    assert_eq!(reply.body, "<html>moving</html>");

    let fault = Fault::Body { content_type: None, body: "\u{feff}{}".to_owned() };
    scene.fake.script(Rule::once(Kind::Refresh, fault));
    let reply = refresh(&scene.fake, &scene.token);
    assert_eq!((reply.status, reply.header("content-type")), (200, None));
    assert_eq!(reply.body, "\u{feff}{}");

    scene.fake.script(Rule::once(Kind::Refresh, Fault::Json(json!([1]))));
    assert_eq!(refresh(&scene.fake, &scene.token).json(), json!([1]));
    scene.assert_nothing_issued();
}

#[tokio::test]
async fn oauth_errors_have_three_shapes() {
    let scene = Scene::with(Fault::Json(json!(null))).await;
    scene.fake.clear_script();
    let refused = |error: Option<&str>, status: Option<&str>| {
        let fault = Fault::Oauth {
            status: 401,
            error: error.map(str::to_owned),
            hubspot_status: status.map(str::to_owned),
            message: "no".to_owned(),
        };
        scene.fake.script(Rule::once(Kind::Refresh, fault));
        let reply = refresh(&scene.fake, &scene.token);
        assert_eq!(reply.status, 401);
        reply.json()
    };
    assert_eq!(
        refused(Some("invalid_grant"), None),
        json!({ "error": "invalid_grant", "error_description": "no" })
    );
    let old = refused(None, Some("BAD_HUB"));
    assert_eq!((&old["status"], &old["message"]), (&json!("BAD_HUB"), &json!("no")));
    assert!(old["correlationId"].is_string() && old["error"].is_null());
    assert_eq!(
        refused(Some("e"), Some("S")),
        json!({ "error": "e", "error_description": "no", "status": "S", "message": "no" })
    );
}

#[tokio::test]
async fn patch_changes_the_real_response() {
    let set = json!({ "expires_in": "1800" }).as_object().cloned().expect("an object");
    let scene = Scene::with(Fault::Patch { set, drop: vec!["hub_id".to_owned()] }).await;
    let body = refresh(&scene.fake, &scene.token).json();
    assert_eq!((&body["expires_in"], &body["hub_id"]), (&json!("1800"), &json!(null)));
    assert_eq!(body["refresh_token"].as_str(), scene.fake.current_refresh_token(ACME).as_deref());
    scene.assert_issued();
}

#[tokio::test]
async fn redirect_points_elsewhere() {
    let scene =
        Scene::with(Fault::Redirect { status: 307, location: "http://evil.example/".to_owned() }).await;
    let reply = refresh(&scene.fake, &scene.token);
    assert_eq!((reply.status, reply.header("location")), (307, Some("http://evil.example/")));
    scene.assert_nothing_issued();
}

#[tokio::test]
async fn endless_streams_until_the_reader_closes() {
    let scene = Scene::with(Fault::Endless).await;
    let mut call = scene.call();
    let mut bytes = vec![0; 4 * 1024 * 1024];
    call.read_exact(&mut bytes).expect("as much as one likes");
    drop(call);
    scene.assert_nothing_issued();
}

#[tokio::test]
async fn drip_sends_one_byte_per_second() {
    let scene = Scene::with(Fault::Drip).await;
    let mut call = scene.call();
    call.set_read_timeout(Some(Duration::from_millis(1500))).expect("a timeout");
    let mut bytes = [0; 4096];
    let mut seen = 0;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1500) {
        seen += call.read(&mut bytes).unwrap_or(0);
    }
    // A head of a few lines, and chunks of six bytes.
    assert!((100..300).contains(&seen), "{seen} bytes");
}

#[tokio::test]
async fn large_responses_are_well_formed_and_have_the_requested_size() {
    let scene = Scene::with(Fault::Large(3_000_000)).await;
    let reply = refresh(&scene.fake, &scene.token);
    assert_eq!(reply.body.len(), 3_000_000);
    assert_eq!(reply.json()["expires_in"], 1800);
    scene.assert_nothing_issued();
}

#[tokio::test]
async fn bad_chunk_has_an_invalid_size() {
    let scene = Scene::with(Fault::BadChunk).await;
    let text = scene.text();
    assert!(text.contains("transfer-encoding: chunked\r\n\r\n10\r\n{\"access_token\":\r\nzz\r\n"), "{text}");
}

#[tokio::test]
async fn gzip_is_sent_without_being_requested() {
    let scene = Scene::with(Fault::Gzip).await;
    let (bytes, _) = drain(scene.call());
    let head = String::from_utf8_lossy(&bytes);
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(bytes.windows(3).any(|it| it == b"\x1f\x8b\x08"));
}

#[tokio::test]
async fn rules_apply_in_order_and_count() {
    let scene = Scene::with(Fault::Json(json!(0))).await;
    scene.fake.clear_script();
    let coin = |percent| Fault::Sometimes { percent, fault: Box::new(Fault::Json(json!(percent))) };
    scene.fake.script(Rule::once(Kind::Introspect, Fault::Json(json!("other kind"))));
    scene.fake.script(Rule::times(Kind::Refresh, 2, Fault::Json(json!("first"))).after(1));
    scene.fake.script(Rule::always(Kind::Refresh, coin(100)));
    let first = refresh(&scene.fake, &scene.token);
    let token = first.word("refresh_token");
    let then = [0; 4].map(|_| refresh(&scene.fake, &token).json());
    assert_eq!(then, [json!("first"), json!("first"), json!(100), json!(100)]);
    scene.fake.clear_script();
    scene.fake.script(Rule::always(Kind::Refresh, coin(0)));
    assert_eq!(refresh(&scene.fake, &token).status, 200);
}
