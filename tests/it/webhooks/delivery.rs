//! Deliveries: signed, in order, retried if needed, and without blocking others.

use std::time::{Duration, Instant};

use fake_hubspot::{Fault, Kind, Rule};
use hubspot_connect::domain::clock::{Clock, Timestamp};
use hubspot_connect::domain::secret::Secret;
use hubspot_connect::webhook::{Message, sign};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::harness::app::{ACME, GLOBEX, HOST, INITECH, approve};
use crate::harness::receiver::Heard;
use crate::harness::{Manner, Receiver, eventually, sql};

use super::{DUE, PATH, app_for, deliveries, is_signed, path, scene};

/// Returns the headers of a message for the official library.
fn headers(id: &str, at: Timestamp, signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", id.parse().unwrap());
    headers.insert("webhook-timestamp", (at.unix_ms() / 1000).to_string().parse().unwrap());
    headers.insert("webhook-signature", signature.parse().unwrap());
    headers
}

/// Creates a key on the command line.
fn made_key(variables: &[(String, String)]) -> String {
    let made =
        crate::harness::process::run(&["api-keys", "create", "test", "--scope", "webhooks"], variables);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let key = made.stdout.split_whitespace().find(|word| word.starts_with("hsc_key_"));
    key.unwrap_or_else(|| panic!("no key in {}", made.stdout)).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_delivered_signed_and_once() {
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
async fn failed_deliveries_are_retried_with_backoff_and_then_abandoned() {
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
    assert_eq!((receiver.heard().len(), ids.len()), (10, 1), "the receiver can recognize the same event");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_2xx_responses_count_as_delivered() {
    let (app, receiver, made, key) = scene("").await;
    let elsewhere = Receiver::start().await;
    let faults = [
        (Manner::With(302, "location", elsewhere.url("/latest/meta-data")), "redirected"),
        (Manner::With(308, "location", elsewhere.url("/")), "redirected"),
        (Manner::HangUp, "bad_answer"),
        (Manner::Status(404), "http_status"),
        (Manner::Status(204), ""),
        (Manner::Huge(20_000_000), ""),
        (Manner::Status(299), ""),
    ];
    for (manner, error) in faults {
        receiver.next([manner.clone()]);
        let began = Instant::now();
        let outcome = app.api(&key, Method::POST, &path(&made, "/test"), None).await.json();
        assert!(began.elapsed() < Duration::from_secs(5), "{manner:?}");
        assert_eq!(outcome["last_error"].as_str().unwrap_or_default(), error, "{manner:?}: {outcome}");
        let status = if error.is_empty() { "delivered" } else { "pending" };
        assert_eq!(outcome["status"], status, "{manner:?}");
    }
    assert_eq!(elsewhere.connections(), 0, "redirects are not followed");
    let closed = { Receiver::start().await.port };
    let app = app.restarted(&[("WEBHOOK_ALLOWED_HOSTS", "127.0.0.1")]).await;
    let made = app.webhook(&format!("http://127.0.0.1:{closed}/"), "").await;
    let outcome = app.api(&key, Method::POST, &path(&made, "/test"), None).await.json();
    assert_eq!(outcome["last_error"], "unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_of_receivers_is_honored() {
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
async fn endpoints_that_return_410_are_disabled_until_enabled() {
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
    assert_eq!(app.deliver_due().await, 1, "events in between are not delivered");
    let event = receiver.heard()[0].header("webhook-id").to_owned();
    let replay = path(&made, &format!("/deliveries/{event}/replay"));
    assert_eq!(app.api(&key, Method::POST, &replay, None).await.json()["status"], "delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_connection_wait_for_the_first_attempt_of_earlier_ones() {
    let (app, receiver, ..) = scene("").await;
    receiver.next([Manner::Status(500), Manner::Status(500)]);
    let browser = app.connected(ACME).await;
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    app.connected(GLOBEX).await;
    // The two connections do not wait for each other; the second event of the first one waits.
    let first = app.services.webhooks.deliveries.acquire_deliveries().await.unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!(app.services.webhooks.deliveries.acquire_deliveries().await.unwrap().len(), 0);
    for one in first {
        app.services.webhooks.deliveries.deliver_webhook(one).await.unwrap();
    }
    // It may be sent although the earlier one has failed: its number shows the order.
    assert_eq!(app.deliver_due().await, 1);
    let sequences = receiver.heard().into_iter().map(|heard| heard.json()["data"]["sequence"].clone());
    assert_eq!(sequences.collect::<Vec<_>>(), [1, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_receivers_delay_no_other_receiver_and_no_refresh() {
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
        let acquired = app.services.webhooks.deliveries.acquire_deliveries().await.unwrap();
        stuck.extend(acquired.into_iter().map(|one| app.services.webhooks.deliveries.deliver_webhook(one)));
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
    let waiting = app.database.count_where(sql::DELIVERIES, "last_error = 'timeout'").await;
    assert_eq!(waiting, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_deliver_an_event_once_and_take_over_expired_leases() {
    let (app, receiver, ..) = scene("").await;
    if app.database.is_sqlite() {
        return; // SQLite has one process.
    }
    for account in 1..=10 {
        app.connected(9_000 + account).await;
    }
    let replica = app.replica(app.clock.clone()).await;
    let mut running = Vec::new();
    let began = Instant::now();
    loop {
        let (one, other) = tokio::join!(
            app.services.webhooks.deliveries.acquire_deliveries(),
            replica.services().webhooks.deliveries.acquire_deliveries()
        );
        running.extend(
            one.unwrap().into_iter().map(|one| app.services.webhooks.deliveries.deliver_webhook(one)),
        );
        running.extend(
            other.unwrap().into_iter().map(|one| replica.services().webhooks.deliveries.deliver_webhook(one)),
        );
        if running.len() >= 10 && running.iter().all(tokio::task::JoinHandle::is_finished) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "not all are delivered");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((running.len(), receiver.heard().len()), (10, 10));
    app.connected(ACME).await;
    let dead = app.services.webhooks.deliveries.acquire_deliveries().await.unwrap();
    assert_eq!(dead.len(), 1);
    app.advance(59);
    assert_eq!(replica.services().webhooks.deliveries.acquire_deliveries().await.unwrap().len(), 0);
    app.advance(1);
    let mut taken = replica.services().webhooks.deliveries.acquire_deliveries().await.unwrap();
    replica.services().webhooks.deliveries.deliver_webhook(taken.remove(0)).await.unwrap();
    assert_eq!(receiver.heard().len(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_library_accepts_signatures_and_refuses_forged_and_old_ones() {
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
async fn deliveries_are_sent_in_the_background() {
    let hubspot = fake_hubspot::FakeHubSpot::start(fake_hubspot::Options::default()).await.unwrap();
    let database = crate::harness::database::TestDatabase::fresh().await;
    let receiver = Receiver::start().await;
    let allowed = receiver.host();
    let variables =
        crate::harness::app::settle(&hubspot, &database, &[("WEBHOOK_ALLOWED_HOSTS", allowed.as_str())]);
    let process = crate::harness::process::Process::serve(&variables);
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
    eventually("its note", || async {
        database.count_where(sql::DELIVERIES, "status = 'delivered'").await == 1
    })
    .await;
    let heard = receiver.heard().remove(0);
    assert_eq!(heard.kind(), "connection.created");
    let secret = Webhook::new(made.json()["secret"].as_str().unwrap()).unwrap();
    let at = Timestamp::from_unix_ms(heard.header("webhook-timestamp").parse::<i64>().unwrap() * 1000);
    let shown = headers(heard.header("webhook-id"), at, heard.header("webhook-signature"));
    assert!(secret.verify(heard.body.as_bytes(), &shown).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_time_out_after_fifteen_seconds() {
    let (app, receiver, made, key) = scene("").await;
    receiver.next([Manner::Slow(Duration::from_secs(7))]);
    let tested = app.api(&key, Method::POST, &path(&made, "/test"), None).await.json();
    assert_eq!(tested["status"], "delivered", "{tested}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_shown_with_their_message() {
    let (app, receiver, made, key) = scene("").await;
    app.connected(ACME).await;
    app.deliver_due().await;
    let sent = &receiver.heard()[0];
    let shown = path(&made, &format!("/deliveries/{}", sent.header("webhook-id")));
    let shown = app.api(&key, Method::GET, &shown, None).await.json();
    assert_eq!((&shown["payload"], &shown["status"]), (&sent.json(), &json!("delivered")));
    let missing = app.api(&key, Method::GET, &path(&made, "/deliveries/evt_0"), None).await;
    assert_eq!((missing.status, &missing.json()["code"]), (404, &json!("delivery_not_found")));
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_deliveries_of_a_period_are_replayed_together_and_once() {
    let (app, receiver, made, key) = scene("").await;
    let mut times = Vec::new();
    for account in [ACME, GLOBEX, INITECH] {
        times.push(app.clock.now().rfc3339());
        app.connected(account).await;
        app.advance(60);
    }
    app.deliver_due().await;
    let delivered = app.database.count(sql::DELIVERIES).await;
    let fail = format!("UPDATE {} SET status = 'failed'", sql::DELIVERIES);
    app.database.execute(&fail).await;
    let listed = async |query: &str| {
        let page = app.api(&key, Method::GET, &path(&made, &format!("/deliveries{query}")), None).await;
        page.json()["data"].as_array().expect("a list").len() as i64
    };
    let (from, until) = (&times[1], &times[2]);
    let of_globex = listed(&format!("?queued_after={from}&queued_before={until}")).await;
    assert!((1..delivered).contains(&of_globex), "{of_globex} of {delivered}");
    let replay =
        async |body: Value| app.api(&key, Method::POST, &path(&made, "/deliveries/replay"), Some(body)).await;
    let heard = receiver.heard().len();
    for expected in [of_globex, 0] {
        let answer = replay(json!({"queued_after": from, "queued_before": until})).await;
        assert_eq!(answer.json(), json!({"replayed": expected, "has_more": false}), "{}", answer.body);
        app.deliver_due().await;
        assert_eq!(receiver.heard().len() as i64, heard as i64 + of_globex);
    }
    assert_eq!(replay(json!({})).await.json()["replayed"], json!(delivered - of_globex));
    assert_eq!(listed("?status=pending").await, delivered - of_globex);
    assert_eq!(replay(json!({"queued_after": "today"})).await.json()["pointer"], "/queued_after");
    app.api(&key, Method::PATCH, &path(&made, ""), Some(json!({"enabled": false}))).await;
    assert_eq!(replay(json!({})).await.json()["code"], "webhook_disabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_new_connections_contain_the_account_domain() {
    let (app, receiver, ..) = scene("").await;
    app.connected(ACME).await;
    assert_eq!(app.deliver_due().await, 1, "it does not wait once the domain is known");
    assert_eq!(receiver.heard()[0].json()["data"]["hub_domain"], "acme.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_new_connections_wait_half_a_minute_for_the_domain() {
    let (app, receiver, ..) = scene("").await;
    app.hubspot.script(Rule::always(Kind::Introspect, Fault::CloseBeforeAnswer));
    let browser = app.connected(ACME).await;
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(app.deliver_due().await, 0, "and later events of the connection wait for it");
    app.advance(30);
    assert_eq!(app.deliver_due().await, 2);
    app.hubspot.clear_script();
    app.advance(120);
    app.services.connections.details.fetch_missing_details().await.unwrap();
    let messages: Vec<_> = receiver.heard().iter().map(Heard::json).collect();
    assert_eq!(
        (&messages[0]["type"], &messages[0]["data"]["hub_domain"]),
        (&json!("connection.created"), &Value::Null)
    );
    let stored = app.database.text_in(sql::EVENTS, "MIN(payload)").await;
    assert!(stored.contains("\"hub_domain\":null"), "what was sent stays as it was: {stored}");
}
