//! Long polls: answered as soon as the outcome is known, not before, and dropped with their client.

use std::time::{Duration, Instant};

use fake_hubspot::{Fault, Kind, Rule};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{ACME, HOST};
use crate::harness::page::{Page, approved, connected};
use crate::harness::process::eventually;
use crate::harness::{TestApp, sql};

/// Returns the number of waiting pages.
pub async fn waiting(app: &TestApp) -> usize {
    let figures = app.browser().get(&format!("{}/metrics", app.admin)).await.body;
    let line = figures.lines().find_map(|line| line.strip_prefix("hubspot_connect_waiting "));
    line.expect("the metric").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_pages_are_answered_when_the_outcome_is_stored() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let authorize = page.begin(&popup).await;
    let tag = page.poll().await.header("etag").to_owned();
    let started = Instant::now();

    let outcome = async {
        let mut authorization = page.wait(&tag, 25).await;
        // Where other processes may write, the query of each second may come in the middle of the exchange.
        while authorization.json()["status"] == "exchanging" {
            authorization = page.wait(authorization.header("etag"), 25).await;
        }
        authorization
    };
    let (woken, _) = tokio::join!(outcome, async {
        eventually("the page waits", || async { waiting(&app).await == 1 }).await;
        approved(&app, &popup, &authorize).await
    });

    assert_eq!(woken.json()["status"], "connected", "{}", woken.body);
    assert!(started.elapsed() < Duration::from_secs(20), "woken, not timed out: {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_get_their_connection_when_its_account_is_known() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let authorize = page.begin(&popup).await;
    app.hubspot.script(Rule::once(Kind::Introspect, Fault::Hold));
    let callback = approved(&app, &popup, &authorize);
    let poll = async {
        while app.database.count(sql::CONNECTIONS).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let early = page.poll().await;
        app.hubspot.release();
        (early.json(), page.wait(early.header("etag"), 25).await.json())
    };

    let (_, (early, late)) = tokio::join!(callback, poll);

    assert_eq!((&early["status"], &early["connection"]), (&json!("exchanging"), &Value::Null));
    assert_eq!(
        (&late["status"], &late["connection"]["hub_domain"]),
        (&json!("connected"), &json!("acme.example"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_get_their_connection_when_its_account_stays_unknown() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    app.hubspot.script(Rule::once(Kind::Introspect, Fault::HalfBody));
    connected(&app, &page, &popup).await;
    let authorization = page.poll().await.json();
    assert_eq!(
        (&authorization["status"], &authorization["connection"]["portal_id"]),
        (&json!("connected"), &json!(ACME))
    );
    // Nor does a page wait if the process has died before it could ask.
    app.database.update(sql::CONNECTIONS, "details_attempts = 0").await;
    assert_eq!(page.poll().await.json()["status"], "exchanging");
    app.advance(120);
    assert_eq!(page.poll().await.json()["status"], "connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_keep_their_connection_while_another_page_reconnects_it() {
    let app = TestApp::start().await;
    let (first, second, popup) = (Page::new(&app.base, HOST), Page::new(&app.base, HOST), app.browser());
    connected(&app, &first, &popup).await;
    app.advance(1);
    let authorize = second.begin(&popup).await;
    app.hubspot.script(Rule::once(Kind::Introspect, Fault::Hold));
    let poll = async {
        while app.database.number_in(sql::CONNECTIONS, "MAX(generation)").await == 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let both = (first.poll().await.json(), second.poll().await.json());
        app.hubspot.release();
        both
    };

    let (_, (first, second)) = tokio::join!(approved(&app, &popup, &authorize), poll);

    assert_eq!((&first["status"], &second["status"]), (&json!("connected"), &json!("exchanging")));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_pages_get_304_after_the_wait_time() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    page.begin(&popup).await;
    let tag = page.poll().await.header("etag").to_owned();
    assert_eq!(page.wait(&tag, 1).await.status, 304);
    assert_eq!(page.wait("\"another\"", 25).await.status, 200);
    assert_eq!(page.wait(&tag, 0).await.status, 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_pages_are_woken_by_changes_on_another_replica() {
    let app = TestApp::start().await;
    if app.database.is_sqlite() {
        return; // An SQLite file belongs to one process.
    }
    let replica = app.replica(app.clock.clone()).await;
    let address = format!("http://{}", replica.address());
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(replica.run(stop.clone(), true));
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let authorize = page.begin(&popup).await;
    let host = app.base.trim_start_matches("http://").to_owned();
    let there = format!("{address}/api/hubspot/status?wait=25");
    let seen = page.ask(Method::GET, &there, None, &[("host", &host)]).await;
    let tag = seen.header("etag").to_owned();
    let headers = [("host", host.as_str()), ("if-none-match", tag.as_str())];
    let started = Instant::now();

    let (woken, _) = tokio::join!(page.ask(Method::GET, &there, None, &headers), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        approved(&app, &popup, &authorize).await
    });

    assert_eq!(woken.json()["status"], "connected", "{}", woken.body);
    assert!(started.elapsed() < Duration::from_secs(20), "woken, not timed out: {:?}", started.elapsed());
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_pages_do_not_delay_shutdown() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    page.begin(&popup).await;
    let tag = page.poll().await.header("etag").to_owned();
    let held = tokio::spawn(async move { page.wait(&tag, 25).await });
    eventually("the page waits", || async { waiting(&app).await == 1 }).await;
    let started = Instant::now();

    let _ = app.stopped().await;

    assert_eq!(held.await.unwrap().status, 304);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
