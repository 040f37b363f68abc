//! Webhooks: delivered in order, again and again if need be, in nobody's way, to nobody inside.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hubspot_connect::domain::clock::{Clock, Moment};
use hubspot_connect::domain::secret::Secret;
use hubspot_connect::domain::webhook::AllowedHosts;
use hubspot_connect::webhook::{Lookup, Message, NotAllowed, Webhooks, sign};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::harness::app::{ACME, GLOBEX, HOST, INITECH, LONG_SESSIONS, approve};
use crate::harness::receiver::Heard;
use crate::harness::{Manner, Receiver, TestApp, eventually};

const DUE: u64 = 1261;
/// Connections outlive their sessions.
const KEEP: (&str, &str) = ("ON_SESSION_EXPIRY", "keep");
const PATH: &str = "/api/hubspot/webhooks";

async fn app_for(receivers: &[&Receiver]) -> TestApp {
    let hosts: Vec<String> = receivers.iter().map(|receiver| receiver.host()).collect();
    TestApp::with(&[LONG_SESSIONS, &[("WEBHOOK_ALLOWED_HOSTS", &hosts.join(",")), KEEP]].concat()).await
}

/// One endpoint at a receiver of its own: the app, the receiver, the endpoint as it was made, a key.
async fn scene(events: &str) -> (TestApp, Receiver, Value, String) {
    let receiver = Receiver::start().await;
    let app = app_for(&[&receiver]).await;
    let made = app.webhook(&receiver.url("/hooks"), events).await;
    let key = app.api_key("webhooks").await;
    (app, receiver, made, key)
}

fn path(made: &Value, rest: &str) -> String {
    format!("{PATH}/{}{rest}", made["id"].as_str().unwrap())
}

async fn deliveries(app: &TestApp, key: &str, made: &Value) -> Vec<Value> {
    let page = app.api(key, Method::GET, &path(made, "/deliveries"), None).await;
    assert_eq!(page.status, 200, "{}", page.body);
    page.json()["items"].as_array().unwrap().clone()
}

/// Whether the message bears the signature that the official library makes with this secret.
fn is_signed(heard: &Heard, secret: &str) -> bool {
    let at = heard.header("webhook-timestamp").parse().unwrap();
    let signed = Webhook::new(secret).unwrap().sign(heard.header("webhook-id"), at, heard.body.as_bytes());
    heard.header("webhook-signature").split(' ').any(|one| one == signed.as_deref().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_signed_and_once() {
    let (app, receiver, made, key) = scene("").await;
    app.connected(ACME).await;
    assert_eq!(app.deliver_due().await, 1);
    let heard = receiver.heard().remove(0);
    assert_eq!((heard.path.as_str(), heard.kind().as_str()), ("/hooks", "connection.created"));
    assert_eq!(heard.header("content-type"), "application/json");
    assert!(heard.header("user-agent").starts_with("hubspot-connect/"));
    assert_eq!(heard.header("webhook-timestamp"), (app.clock.now().unix_ms() / 1000).to_string());
    assert!(is_signed(&heard, made["secret"].as_str().unwrap()));
    assert_eq!(app.deliver_due().await, 0);
    let listed = deliveries(&app, &key, &made).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["id"], heard.header("webhook-id"));
    assert_eq!(listed[0]["type"], "connection.created");
    assert_eq!((&listed[0]["status"], &listed[0]["last_status"]), (&json!("delivered"), &json!(200)));
    assert_eq!(listed[0]["delivered_at"], app.clock.now().rfc3339());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_when_it_is_made_and_nowhere_else() {
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
async fn endpoints_are_made_changed_and_removed_with_the_right_key_alone() {
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
    assert_eq!(unknown.json()["code"], "invalid_json");
    assert_eq!(app.api(&key, Method::DELETE, &path(&made, ""), None).await.status, 204);
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
    for at in 0..16 {
        app.webhook(&receiver.url(&format!("/{at}")), "").await;
    }
    let body = json!({"url": receiver.url("/17")});
    let full = app.api(&key, Method::POST, PATH, Some(body)).await;
    assert_eq!((full.status, &full.json()["code"]), (409, &json!("too_many_webhooks")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_sent_again_later_and_later_and_then_given_up() {
    let (app, receiver, made, key) = scene("").await;
    receiver.always(Manner::Status(500));
    app.connected(ACME).await;
    assert_eq!(app.deliver_due().await, 1);
    for pause in [5_u64, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400] {
        app.advance(pause * 9 / 10);
        assert_eq!(app.deliver_due().await, 0, "{pause}: not before its time");
        app.advance(pause / 5 + 1);
        assert_eq!(app.deliver_due().await, 1, "{pause}");
    }
    let listed = deliveries(&app, &key, &made).await;
    assert_eq!((&listed[0]["status"], &listed[0]["attempts"]), (&json!("failed"), &json!(10)));
    assert_eq!((&listed[0]["last_error"], &listed[0]["last_status"]), (&json!("http_status"), &json!(500)));
    assert_eq!(listed[0]["next_attempt_at"], Value::Null);
    app.advance(864_000);
    assert_eq!(app.deliver_due().await, 0);
    let ids: std::collections::BTreeSet<_> =
        receiver.heard().iter().map(|heard| heard.header("webhook-id").to_owned()).collect();
    assert_eq!((receiver.heard().len(), ids.len()), (10, 1), "the receiver can tell that it is the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_receiver_does_only_a_2xx_is_a_delivery() {
    let (app, receiver, made, key) = scene("").await;
    let elsewhere = Receiver::start().await;
    let troubles = [
        (Manner::With(302, "location", elsewhere.url("/latest/meta-data")), "redirected"),
        (Manner::With(308, "location", elsewhere.url("/")), "redirected"),
        (Manner::HangUp, "bad_answer"),
        (Manner::Status(404), "http_status"),
        (Manner::Status(204), ""),
        (Manner::Huge(20_000_000), ""),
        (Manner::Status(299), ""),
    ];
    for (manner, error) in troubles {
        receiver.next([manner.clone()]);
        let began = Instant::now();
        let outcome = app.api(&key, Method::POST, &path(&made, "/test"), None).await.json();
        assert!(began.elapsed() < Duration::from_secs(5), "{manner:?}");
        assert_eq!(outcome["last_error"].as_str().unwrap_or_default(), error, "{manner:?}: {outcome}");
        let status = if error.is_empty() { "delivered" } else { "pending" };
        assert_eq!(outcome["status"], status, "{manner:?}");
    }
    assert_eq!(elsewhere.connections(), 0, "nobody follows a redirect");
    let closed = { Receiver::start().await.port };
    let app = app.restarted(&[("WEBHOOK_ALLOWED_HOSTS", "127.0.0.1")]).await;
    let made = app.webhook(&format!("http://127.0.0.1:{closed}/"), "").await;
    let outcome = app.api(&key, Method::POST, &path(&made, "/test"), None).await.json();
    assert_eq!(outcome["last_error"], "unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_left_alone_for_as_long_as_it_asks() {
    let (app, receiver, ..) = scene("").await;
    receiver.next([Manner::With(503, "retry-after", "3600".to_owned())]);
    app.connected(ACME).await;
    assert_eq!(app.deliver_due().await, 1);
    app.advance(3_599);
    assert_eq!(app.deliver_due().await, 0);
    app.advance(1);
    assert_eq!(app.deliver_due().await, 1);
    assert_eq!(receiver.heard().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_says_it_is_gone_is_told_nothing_more_until_it_is_enabled() {
    let (app, receiver, made, key) = scene("").await;
    receiver.next([Manner::Status(410)]);
    app.connected(ACME).await;
    assert_eq!(app.deliver_due().await, 1);
    let shown = app.api(&key, Method::GET, &path(&made, ""), None).await.json();
    assert_eq!((&shown["enabled"], &shown["disabled_reason"]), (&json!(false), &json!("gone")));
    app.connected(GLOBEX).await;
    app.advance(86_400);
    assert_eq!(app.deliver_due().await, 0);
    let refused = app.api(&key, Method::POST, &path(&made, "/test"), None).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("webhook_disabled")));
    app.api(&key, Method::PATCH, &path(&made, ""), Some(json!({"enabled": true}))).await;
    app.connected(INITECH).await;
    assert_eq!(app.deliver_due().await, 1, "what happened in between is not told");
    let event = receiver.heard()[0].header("webhook-id").to_owned();
    let replay = path(&made, &format!("/deliveries/{event}/replay"));
    assert_eq!(app.api(&key, Method::POST, &replay, None).await.json()["status"], "delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_replayed_with_the_same_id_whatever_became_of_it() {
    let (app, receiver, made, key) = scene("").await;
    app.connected(ACME).await;
    app.deliver_due().await;
    let event = receiver.heard()[0].header("webhook-id").to_owned();
    let replay = path(&made, &format!("/deliveries/{event}/replay"));
    app.advance(60);
    let replayed = app.api(&key, Method::POST, &replay, None).await.json();
    assert_eq!((&replayed["status"], &replayed["attempts"]), (&json!("delivered"), &json!(1)));
    let heard = receiver.heard();
    assert_eq!(heard.len(), 2);
    assert_eq!((&heard[0].body, heard[0].header("webhook-id")), (&heard[1].body, event.as_str()));
    assert_ne!(heard[0].header("webhook-timestamp"), heard[1].header("webhook-timestamp"));
    assert_ne!(heard[0].header("webhook-signature"), heard[1].header("webhook-signature"));
    let unknown = path(&made, "/deliveries/evt_unknown/replay");
    assert_eq!(app.api(&key, Method::POST, &unknown, None).await.json()["code"], "delivery_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_listed_page_by_page_and_by_status() {
    let (app, receiver, made, key) = scene("").await;
    receiver.next([Manner::Status(500), Manner::Status(200), Manner::Status(500)]);
    let mut ids = Vec::new();
    for _ in 0..5 {
        let tested = app.api(&key, Method::POST, &path(&made, "/test"), None).await.json();
        ids.push(tested["id"].as_str().unwrap().to_owned());
        app.clock.advance(Duration::from_millis(1));
    }
    let (mut listed, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let query = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
        let page =
            app.api(&key, Method::GET, &path(&made, &format!("/deliveries?limit=2{query}")), None).await;
        let page = page.json();
        let items = page["items"].as_array().unwrap().clone();
        listed.extend(items.iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    ids.reverse();
    assert_eq!((listed, pages), (ids, 3));
    for (status, count) in [("pending", 2), ("delivered", 3), ("failed", 0)] {
        let query = format!("/deliveries?status={status}");
        let page = app.api(&key, Method::GET, &path(&made, &query), None).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{status}");
    }
    for bad in ["?limit=0", "?limit=101", "?status=lost", "?cursor=x", "?page=2", "?limit=1&limit=2"] {
        let refused = app.api(&key, Method::GET, &path(&made, &format!("/deliveries{bad}")), None).await;
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("bad_request")), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_event_waits_for_the_first_attempt_of_an_earlier_one_of_its_connection() {
    let (app, receiver, ..) = scene("").await;
    receiver.next([Manner::Status(500), Manner::Status(500)]);
    let browser = app.connected(ACME).await;
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    app.connected(GLOBEX).await;
    // The two connections do not wait for one another, and the second event of the first one does.
    let first = app.flows.claim_deliveries().await.unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!(app.flows.claim_deliveries().await.unwrap().len(), 0);
    for one in first {
        app.flows.deliver_webhook(one).await.unwrap();
    }
    // It may go although the earlier one has failed: its number tells the order.
    assert_eq!(app.deliver_due().await, 1);
    let told = receiver.heard().into_iter().map(|heard| heard.json()["data"]["sequence"].clone());
    assert_eq!(told.collect::<Vec<_>>(), [1, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_hears_of_what_it_has_named_and_of_nothing_else() {
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
async fn both_secrets_sign_while_they_overlap_and_the_older_one_ends() {
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
async fn new_keys_take_the_secrets_along_and_a_lost_key_ends_them() {
    let (app, receiver, made, key) = scene("").await;
    let old = crate::harness::process::value(&app.variables, "ENCRYPTION_KEYS");
    let new = hubspot_connect::keyring::Keyring::generate().expose().to_owned();
    let app = app.restarted(&[("ENCRYPTION_KEYS", &format!("{new},{old}"))]).await;
    assert_eq!(app.store.keys_in_use().await.unwrap().len(), 1, "the secret is counted");
    let (database, variables, hubspot, clock) = app.stopped().await;
    let rotated = crate::harness::process::run(&["keys", "rotate"], &variables);
    assert_eq!(rotated.code, Some(0), "{}", rotated.stderr);
    let app = TestApp::again(hubspot, database, variables, clock).await;
    let app = app.restarted(&[("ENCRYPTION_KEYS", &new)]).await;
    app.api(&key, Method::POST, &path(&made, "/test"), None).await;
    assert!(is_signed(&receiver.heard()[0], made["secret"].as_str().unwrap()));
    let (database, variables, hubspot, clock) = app.stopped().await;
    let lost = hubspot_connect::keyring::Keyring::generate().expose().to_owned();
    let mut changed = variables.clone();
    changed.push(("ENCRYPTION_KEYS".to_owned(), lost));
    let refused = TestApp::build(&changed, clock.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("ENCRYPTION_KEYS"), "{refused}");
    let app = TestApp::again(hubspot, database, variables, clock).await;
    let key_id = app.database.text("SELECT key_id FROM webhook_endpoint").await;
    app.store.give_up_key(&key_id, app.clock.now()).await.unwrap();
    let shown = app.api(&key, Method::GET, &path(&made, ""), None).await.json();
    assert_eq!((&shown["enabled"], &shown["disabled_reason"]), (&json!(false), &json!("key_lost")));
    let anew = app.api(&key, Method::POST, &path(&made, "/rotate-secret"), Some(json!({}))).await.json();
    app.api(&key, Method::PATCH, &path(&made, ""), Some(json!({"enabled": true}))).await;
    app.api(&key, Method::POST, &path(&made, "/test"), None).await;
    let heard = receiver.heard();
    assert!(is_signed(heard.last().unwrap(), anew["secret"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_moved_or_brought_back_signs_nothing() {
    let (app, receiver, made, key) = scene("").await;
    let other = app.webhook(&receiver.url("/other"), "").await;
    let sealed = app.database.text("SELECT MIN(secrets_sealed) FROM webhook_endpoint").await;
    app.database.execute(&format!("UPDATE webhook_endpoint SET secrets_sealed = '{sealed}'")).await;
    let mut errors = Vec::new();
    for endpoint in [&made, &other] {
        let tested = app.api(&key, Method::POST, &path(endpoint, "/test"), None).await.json();
        errors.extend(tested["last_error"].as_str().map(str::to_owned));
    }
    assert_eq!((errors, receiver.heard().len()), (vec!["integrity_error".to_owned()], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_holds_up_no_other_and_no_refresh() {
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    let app = app_for(&[&slow, &quick]).await;
    slow.always(Manner::Slow(Duration::from_secs(60)));
    app.webhook(&slow.url("/"), "").await;
    app.webhook(&quick.url("/"), "").await;
    for account in 1..=10 {
        app.connected(9_000 + account).await;
    }
    let mut stuck = Vec::new();
    let began = Instant::now();
    while quick.heard().len() < 10 {
        let claimed = app.flows.claim_deliveries().await.unwrap();
        stuck.extend(claimed.into_iter().map(|one| app.flows.deliver_webhook(one)));
        assert!(began.elapsed() < Duration::from_secs(4), "the slow ones are still under way");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(slow.heard().len() <= 4, "so many at once");
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, 10);
    assert!(stuck.iter().any(|one| !one.is_finished()), "the slow ones are still under way");
    for one in stuck {
        one.await.unwrap();
    }
    let waiting =
        app.database.number("SELECT COUNT(*) FROM webhook_delivery WHERE last_error = 'timeout'").await;
    assert_eq!(waiting, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_shown_and_ends() {
    let (app, receiver, made, key) = scene("").await;
    receiver.always(Manner::Status(500));
    app.connected(ACME).await;
    assert_eq!(app.deliver_due().await, 1);
    let metrics = app.browser().get(&format!("{}/metrics", app.admin)).await.body;
    assert!(metrics.contains("hubspot_connect_webhooks_waiting 1\n"), "{metrics}");
    assert!(metrics.contains("hubspot_connect_webhook_attempts_total{outcome=\"again\"} 1\n"), "{metrics}");
    app.advance(5 * 86_400 + 1);
    app.flows.sweep().await.unwrap();
    let listed = deliveries(&app, &key, &made).await;
    assert_eq!((&listed[0]["status"], &listed[0]["last_error"]), (&json!("failed"), &json!("expired")));
    let metrics = app.browser().get(&format!("{}/metrics", app.admin)).await.body;
    assert!(metrics.contains("hubspot_connect_webhooks_waiting 0\n"), "{metrics}");
    app.advance(30 * 86_400);
    app.flows.sweep().await.unwrap();
    assert_eq!(app.database.number("SELECT COUNT(*) FROM webhook_delivery").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_that_wait_the_oldest_are_given_up() {
    let (app, _receiver, made, key) = scene("").await;
    let id = made["id"].as_str().unwrap();
    let now = app.clock.now().unix_ms();
    let numbers =
        "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 100003)";
    let events = format!(
        "INSERT INTO event (id, type, payload, created_at) {numbers} \
         SELECT 'evt_' || n, 'webhook.test', '{{}}', {now} + n FROM number"
    );
    app.database.execute(&events).await;
    let deliveries = format!(
        "INSERT INTO webhook_delivery (event_id, endpoint_id, queued_at, run_at) \
         SELECT id, '{id}', created_at, {now} + 60000 FROM event"
    );
    app.database.execute(&deliveries).await;
    app.flows.sweep().await.unwrap();
    let page = app.api(&key, Method::GET, &path(&made, "/deliveries?status=failed"), None).await.json();
    let failed = page["items"].as_array().unwrap().iter();
    let failed: Vec<_> =
        failed.map(|one| (one["id"].as_str().unwrap(), one["last_error"].as_str())).collect();
    assert_eq!(failed, ["evt_3", "evt_2", "evt_1"].map(|id| (id, Some("too_many_waiting"))));
    assert_eq!(app.flows.webhooks_waiting().await.unwrap(), 100_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_deliver_an_event_once_and_a_lease_that_runs_out_is_taken_over() {
    let (app, receiver, ..) = scene("").await;
    if app.database.is_sqlite() {
        return; // There is one process.
    }
    for account in 1..=10 {
        app.connected(9_000 + account).await;
    }
    let replica = app.replica(app.clock.clone()).await;
    let mut running = Vec::new();
    for _ in 0..50 {
        let (one, other) = tokio::join!(app.flows.claim_deliveries(), replica.flows().claim_deliveries());
        running.extend(one.unwrap().into_iter().map(|one| app.flows.deliver_webhook(one)));
        running.extend(other.unwrap().into_iter().map(|one| replica.flows().deliver_webhook(one)));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for one in running {
        one.await.unwrap();
    }
    assert_eq!(receiver.heard().len(), 10);
    app.connected(ACME).await;
    let dead = app.flows.claim_deliveries().await.unwrap();
    assert_eq!(dead.len(), 1);
    app.advance(29);
    assert_eq!(replica.flows().claim_deliveries().await.unwrap().len(), 0);
    app.advance(1);
    let mut taken = replica.flows().claim_deliveries().await.unwrap();
    replica.flows().deliver_webhook(taken.remove(0)).await.unwrap();
    assert_eq!(receiver.heard().len(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_inside_is_refused_when_it_is_named_however_it_is_spelled() {
    let inside = Receiver::start().await;
    let app = TestApp::start().await;
    let key = app.api_key("webhooks").await;
    let port = inside.port;
    for url in [
        format!("https://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        format!("https://localhost.:{port}/"),
        format!("https://0x7f.1:{port}/"),
        format!("https://2130706433:{port}/"),
        format!("https://127.1:{port}/"),
        format!("https://127.0.0.1.:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        "https://[::ffff:169.254.169.254]/".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        format!("http://127.0.0.1:{port}/"),
        format!("https://user:pass@127.0.0.1:{port}/"),
        "https://does-not-exist.invalid/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.1/".to_owned(),
        "not a url".to_owned(),
    ] {
        let refused = app.api(&key, Method::POST, PATH, Some(json!({"url": url}))).await;
        assert_eq!(refused.status, 400, "{url}: {}", refused.body);
        let problem = refused.json();
        assert_eq!(
            (&problem["code"], &problem["pointer"]),
            (&json!("webhook_url_not_allowed"), &json!("/url"))
        );
        assert!(problem["hint"].as_str().is_some_and(|hint| hint.ends_with('.')), "{url}");
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_allowed_any_more_is_sent_nothing() {
    let (app, receiver, made, key) = scene("").await;
    let app = app.restarted(&[("WEBHOOK_ALLOWED_HOSTS", "")]).await;
    // Plain http, and the same host in the spellings that a row may have from elsewhere.
    for url in [
        receiver.url("/"),
        format!("https://127.0.0.1:{}/", receiver.port),
        format!("https://localhost:{}/", receiver.port),
        format!("https://0x7f.1:{}/", receiver.port),
    ] {
        app.database.execute(&format!("UPDATE webhook_endpoint SET url = '{url}'")).await;
        let tested = app.api(&key, Method::POST, &path(&made, "/test"), None).await.json();
        assert_eq!(
            (&tested["status"], &tested["last_error"]),
            (&json!("pending"), &json!("blocked")),
            "{url}"
        );
    }
    assert_eq!(receiver.connections(), 0);
    let metrics = app.browser().get(&format!("{}/metrics", app.admin)).await.body;
    assert!(metrics.contains("hubspot_connect_webhook_attempts_total{outcome=\"blocked\"} 4\n"), "{metrics}");
}

/// A name whose first answer is public, and every later one is not: who checks once and connects later is led inside.
#[derive(Debug, Default)]
struct Rebinding(AtomicUsize);

impl Lookup for Rebinding {
    fn lookup(
        &self,
        _name: &str,
    ) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
        let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
        let found: &[&str] = if first { &["93.184.216.34"] } else { &["93.184.216.34", "127.0.0.1"] };
        let found = found.iter().map(|address| address.parse().unwrap()).collect();
        Box::pin(async move { Ok(found) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_inside_at_the_second_look_is_not_followed() {
    let inside = Receiver::start().await;
    let settings = hubspot_connect::config::Webhooks { allowed_hosts: AllowedHosts::default() };
    let lookup = Arc::new(Rebinding::default());
    let webhooks = Webhooks::with(&settings, Arc::clone(&lookup) as Arc<dyn Lookup>);
    let url = format!("https://rebinding.example.com:{}/", inside.port);
    assert!(webhooks.check(&url).await.is_ok());
    assert_eq!(webhooks.check(&url).await.err(), Some(NotAllowed::NotPublic));
    let message = Message { id: "evt_1", at: Moment::from_unix_ms(0), body: "{}" };
    let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
    let attempt = webhooks.post(&url, message, &[secret]).await;
    assert_eq!((attempt.status, attempt.error), (None, Some("blocked")));
    assert_eq!(lookup.0.load(Ordering::SeqCst), 3, "one look for one delivery");
    assert_eq!(inside.connections(), 0);
}

/// The headers of a message, as the official library reads them.
fn headers(id: &str, at: Moment, signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", id.parse().unwrap());
    headers.insert("webhook-timestamp", (at.unix_ms() / 1000).to_string().parse().unwrap());
    headers.insert("webhook-signature", signature.parse().unwrap());
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_library_takes_our_signatures_and_refuses_forged_and_old_ones() {
    let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let (verifier, secret) = (Webhook::new(text).unwrap(), Secret::new(text.to_owned()));
    let now = Clock::system().now();
    let body = r#"{"type":"connection.created"}"#;
    let signed = |at| sign(&secret, Message { id: "evt_1", at, body }).unwrap();
    assert!(verifier.verify(body.as_bytes(), &headers("evt_1", now, &signed(now))).is_ok());
    let rotated = format!("v1,{} {}", "A".repeat(43) + "=", signed(now));
    assert!(verifier.verify(body.as_bytes(), &headers("evt_1", now, &rotated)).is_ok());
    let (old, ahead) = (now.minus(Duration::from_secs(330)), now.plus(Duration::from_secs(330)));
    for (body, id, at, signature) in [
        (body, "evt_1", old, signed(old)),
        (body, "evt_1", ahead, signed(ahead)),
        (body, "evt_1", now, signed(old)),
        (body, "evt_2", now, signed(now)),
        ("{}", "evt_1", now, signed(now)),
        (body, "evt_1", now, "v1,".to_owned()),
    ] {
        assert!(verifier.verify(body.as_bytes(), &headers(id, at, &signature)).is_err(), "{id} {at:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_background_delivers_by_itself() {
    let hubspot = fake_hubspot::FakeHubSpot::start(fake_hubspot::Options::default()).await.unwrap();
    let database = crate::harness::database::TestDatabase::fresh().await;
    let receiver = Receiver::start().await;
    let allowed = receiver.host();
    let variables =
        crate::harness::app::settle(&hubspot, &database, &[("WEBHOOK_ALLOWED_HOSTS", allowed.as_str())]);
    let process = crate::harness::process::Process::serve(&variables);
    let sql = "SELECT COUNT(*) FROM webhook_delivery WHERE status = 'delivered'";
    let app_key = made_key(&variables);
    let backend = crate::harness::Browser::new(&process.base);
    let made = backend
        .send(
            backend
                .request(Method::POST, PATH)
                .bearer_auth(&app_key)
                .header("content-type", "application/json")
                .body(json!({"url": receiver.url("/")}).to_string()),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
    process.connected(&hubspot, ACME).await;
    eventually("the delivery", || async { receiver.heard().len() == 1 }).await;
    eventually("its note", || async { database.number(sql).await == 1 }).await;
    let heard = receiver.heard().remove(0);
    assert_eq!(heard.kind(), "connection.created");
    let secret = Webhook::new(made.json()["secret"].as_str().unwrap()).unwrap();
    let at = Moment::from_unix_ms(heard.header("webhook-timestamp").parse::<i64>().unwrap() * 1000);
    let shown = headers(heard.header("webhook-id"), at, heard.header("webhook-signature"));
    assert!(secret.verify(heard.body.as_bytes(), &shown).is_ok());
}

/// A key from the command line.
fn made_key(variables: &[(String, String)]) -> String {
    let made =
        crate::harness::process::run(&["api-keys", "create", "test", "--scope", "webhooks"], variables);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let key = made.stdout.split_whitespace().find(|word| word.starts_with("hsc_key_"));
    key.unwrap_or_else(|| panic!("no key in {}", made.stdout)).to_owned()
}
