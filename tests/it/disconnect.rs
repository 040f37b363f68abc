//! Disconnecting: here at once, at HubSpot as soon as it responds, and for good.

use std::time::{Duration, Instant};

use fake_hubspot::{Fault, Kind, Options, Rule};
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, HOST, approve};
use crate::harness::browser::Browser;
use crate::harness::{TestApp, eventually, sql};

const DAY: u64 = 86_400;

async fn connection_id(browser: &Browser) -> String {
    let status = browser.status().await;
    status["connections"][0]["id"].as_str().expect("an id").to_owned()
}

fn oops(status: u16) -> Fault {
    Fault::Status { status, headers: Vec::new(), body: "oops".to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_revocations_are_retried_later() {
    let app = TestApp::start().await;
    for fault in
        [oops(500), oops(503), oops(429), oops(404), oops(403), Fault::CloseBeforeAnswer, Fault::HalfBody]
    {
        let browser = app.connected(ACME).await;
        let id = connection_id(&browser).await;
        app.hubspot.script(Rule::times(Kind::Revoke, 2, fault.clone()));
        let answer = browser.disconnect(&id).await;
        assert_eq!(answer.status, 200, "{fault:?}: {}", answer.body);
        assert_eq!(answer.json(), json!({"connection_id": id, "revocation": "queued"}), "{fault:?}");
        assert_eq!(browser.status().await, json!({"authenticated": false, "connections": []}));
        assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
        assert_eq!(app.database.count(sql::REFRESH_JOBS).await, 0);
        app.advance(31);
        assert_eq!(app.services.connections.disconnects.revoke_due().await.unwrap(), 1, "{fault:?}");
        assert_eq!(app.database.count(sql::REVOCATION_JOBS).await, 1, "it has failed again");
        app.advance(301);
        assert_eq!(app.services.connections.disconnects.revoke_due().await.unwrap(), 1, "{fault:?}");
        assert_eq!(app.database.count(sql::REVOCATION_JOBS).await, 0, "{fault:?}");
        assert_eq!(app.hubspot.grants().len(), 0, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnecting_does_not_wait_for_an_unresponsive_hubspot() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let id = connection_id(&browser).await;
    app.hubspot.script(Rule::once(Kind::Revoke, Fault::Hang(Duration::from_secs(120))));
    let began = Instant::now();
    let answer = browser.disconnect(&id).await;
    assert!(began.elapsed() < Duration::from_secs(8));
    assert_eq!(answer.json()["revocation"], "queued");
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
    app.advance(31);
    assert_eq!(app.services.connections.disconnects.revoke_due().await.unwrap(), 1);
    assert_eq!(app.hubspot.grants().len(), 0);
    assert_eq!(app.database.count(sql::REVOCATION_JOBS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_are_abandoned_after_a_day() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let id = connection_id(&browser).await;
    app.hubspot.script(Rule::always(Kind::Revoke, oops(500)));
    browser.disconnect(&id).await;
    let began = app.clock.now();
    while app.database.count(sql::REVOCATION_JOBS).await == 1 {
        assert!(app.clock.now().since(began).as_secs() <= DAY + 3600);
        app.advance(3600);
        app.services.connections.disconnects.revoke_due().await.unwrap();
    }
    assert!(app.clock.now().since(began).as_secs() >= DAY);
    let calls = app.hubspot.calls(Kind::Revoke).len();
    assert!(calls > 20, "{calls}");
    app.advance(DAY);
    assert_eq!(app.services.connections.disconnects.revoke_due().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_revocations_survive_a_restart() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let id = connection_id(&browser).await;
    app.hubspot.script(Rule::once(Kind::Revoke, oops(503)));
    browser.disconnect(&id).await;
    let app = app.restarted(&[]).await;
    app.advance(31);
    assert_eq!(app.services.connections.disconnects.revoke_due().await.unwrap(), 1);
    assert_eq!(app.hubspot.grants().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_grants_live_until_the_last_user_disconnects() {
    let options = Options { share_refresh_token_per_account: true, ..Options::default() };
    let app = TestApp::with_hubspot(&[], options).await;
    let (first, second) = (app.connected(ACME).await, app.connected(ACME).await);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 2);
    let answer = first.disconnect(&connection_id(&first).await).await.json();
    assert_eq!(answer["revocation"], "skipped");
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 0);
    app.advance(1261);
    app.services.connections.disconnects.revoke_due().await.unwrap();
    assert_eq!(app.refresh_due().await, 1, "the other one lives on");
    assert_eq!(second.status().await["status"], "active");
    let answer = second.disconnect(&connection_id(&second).await).await.json();
    assert_eq!(answer["revocation"], "done");
    assert_eq!(app.hubspot.grants().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_reconnected_before_their_revocation_are_kept() {
    let options = Options { share_refresh_token_per_account: true, ..Options::default() };
    let app = TestApp::with_hubspot(&[], options).await;
    let browser = app.connected(ACME).await;
    app.hubspot.script(Rule::once(Kind::Revoke, oops(500)));
    browser.disconnect(&connection_id(&browser).await).await;
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    app.advance(301);
    assert_eq!(app.services.connections.disconnects.revoke_due().await.unwrap(), 1);
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 1, "only the failed one");
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_in_progress_do_not_restore_deleted_tokens() {
    let options =
        Options { rotate_refresh_tokens: true, reject_reused_refresh_tokens: true, ..Options::default() };
    let app = TestApp::with_hubspot(&[], options).await;
    let browser = app.connected(ACME).await;
    let id = connection_id(&browser).await;
    let held = app.hubspot.current_refresh_token(ACME).unwrap();
    app.advance(1261);
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::HoldAfterIssue));
    let mut jobs = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    let late = app.services.connections.refreshes.refresh(jobs.remove(0));
    eventually("HubSpot has given a new token", || async {
        app.hubspot.current_refresh_token(ACME).is_some_and(|token| token != held)
    })
    .await;
    let given = app.hubspot.current_refresh_token(ACME).unwrap();
    // HubSpot revokes the old token only; the response with the new one is still on its way.
    app.hubspot.script(Rule::once(
        Kind::Revoke,
        Fault::Status { status: 200, headers: Vec::new(), body: String::new() },
    ));
    assert_eq!(browser.disconnect(&id).await.status, 200);
    assert!(!late.is_finished(), "the refresh is still under way");
    app.hubspot.release();
    late.await.unwrap();
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
    assert_eq!(app.database.count(sql::REFRESH_JOBS).await, 0);
    assert_eq!(app.services.connections.disconnects.revoke_due().await.unwrap(), 1);
    let revoked = app.hubspot.calls(Kind::Revoke);
    let revoked: Vec<_> = revoked.iter().map(|call| call.form["token"].clone()).collect();
    assert_eq!(revoked, [held, given]);
    assert_eq!(app.hubspot.grants().len(), 0);
    assert_eq!(app.database.count(sql::REVOCATION_JOBS).await, 0);
    assert_eq!(browser.status().await, json!({"authenticated": false, "connections": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_refused_because_of_a_disconnect_changes_nothing() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    app.advance(1261);
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::Hold));
    let mut jobs = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    let late = app.services.connections.refreshes.refresh(jobs.remove(0));
    eventually("the refresh is under way", || async { app.hubspot.calls(Kind::Refresh).len() == 1 }).await;
    let answer = browser.disconnect(&connection_id(&browser).await).await;
    assert_eq!(answer.json()["revocation"], "done");
    app.hubspot.release();
    late.await.unwrap();
    for table in [sql::CONNECTIONS, sql::REFRESH_JOBS, sql::REVOCATION_JOBS] {
        assert_eq!(app.database.count(table).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_connections_and_those_of_other_users_look_alike() {
    let app = TestApp::start().await;
    let (browser, other) = (app.connected(ACME).await, app.connected(GLOBEX).await);
    let theirs = connection_id(&other).await;
    let unknown = "00000000-0000-4000-8000-000000000000";
    let mut answers = Vec::new();
    for id in [theirs.as_str(), unknown] {
        let answer = browser.disconnect(id).await;
        assert_eq!(answer.status, 404);
        let mut body = answer.json();
        body["request_id"] = Value::Null;
        answers.push(body);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 2);
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_disconnects_and_reconnects_end_in_the_last_state() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    browser.connect(&app, Some(HOST), approve(GLOBEX)).await;
    let status = browser.status().await;
    let acme = status["connections"].as_array().unwrap().iter().find(|one| one["portal_id"] == ACME);
    let id = acme.unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(browser.disconnect(&id).await.status, 200);
    assert_eq!(browser.disconnect(&id).await.status, 404);
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 1, "the second one does not revoke again");
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    app.assert_one_job_each().await;
    let status = browser.status().await;
    assert_eq!(status["connections"].as_array().unwrap().len(), 2);
    assert!(status["connections"].as_array().unwrap().iter().all(|one| one["id"] != id.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_disconnects_revoke_once() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let (user, id) = (app.database.column(sql::USER_ID).await, connection_id(&browser).await);
    let (user, id) = (user.parse().unwrap(), id.parse().unwrap());
    let all = [(); 20].map(|()| {
        let services = app.services.clone();
        tokio::spawn(
            async move { services.connections.disconnects.disconnect(user, id, true).await.unwrap() },
        )
    });
    let mut ended = 0;
    for one in all {
        ended += usize::from(one.await.unwrap().is_some());
    }
    assert_eq!(ended, 1);
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 1);
}
