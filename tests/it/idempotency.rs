//! A request with an idempotency key runs once, however often it is sent.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use hubspot_connect::domain::id::ApiKeyId;
use hubspot_connect::domain::random::Random;
use hubspot_connect::keyring::Keyring;
use hubspot_connect::services::{GivenAnswer, Once, OnceError, OnceLease, Services};
use reqwest::Method;
use reqwest::header::HeaderValue;

use crate::harness::browser::Answer;
use crate::harness::{TestApp, sql};

const SECRET: &str = "a-secret-that-only-the-first-answer-told";

fn answer() -> GivenAnswer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    GivenAnswer { status: 201, headers, body: format!("{{\"token\":\"{SECRET}\"}}") }
}

async fn first(services: &Services, caller: ApiKeyId, key: &str, what: &[u8]) -> OnceLease {
    match services.platform.idempotency.once(caller, key, &[what]).await.unwrap() {
        Once::Do(lease) => lease,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_requests_get_the_first_response_of_the_same_caller() {
    let app = TestApp::start().await;
    let random = Random::system();
    let (caller, stranger) = (ApiKeyId::random(&random), ApiKeyId::random(&random));
    let lease = first(&app.services, caller, "one", b"body").await;
    app.services.platform.idempotency.answered(lease, Some(&answer())).await;
    let Once::Again(again) = app.services.platform.idempotency.once(caller, "one", &[b"body"]).await.unwrap()
    else {
        panic!("not remembered");
    };
    assert_eq!(again, answer());
    let other = app.services.platform.idempotency.once(caller, "one", &[b"another body"]).await.unwrap();
    assert!(matches!(other, Once::Reused), "{other:?}");
    // An idempotency key belongs to its API key.
    first(&app.services, stranger, "one", b"body").await;
    first(&app.services, caller, "two", b"body").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_on_several_replicas_run_once() {
    let app = TestApp::start().await;
    let caller = ApiKeyId::random(&Random::system());
    let replica = match app.database.is_sqlite() {
        true => None,
        false => Some(app.replica(app.clock.clone()).await),
    };
    let other = replica.as_ref().map_or(&app.services, |replica| replica.services());
    let mut asked = tokio::task::JoinSet::new();
    for turn in 0..12 {
        let services = if turn % 2 == 0 { app.services.clone() } else { other.clone() };
        asked.spawn(
            async move { services.platform.idempotency.once(caller, "one", &[b"body"]).await.unwrap() },
        );
    }
    let found = asked.join_all().await;
    assert_eq!(found.iter().filter(|one| matches!(one, Once::Do(_))).count(), 1);
    assert_eq!(found.iter().filter(|one| matches!(one, Once::Busy(_))).count(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_requests_run_again_after_their_lock_expires() {
    let app = TestApp::start().await;
    let caller = ApiKeyId::random(&Random::system());
    let cut_off = first(&app.services, caller, "one", b"body").await;
    app.advance(59);
    let busy = app.services.platform.idempotency.once(caller, "one", &[b"body"]).await.unwrap();
    assert!(matches!(busy, Once::Busy(left) if left == Duration::from_secs(1)), "{busy:?}");
    app.advance(1);
    let lease = first(&app.services, caller, "one", b"body").await;
    // A late holder overwrites nothing, and unlocks nothing.
    let late = GivenAnswer { body: "late".to_owned(), ..answer() };
    app.services.platform.idempotency.answered(cut_off, Some(&late)).await;
    assert!(matches!(
        app.services.platform.idempotency.once(caller, "one", &[b"body"]).await.unwrap(),
        Once::Busy(_)
    ));
    app.services.platform.idempotency.answered(lease, Some(&answer())).await;
    let again = app.services.platform.idempotency.once(caller, "one", &[b"body"]).await.unwrap();
    assert!(matches!(again, Once::Again(given) if given == answer()));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_may_be_corrected_under_the_same_key() {
    let app = TestApp::start().await;
    let caller = ApiKeyId::random(&Random::system());
    let lease = first(&app.services, caller, "one", b"wrong").await;
    app.services.platform.idempotency.answered(lease, None).await;
    first(&app.services, caller, "one", b"mended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_responses_are_encrypted_and_deleted_after_a_day() {
    let app = TestApp::start().await;
    let caller = ApiKeyId::random(&Random::system());
    let lease = first(&app.services, caller, "one", b"body").await;
    app.services.platform.idempotency.answered(lease, Some(&answer())).await;
    let stored = app.database.text_in(sql::IDEMPOTENCY_KEYS, "answer_sealed").await;
    assert!(stored.starts_with("gAAAA"), "{stored}");
    assert!(!String::from_utf8_lossy(&app.database.dump().await).contains(SECRET));
    app.advance(24 * 3600 - 1);
    app.services.maintenance.sweep().await.unwrap();
    assert!(matches!(
        app.services.platform.idempotency.once(caller, "one", &[b"body"]).await.unwrap(),
        Once::Again(_)
    ));
    app.advance(1);
    // An expired response is not returned, swept or not.
    let lease = first(&app.services, caller, "one", b"body").await;
    app.services.platform.idempotency.answered(lease, None).await;
    first(&app.services, caller, "two", b"body").await;
    app.advance(24 * 3600);
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!(app.database.count(sql::IDEMPOTENCY_KEYS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_run_again_when_the_stored_response_cannot_be_decrypted() {
    let app = TestApp::start().await;
    let caller = ApiKeyId::random(&Random::system());
    let lease = first(&app.services, caller, "one", b"body").await;
    app.services.platform.idempotency.answered(lease, Some(&answer())).await;
    let app = app.restarted(&[("ENCRYPTION_KEYS", Keyring::generate().expose())]).await;
    let asked = app.services.platform.idempotency.once(caller, "one", &[b"body"]).await;
    assert!(matches!(asked, Err(OnceError::Lost(_))), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_idempotency_keys_are_refused_with_the_reason() {
    let app = TestApp::start().await;
    let key = app.api_key("sessions:write").await;
    let long = "k".repeat(256);
    for (given, hint) in [
        ("", "The key is empty."),
        ("\"\"", "The key is empty."),
        (long.as_str(), "The key has more than 255 characters."),
        ("ключ", "The key has characters outside ASCII."),
        ("a\"b", "The key has quotation marks or backslashes inside."),
    ] {
        let request = app
            .browser()
            .request(Method::POST, "/api/hubspot/connect-sessions")
            .bearer_auth(&key)
            .header("idempotency-key", HeaderValue::from_bytes(given.as_bytes()).unwrap());
        let refused = app.browser().send(request).await;
        assert_eq!(
            (refused.status, refused.json()["code"].as_str()),
            (400, Some("idempotency_key_invalid")),
            "{given}"
        );
        assert_eq!(refused.json()["hint"], hint);
    }
    assert_eq!(app.database.count(sql::IDEMPOTENCY_KEYS).await, 0);
}

const SESSIONS: &str = "/api/hubspot/connect-sessions";

/// Creates a connect session with an idempotency key.
async fn make(app: &TestApp, api_key: &str, key: &str, body: &str) -> Answer {
    let request = app
        .browser()
        .request(Method::POST, SESSIONS)
        .bearer_auth(api_key)
        .header("idempotency-key", key)
        .header("content-type", "application/json")
        .body(body.to_owned());
    app.browser().send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_sessions_are_created_once_and_their_token_repeated_only_to_the_same_key() {
    let app = TestApp::start().await;
    let (ours, other) = (app.api_key("sessions:write").await, app.api_key("sessions:write").await);
    let body = r#"{"external_user_id": "user_1"}"#;
    let first = make(&app, &ours, "k-1", body).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, ""), "{}", first.body);
    // The quotation marks of RFC 9651 belong to the header, not to the key.
    for key in ["k-1", "\"k-1\""] {
        let again = make(&app, &ours, key, body).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
        assert_eq!(again.body, first.body);
        for name in ["location", "content-type", "cache-control"] {
            assert_eq!(again.header(name), first.header(name), "{name}");
        }
        assert_ne!(again.header("ratelimit"), "", "a repetition is counted too");
    }
    assert_eq!(app.database.count(sql::CONNECT_SESSIONS).await, 1);
    let reused = make(&app, &ours, "k-1", r#"{"external_user_id": "user_2"}"#).await;
    assert_eq!((reused.status, reused.json()["code"].as_str()), (422, Some("idempotency_key_reused")));
    let others = make(&app, &other, "k-1", body).await;
    assert_eq!((others.status, others.header("idempotency-replayed")), (201, ""));
    assert_ne!(others.json()["token"], first.json()["token"]);
    let token = first.json()["token"].as_str().unwrap().to_owned();
    assert!(!String::from_utf8_lossy(&app.database.dump().await).contains(&token));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_run_once_and_others_wait_for_the_response() {
    let app = Arc::new(TestApp::start().await);
    let api_key = app.api_key("sessions:write").await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (app, api_key) = (app.clone(), api_key.clone());
        asked.spawn(async move { make(&app, &api_key, "k-1", r#"{"external_user_id": "user_1"}"#).await });
    }
    let mut tokens = BTreeSet::new();
    for answer in asked.join_all().await {
        match answer.status {
            201 => _ = tokens.insert(answer.json()["token"].to_string()),
            409 => {
                assert_eq!(answer.json()["code"], "idempotency_in_progress");
                assert_ne!(answer.header("retry-after"), "");
            }
            other => panic!("{other}: {}", answer.body),
        }
    }
    assert_eq!((tokens.len(), app.database.count(sql::CONNECT_SESSIONS).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_are_not_stored() {
    let app = TestApp::start().await;
    let (weak, good) = (app.api_key("proxy").await, app.api_key("sessions:write").await);
    let body = r#"{"external_user_id": "user_1"}"#;
    for api_key in ["hsc_key_00000000_wrong", weak.as_str()] {
        let refused = make(&app, api_key, "k-1", body).await;
        assert!([401, 403].contains(&refused.status), "{}", refused.body);
    }
    let wrong = make(&app, &good, "k-1", r#"{"external_user_id": 1}"#).await;
    assert_eq!((wrong.status, wrong.json()["pointer"].as_str()), (400, Some("/external_user_id")));
    assert_eq!(app.database.count(sql::IDEMPOTENCY_KEYS).await, 0);
    assert_eq!(make(&app, &good, "k-1", body).await.status, 201);
    assert_eq!(make(&app, &good, "k-1", body).await.header("idempotency-replayed"), "true");
    let large =
        make(&app, &good, "k-2", &format!("{{\"external_user_id\": \"{}\"}}", "x".repeat(20_000))).await;
    assert_eq!((large.status, large.json()["code"].as_str()), (413, Some("payload_too_large")));
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_requests_finish_and_a_retry_gets_the_response() {
    let app = TestApp::start().await;
    let api_key = app.api_key("sessions:write").await;
    let body = r#"{"external_user_id": "user_1"}"#;
    let head = format!(
        "POST {SESSIONS} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {api_key}\r\nIdempotency-Key: k-1\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        app.base.trim_start_matches("http://"),
        body.len()
    );
    let port = app.base.rsplit(':').next().unwrap();
    let mut line = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    line.write_all(head.as_bytes()).unwrap();
    drop(line);
    // Either it was read before the connection closed, and runs exactly once, or it never arrived and runs now.
    let mut answer = make(&app, &api_key, "k-1", body).await;
    while answer.status == 409 {
        tokio::task::yield_now().await;
        answer = make(&app, &api_key, "k-1", body).await;
    }
    assert_eq!((answer.status, app.database.count(sql::CONNECT_SESSIONS).await), (201, 1));
}
