//! Repeated refreshes: each token once, the newest kept, with any concurrent work.

use fake_hubspot::{Fault, Kind, Options, Rule};
use hubspot_connect::services::Services;

use crate::harness::app::{ACME, GLOBEX, HOST, LONG_SESSIONS, approve};
use crate::harness::{TestApp, eventually, sql};

const DUE: u64 = 1261;

fn strict() -> Options {
    Options { rotate_refresh_tokens: true, reject_reused_refresh_tokens: true, ..Options::default() }
}

/// Acquires due jobs and refreshes them, all concurrently. Returns their number.
async fn refresh_all(services: &Services) -> usize {
    let jobs = services.connections.refreshes.acquire_refreshes(1000).await.unwrap();
    let count = jobs.len();
    let running: Vec<_> = jobs.into_iter().map(|job| services.connections.refreshes.refresh(job)).collect();
    for one in running {
        one.await.unwrap();
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_store_the_latest_tokens_of_hubspot() {
    let app = TestApp::with_hubspot(&[], strict()).await;
    let accounts: Vec<u64> = (1..=5).map(|account| 9_000 + account).collect();
    for account in &accounts {
        app.connected(*account).await;
    }
    for round in 1..=10 {
        app.advance(DUE);
        assert_eq!(refresh_all(&app.services).await, 5, "round {round}");
        app.assert_one_job_each().await;
    }
    for grant in app.hubspot.grants() {
        assert_eq!(grant.generation, 10, "account {}", grant.hub_id);
    }
    let calls = app.hubspot.calls(Kind::Refresh);
    assert_eq!(calls.len(), 50);
    assert!(calls.iter().all(|call| !call.superseded && !call.overlapping));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_acquired_by_two_workers_is_refreshed_once() {
    let app = TestApp::with_hubspot(&[], strict()).await;
    for account in 1..=10 {
        app.connected(9_000 + account).await;
    }
    app.advance(DUE);
    let acquires = [(); 8].map(|()| {
        let services = app.services.clone();
        tokio::spawn(async move { refresh_all(&services).await })
    });
    let mut refreshed = 0;
    for acquire in acquires {
        refreshed += acquire.await.unwrap();
    }
    assert_eq!(refreshed, 10);
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 10);
    assert_eq!(app.database.connections("generation = 2").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_last_a_minute_and_their_holder_refreshes_once() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    app.advance(DUE);
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::HoldAfterIssue));
    let mut first = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    let late = app.services.connections.refreshes.refresh(first.remove(0));
    eventually("the first call", || async { app.hubspot.calls(Kind::Refresh).len() == 1 }).await;
    app.advance(59);
    assert_eq!(app.services.connections.refreshes.acquire_refreshes(8).await.unwrap(), []);
    app.advance(1);
    let mut second = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    assert!(second[0].job.was_interrupted);
    app.services.connections.refreshes.refresh(second.remove(0)).await.unwrap();
    // The first response is still on its way to this process: another call would use a token that is already rotated.
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 1);
    assert!(!late.is_finished(), "the first call is still under way");
    app.hubspot.release();
    late.await.unwrap();
    assert_eq!(app.database.generation().await, 2);
    app.assert_one_job_each().await;
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tokens_are_stored_after_the_lease_expired_unless_another_holder_was_faster() {
    let app = TestApp::with_hubspot(&[], strict()).await;
    app.connected(ACME).await;
    app.advance(DUE);
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::HoldAfterIssue));
    let mut first = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    let late = app.services.connections.refreshes.refresh(first.remove(0));
    eventually("the first call", || async { app.hubspot.calls(Kind::Refresh).len() == 1 }).await;
    app.advance(60);
    let mut second = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    app.hubspot.release();
    late.await.unwrap();
    assert_eq!(app.database.generation().await, 2, "the only copy is kept");
    // The second holder was delayed as well, and finds nothing to do.
    app.advance(2);
    app.services.connections.refreshes.refresh(second.remove(0)).await.unwrap();
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 1);
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.database.column(sql::STATE).await, "active");
    app.assert_one_job_each().await;
    assert!(app.hubspot.journal().iter().all(|call| !call.superseded));
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_holders_do_not_refresh_beside_the_next_holder() {
    let app = TestApp::with_hubspot(&[], strict()).await;
    app.connected(ACME).await;
    app.advance(DUE);
    let mut first = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    app.advance(61);
    let mut second = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    app.services.connections.refreshes.refresh(first.remove(0)).await.unwrap();
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 0);
    app.services.connections.refreshes.refresh(second.remove(0)).await.unwrap();
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 1);
    assert_eq!(app.database.generation().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_a_late_holder_change_nothing() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    app.advance(DUE);
    let mut first = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    app.advance(60);
    assert_eq!(app.refresh_due().await, 1);
    let refusal = Fault::Oauth {
        status: 400,
        error: Some("invalid_grant".to_owned()),
        hubspot_status: None,
        message: "no more".to_owned(),
    };
    app.hubspot.script(Rule::once(Kind::Refresh, refusal));
    app.services.connections.refreshes.refresh(first.remove(0)).await.unwrap();
    assert_eq!(app.database.connections("state = 'active' AND last_error IS NULL AND strikes = 0").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_win_over_refreshes_in_progress() {
    let app = TestApp::with_hubspot(&[], strict()).await;
    let browser = app.connected(ACME).await;
    app.advance(DUE);
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::HoldAfterIssue));
    let mut jobs = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    let late = app.services.connections.refreshes.refresh(jobs.remove(0));
    eventually("the refresh is under way", || async { app.hubspot.calls(Kind::Refresh).len() == 1 }).await;
    let done = browser.connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(done["message"]["type"], "hubspot_auth_success");
    let sealed = app.database.column(sql::REFRESH_TOKEN).await;
    assert!(!late.is_finished(), "the refresh is still under way");
    app.hubspot.release();
    late.await.unwrap();
    assert_eq!(app.database.column(sql::REFRESH_TOKEN).await, sealed);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 1);
    app.assert_one_job_each().await;
    let newest = app.hubspot.current_refresh_token(ACME).unwrap();
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, 1);
    let calls = app.hubspot.calls(Kind::Refresh);
    assert_eq!(calls.last().unwrap().form["refresh_token"], newest);
    assert_eq!(browser.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_reset_failures_and_backoff() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    app.hubspot.script(Rule::always(Kind::Refresh, Fault::CloseBeforeAnswer));
    app.advance(DUE);
    for _ in 0..10 {
        app.refresh_due().await;
        app.advance(300);
    }
    app.hubspot.clear_script();
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    let clean = "last_error IS NULL AND error_since IS NULL AND attempts = 0 AND strikes = 0";
    assert_eq!(app.database.connections(clean).await, 1);
    let seconds = browser.status().await["seconds_until_refresh"].as_u64().unwrap();
    assert!((990..=1260).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn startup_creates_missing_jobs_and_deletes_spare_ones() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    browser.connect(&app, Some(HOST), approve(GLOBEX)).await;
    let id = app.database.column_of(ACME, sql::ID).await;
    app.database.execute(&format!("DELETE FROM {} WHERE connection_id = '{id}'", sql::REFRESH_JOBS)).await;
    app.database.set_column_of(GLOBEX, sql::STATE, "needs_reauth").await;
    let app = app.restarted(&[]).await;
    app.assert_one_job_each().await;
    assert_eq!(app.database.count(sql::REFRESH_JOBS).await, 1);
    assert_eq!(app.refresh_due().await, 1, "what had no job is refreshed soon");
    assert_eq!(app.hubspot.calls(Kind::Refresh)[0].hub_id, Some(ACME));
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_leave_one_job_per_active_connection() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    app.assert_one_job_each().await;
    browser.connect(&app, Some(HOST), approve(GLOBEX)).await;
    app.assert_one_job_each().await;
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    app.assert_one_job_each().await;
    app.advance(DUE);
    app.refresh_due().await;
    app.assert_one_job_each().await;
    app.hubspot.uninstall(GLOBEX);
    for _ in 0..3 {
        app.advance(DUE);
        app.refresh_due().await;
        app.assert_one_job_each().await;
    }
    let id = browser.status().await["connections"][0]["id"].as_str().unwrap().to_owned();
    browser.disconnect(&id).await;
    app.assert_one_job_each().await;
    let app = app.restarted(&[]).await;
    app.assert_one_job_each().await;
    assert_eq!(app.browser().get("/login").await.status, 200);
    browser.logout().await;
    app.assert_one_job_each().await;
    assert_eq!(app.database.count(sql::REFRESH_JOBS).await, 0);
}
