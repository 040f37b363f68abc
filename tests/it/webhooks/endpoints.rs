//! Webhook endpoints: managed with the right key, with secrets that sign and are shown once.

use std::time::Duration;

use hubspot_connect::domain::secret::Secret;
use hubspot_connect::keyring::{Context, Keyring};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::ACME;
use crate::harness::browser::problem_of;
use crate::harness::process::value;
use crate::harness::{Receiver, TestApp, sql};

use super::{DUE, PATH, app_for, is_signed, path, scene};

#[tokio::test(flavor = "multi_thread")]
async fn webhook_secrets_are_shown_only_when_created() {
    let (app, _receiver, made, key) = scene("").await;
    let secret = made["secret"].as_str().unwrap().to_owned();
    let rotated = app.api(&key, Method::POST, &path(&made, "/rotate-secret"), Some(json!({}))).await.json();
    let second = rotated["secret"].as_str().unwrap().to_owned();
    assert_ne!(secret, second);
    for answer in [
        app.api(&key, Method::GET, PATH, None).await,
        app.api(&key, Method::GET, &path(&made, ""), None).await,
        app.api(&key, Method::PATCH, &path(&made, ""), Some(json!({"enabled": true}))).await,
        app.api(&key, Method::POST, &path(&made, "/test"), None).await,
        app.api(&key, Method::GET, &path(&made, "/deliveries"), None).await,
    ] {
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(!answer.body.contains("whsec_"), "{}", answer.body);
    }
    let dump = String::from_utf8_lossy(&app.database.dump().await).into_owned();
    assert!(!dump.contains(&secret[6..]) && !dump.contains(&second[6..]) && !dump.contains("whsec_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn managing_endpoints_requires_the_webhooks_scope() {
    let (app, receiver, made, key) = scene("").await;
    let other = app.api_key("connections:read proxy").await;
    assert_eq!(app.api(&other, Method::GET, PATH, None).await.status, 403);
    assert_eq!(app.browser().get(PATH).await.status, 401);
    assert_eq!((&made["events"], &made["enabled"]), (&Value::Null, &json!(true)));
    let change =
        json!({"url": receiver.url("/other"), "events": ["connection.needs_reauth"], "enabled": false});
    let changed = app.api(&key, Method::PATCH, &path(&made, ""), Some(change)).await.json();
    assert_eq!(changed["url"], receiver.url("/other"));
    assert_eq!(changed["events"], json!(["connection.needs_reauth"]));
    assert_eq!((&changed["enabled"], &changed["disabled_reason"]), (&json!(false), &json!("by_request")));
    let back = json!({"events": null, "enabled": true});
    let changed = app.api(&key, Method::PATCH, &path(&made, ""), Some(back)).await.json();
    assert_eq!((&changed["events"], &changed["disabled_reason"]), (&Value::Null, &Value::Null));
    assert_eq!(changed["url"], receiver.url("/other"), "what is not named stays");
    for (body, pointer) in [
        (json!({"events": ["connection.exploded"]}), "/events/0"),
        (json!({"events": ["connection.created", "webhook.test"]}), "/events/1"),
        (json!({"events": []}), "/events"),
    ] {
        let refused = app.api(&key, Method::PATCH, &path(&made, ""), Some(body)).await;
        assert_eq!((refused.status, &refused.json()["pointer"]), (400, &json!(pointer)), "{}", refused.body);
    }
    let unknown = app.api(&key, Method::PATCH, &path(&made, ""), Some(json!({"secret": "mine"}))).await;
    assert_eq!(unknown.json()["code"], "validation_failed");
    let last = app.api(&key, Method::GET, &path(&made, ""), None).await.json();
    let deleted = app.api(&key, Method::DELETE, &path(&made, ""), None).await;
    assert_eq!((deleted.status, deleted.json()), (200, last));
    for (method, rest) in [
        (Method::GET, ""),
        (Method::DELETE, ""),
        (Method::POST, "/test"),
        (Method::GET, "/deliveries"),
        (Method::POST, "/deliveries/evt_1/replay"),
    ] {
        let gone = app.api(&key, method.clone(), &path(&made, rest), None).await;
        assert_eq!(gone.json()["code"], "webhook_not_found", "{method} {rest}");
    }
    let mut all = Vec::new();
    for at in 0..16 {
        all.push(app.webhook(&receiver.url(&format!("/{at}")), "").await["id"].clone());
        app.clock.advance(Duration::from_millis(1));
    }
    for (limit, count) in [(16, 1), (4, 4), (15, 2)] {
        let pages = app.pages(&key, &format!("{PATH}?limit={limit}")).await;
        assert_eq!(pages.len(), count, "by {limit}");
        assert_eq!(pages.concat().iter().map(|one| one["id"].clone()).collect::<Vec<_>>(), all);
    }
    let body = json!({"url": receiver.url("/17")});
    let full = app.api(&key, Method::POST, PATH, Some(body)).await;
    assert_eq!((full.status, &full.json()["code"]), (409, &json!("too_many_webhooks")));
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_receive_only_the_event_types_they_name() {
    let receiver = Receiver::start().await;
    let app = app_for(&[&receiver]).await;
    app.webhook(&receiver.url("/usual"), "").await;
    app.webhook(&receiver.url("/all"), "connection.created connection.refreshed").await;
    app.webhook(&receiver.url("/end"), "connection.disconnected").await;
    let browser = app.connected(ACME).await;
    app.advance(DUE);
    app.refresh_due().await;
    let id = browser.status().await["connections"][0]["id"].as_str().unwrap().to_owned();
    browser.disconnect(&id).await;
    app.deliver_due().await;
    let mut heard: Vec<_> =
        receiver.heard().iter().map(|one| format!("{} {}", one.path, one.kind())).collect();
    heard.sort_unstable();
    let expected = [
        "/all connection.created",
        "/all connection.refreshed",
        "/end connection.disconnected",
        "/usual connection.created",
        "/usual connection.disconnected",
    ];
    assert_eq!(heard, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_secrets_sign_during_their_overlap() {
    let (app, receiver, made, key) = scene("").await;
    let (test_path, rotate_path) = (path(&made, "/test"), path(&made, "/rotate-secret"));
    let test = || app.api(&key, Method::POST, &test_path, None);
    let rotate = |body: Value| app.api(&key, Method::POST, &rotate_path, Some(body));
    let first = made["secret"].as_str().unwrap().to_owned();
    let rotated = rotate(json!({})).await.json();
    let second = rotated["secret"].as_str().unwrap().to_owned();
    let until = app.clock.now().plus(Duration::from_secs(86_400));
    assert_eq!(rotated["secret_overlap_until"], until.rfc3339());
    app.advance(86_399);
    test().await;
    app.advance(1);
    test().await;
    let third = rotate(json!({"overlap_seconds": 0})).await.json();
    assert_eq!(third["secret_overlap_until"], Value::Null);
    test().await;
    let third = third["secret"].as_str().unwrap();
    let signed: Vec<_> = receiver
        .heard()
        .iter()
        .map(|heard| [&first, &second, third].map(|secret| is_signed(heard, secret)))
        .collect();
    assert_eq!(signed, [[true, true, false], [false, true, false], [false, false, true]]);
    assert!(receiver.heard()[0].header("webhook-signature").starts_with("v1,"));
    for bad in [json!({"overlap_seconds": 604_801}), json!({"overlap_seconds": -1}), json!({"overlap": 1})] {
        assert_eq!(rotate(bad).await.status, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_rotation_includes_webhook_secrets_and_a_lost_key_ends_them() {
    let (app, receiver, made, key) = scene("").await;
    let old = value(&app.variables, "ENCRYPTION_KEYS");
    let new = Keyring::generate().expose().to_owned();
    let app = app.restarted(&[("ENCRYPTION_KEYS", &format!("{new},{old}"))]).await;
    assert_eq!(app.store.platform.keys_in_use().await.unwrap().len(), 1, "the secret is counted");
    let (database, variables, hubspot, clock) = app.stopped().await;
    let rotated = crate::harness::process::run(&["keys", "rotate"], &variables);
    assert_eq!(rotated.code, Some(0), "{}", rotated.stderr);
    let app = TestApp::again(hubspot, database, variables, clock).await;
    let app = app.restarted(&[("ENCRYPTION_KEYS", &new)]).await;
    app.api(&key, Method::POST, &path(&made, "/test"), None).await;
    assert!(is_signed(&receiver.heard()[0], made["secret"].as_str().unwrap()));
    let (database, variables, hubspot, clock) = app.stopped().await;
    let lost = Keyring::generate().expose().to_owned();
    let mut changed = variables.clone();
    changed.push(("ENCRYPTION_KEYS".to_owned(), lost));
    let refused = TestApp::build(&changed, clock.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("ENCRYPTION_KEYS"), "{refused}");
    let app = TestApp::again(hubspot, database, variables, clock).await;
    let key_id = app.database.text_in(sql::ENDPOINTS, "key_id").await;
    app.store.platform.give_up_key(&key_id, app.clock.now()).await.unwrap();
    let shown = app.api(&key, Method::GET, &path(&made, ""), None).await.json();
    assert_eq!((&shown["enabled"], &shown["disabled_reason"]), (&json!(false), &json!("key_lost")));
    let anew = app.api(&key, Method::POST, &path(&made, "/rotate-secret"), Some(json!({}))).await.json();
    app.api(&key, Method::PATCH, &path(&made, ""), Some(json!({"enabled": true}))).await;
    app.api(&key, Method::POST, &path(&made, "/test"), None).await;
    let heard = receiver.heard();
    assert!(is_signed(heard.last().unwrap(), anew["secret"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_or_restored_webhook_secrets_sign_nothing() {
    let (app, receiver, made, key) = scene("").await;
    let other = app.webhook(&receiver.url("/other"), "").await;
    let sealed = app.database.text_in(sql::ENDPOINTS, "MIN(secrets_sealed)").await;
    app.database.update(sql::ENDPOINTS, &format!("secrets_sealed = '{sealed}'")).await;
    let mut errors = Vec::new();
    for endpoint in [&made, &other] {
        let tested = app.api(&key, Method::POST, &path(endpoint, "/test"), None).await.json();
        errors.extend(tested["last_error"].as_str().map(str::to_owned));
    }
    assert_eq!((errors, receiver.heard().len()), (vec!["integrity_error".to_owned()], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_changes_of_an_endpoint_are_all_kept() {
    let (app, _receiver, made, key) = scene("").await;
    let change = async |body: Value| app.api(&key, Method::PATCH, &path(&made, ""), Some(body)).await;
    for round in 0..10 {
        let kind = ["connection.created", "connection.disconnected"][round % 2];
        let enabled = round % 2 == 0;
        let (one, other) =
            tokio::join!(change(json!({"events": [kind]})), change(json!({"enabled": enabled})));
        assert_eq!((one.status, other.status), (200, 200));
        let now = change(json!({})).await.json();
        assert_eq!((&now["events"], &now["enabled"]), (&json!([kind]), &json!(enabled)), "round {round}");
        let reason = if enabled { Value::Null } else { json!("by_request") };
        assert_eq!(now["disabled_reason"], reason, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_headers_are_sent_with_each_message_and_never_shown() {
    let (app, receiver, made, key) = scene("").await;
    let change = json!({"headers": {"Authorization": "Bearer let-me-in", "x-tenant": "7"}});
    let changed = app.api(&key, Method::PATCH, &path(&made, ""), Some(change)).await;
    assert_eq!(changed.json()["header_names"], json!(["authorization", "x-tenant"]), "{}", changed.body);
    let again = app.api(
        &key,
        Method::POST,
        PATH,
        Some(json!({
            "url": receiver.url("/more"), "headers": {"x-key": "let-me-in-too"}
        })),
    );
    let again = again.await;
    assert_eq!(again.json()["header_names"], json!(["x-key"]), "{}", again.body);
    for answer in [&changed, &again, &app.api(&key, Method::GET, PATH, None).await] {
        assert!(!answer.body.contains("let-me-in"), "{}", answer.body);
    }
    let dump = String::from_utf8_lossy(&app.database.dump().await).into_owned();
    assert!(!dump.contains("let-me-in"));

    // A new secret keeps them, and a new list replaces them.
    app.api(&key, Method::POST, &path(&made, "/rotate-secret"), Some(json!({}))).await;
    app.api(&key, Method::POST, &path(&made, "/test"), None).await;
    app.api(&key, Method::PATCH, &path(&made, ""), Some(json!({"headers": {}}))).await;
    app.api(&key, Method::POST, &path(&made, "/test"), None).await;
    let heard = receiver.heard();
    assert_eq!((heard[0].header("authorization"), heard[0].header("x-tenant")), ("Bearer let-me-in", "7"));
    assert_eq!(heard[1].header("authorization"), "");

    for (headers, pointer) in [
        (json!({"webhook-id": "x"}), "/headers/webhook-id"),
        (json!({"x": "a\r\nb: c"}), "/headers/x"),
        (json!({"a/b": "c"}), "/headers/a~1b"),
    ] {
        let refused = app.api(&key, Method::PATCH, &path(&made, ""), Some(json!({"headers": headers}))).await;
        assert_eq!((refused.status, &refused.json()["pointer"]), (400, &json!(pointer)), "{}", refused.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_headers_must_be_given_again_for_another_origin() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let app = app_for(&[&receiver, &other]).await;
    let made = app.webhook(&receiver.url("/hooks"), "").await;
    let key = app.api_key("webhooks").await;
    let change = async |body: Value| app.api(&key, Method::PATCH, &path(&made, ""), Some(body)).await;
    assert_eq!(change(json!({"headers": {"authorization": "Bearer a"}})).await.status, 200);
    assert_eq!(change(json!({"url": receiver.url("/elsewhere")})).await.status, 200, "the same origin");

    let refused = change(json!({"url": other.url("/hooks")})).await;

    assert_eq!((refused.status, problem_of(&refused).as_str()), (409, "webhook_headers_needed"));
    let shown = app.api(&key, Method::GET, &path(&made, ""), None).await.json();
    assert_eq!(shown["url"], receiver.url("/elsewhere"));
    let named = json!({"url": other.url("/hooks"), "headers": {"authorization": "Bearer b"}});
    assert_eq!(change(named).await.status, 200);
    app.api(&key, Method::POST, &path(&made, "/test"), None).await;
    assert_eq!(other.heard()[0].header("authorization"), "Bearer b");
    assert!(receiver.heard().is_empty());
    // Without custom headers the origin may change.
    assert_eq!(change(json!({"headers": {}})).await.status, 200);
    assert_eq!(change(json!({"url": receiver.url("/hooks")})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_secrets_older_than_custom_headers_still_sign() {
    let (app, receiver, made, key) = scene("").await;
    let secret = |name| Secret::new(value(&app.variables, name));
    let keyring = Keyring::new(&[secret("ENCRYPTION_KEYS")], &secret("APP_SECRET")).expect("a keyring");
    let id = made["id"].as_str().unwrap();
    let older = json!([{"s": made["secret"], "u": null}]).to_string();
    let context = Context { kind: "webhook", row: id, generation: 1, client_id: "" };
    let sealed = keyring.seal(&Secret::new(older), context);
    app.database.update(sql::ENDPOINTS, &format!("secrets_sealed = '{}'", sealed.ciphertext)).await;
    let tested = app.api(&key, Method::POST, &path(&made, "/test"), None).await;
    assert_eq!(tested.json()["status"], "delivered", "{}", tested.body);
    assert!(is_signed(&receiver.heard()[0], made["secret"].as_str().unwrap()));
}
