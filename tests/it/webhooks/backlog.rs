//! Sent and pending deliveries for the host's backend: listed, replayed, abandoned.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::app::ACME;
use crate::harness::{Manner, sql};

use super::{deliveries, path, scene};

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_replayed_with_the_same_id_in_every_status() {
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
async fn deliveries_are_listed_by_page_and_status() {
    let (app, receiver, made, key) = scene("").await;
    receiver.next([Manner::Status(500), Manner::Status(200), Manner::Status(500)]);
    let mut ids = Vec::new();
    for _ in 0..5 {
        let tested = app.api(&key, Method::POST, &path(&made, "/test"), None).await.json();
        ids.push(tested["id"].clone());
        app.clock.advance(Duration::from_millis(1));
    }
    ids.reverse();
    for (limit, sizes) in [(2, vec![2, 2, 1]), (5, vec![5])] {
        let pages = app.pages(&key, &path(&made, &format!("/deliveries?limit={limit}"))).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "by {limit}");
        assert_eq!(pages.concat().iter().map(|one| one["id"].clone()).collect::<Vec<_>>(), ids);
    }
    for (status, count) in [("pending", 2), ("delivered", 3), ("failed", 0)] {
        let query = format!("/deliveries?status={status}");
        let page = app.api(&key, Method::GET, &path(&made, &query), None).await.json();
        assert_eq!(page["data"].as_array().unwrap().len(), count, "{status}");
    }
    for bad in ["?limit=0", "?limit=101", "?status=lost", "?cursor=x", "?page=2", "?limit=1&limit=2"] {
        let refused = app.api(&key, Method::GET, &path(&made, &format!("/deliveries{bad}")), None).await;
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("bad_request")), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backlogs_are_reported_and_expire() {
    let (app, receiver, made, key) = scene("").await;
    receiver.always(Manner::Status(500));
    app.connected(ACME).await;
    assert_eq!(app.deliver_due().await, 1);
    let metrics = app.browser().get(&format!("{}/metrics", app.admin)).await.body;
    assert!(metrics.contains("hubspot_connect_webhooks_waiting 1\n"), "{metrics}");
    assert!(metrics.contains("hubspot_connect_webhook_attempts_total{outcome=\"again\"} 1\n"), "{metrics}");
    app.advance(5 * 86_400 + 1);
    app.services.maintenance.sweep().await.unwrap();
    let listed = deliveries(&app, &key, &made).await;
    assert_eq!((&listed[0]["status"], &listed[0]["last_error"]), (&json!("failed"), &json!("expired")));
    let metrics = app.browser().get(&format!("{}/metrics", app.admin)).await.body;
    assert!(metrics.contains("hubspot_connect_webhooks_waiting 0\n"), "{metrics}");
    app.advance(30 * 86_400);
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!(app.database.count(sql::DELIVERIES).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_of_too_many_pending_deliveries_are_abandoned() {
    let (app, _receiver, made, key) = scene("").await;
    let id = made["id"].as_str().unwrap();
    let now = app.clock.now().unix_ms();
    let numbers =
        "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 100003)";
    let events = format!(
        "INSERT INTO {} (id, type, payload, created_at) {numbers} \
         SELECT 'evt_' || n, 'webhook.test', '{{}}', {now} + n FROM number",
        sql::EVENTS
    );
    app.database.execute(&events).await;
    let deliveries = format!(
        "INSERT INTO {} (event_id, endpoint_id, queued_at, run_at) \
         SELECT id, '{id}', created_at, {now} + 60000 FROM {}",
        sql::DELIVERIES,
        sql::EVENTS
    );
    app.database.execute(&deliveries).await;
    app.services.maintenance.sweep().await.unwrap();
    let page = app.api(&key, Method::GET, &path(&made, "/deliveries?status=failed"), None).await.json();
    let failed = page["data"].as_array().unwrap().iter();
    let failed: Vec<_> =
        failed.map(|one| (one["id"].as_str().unwrap(), one["last_error"].as_str())).collect();
    assert_eq!(failed, ["evt_3", "evt_2", "evt_1"].map(|id| (id, Some("too_many_waiting"))));
    assert_eq!(app.services.webhooks.endpoints.webhooks_waiting().await.unwrap().count, 100_000);
}
