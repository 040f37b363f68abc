//! Failures of everything at once: no connection is lost, HubSpot is not flooded, and recovery is quick.

use std::time::Duration;

use fake_hubspot::{Fault, Kind, Options, Rule};
use serde_json::Value;

use crate::harness::app::{ACME, LONG_SESSIONS};
use crate::harness::{TestApp, sql};

/// Later than any refresh of a token of thirty minutes.
const DUE: u64 = 1261;

fn unavailable() -> Fault {
    Fault::Status { status: 503, headers: Vec::new(), body: String::new() }
}

fn refusal(error: &str, hubspot_status: &str) -> Fault {
    Fault::Oauth {
        status: 400,
        error: Some(error.to_owned()),
        hubspot_status: Some(hubspot_status.to_owned()),
        message: "no".to_owned(),
    }
}

/// Returns options of a HubSpot that refuses lost refresh tokens.
fn strict() -> Options {
    Options { rotate_refresh_tokens: true, reject_reused_refresh_tokens: true, ..Options::default() }
}

async fn app_with(connections: u64) -> TestApp {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    for account in 0..connections {
        app.connected(ACME + account).await;
    }
    app
}

/// Refreshes like the background, once a second. Returns the number of calls in each second.
async fn seconds(app: &TestApp, seconds: u64) -> Vec<usize> {
    let mut calls = Vec::new();
    for _ in 0..seconds {
        app.advance(1);
        calls.push(app.refresh_due().await);
    }
    calls
}

async fn count(app: &TestApp, condition: &str) -> i64 {
    app.database.count_where(sql::CONNECTIONS_WITH_JOBS, condition).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_outages_are_probed_and_a_single_connection_recovers_in_seconds() {
    let app = app_with(1).await;
    app.hubspot.script(Rule::always(Kind::Refresh, unavailable()));
    app.advance(DUE);
    seconds(&app, 300).await;
    let calls: usize = seconds(&app, 600).await.iter().sum();
    assert!((38..=42).contains(&calls), "a probe each 15 seconds: {calls}");
    app.advance(3 * 3600);
    assert_eq!(app.browser().get("/livez").await.status, 200);
    app.hubspot.clear_script();
    let calls: usize = seconds(&app, 16).await.iter().sum();
    assert_eq!(calls, 1, "no pause is sat out");
    assert_eq!(count(&app, sql::WELL).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_all_connections_are_refreshed_within_half_a_minute_and_spread_out() {
    let app = app_with(60).await;
    app.hubspot.script(Rule::always(Kind::Refresh, Fault::CloseBeforeAnswer));
    app.advance(DUE);
    let during = seconds(&app, 180).await;
    assert_eq!(during[0], 60, "all are due, and asked for before it is known that HubSpot is away");
    let probes: usize = during[10..].iter().sum();
    assert!(probes <= 14, "{during:?}");
    assert!(app.hubspot.calls(Kind::Refresh).len() <= 60 + 20, "{during:?}");
    assert_eq!(count(&app, sql::ACTIVE).await, 60);
    app.hubspot.clear_script();
    let after = seconds(&app, 30).await;
    assert_eq!(after.iter().sum::<usize>(), 60, "{after:?}");
    let begun: Vec<_> = after.into_iter().skip_while(|calls| *calls == 0).collect();
    assert!(begun[0] == 1 && begun[1] <= 2 && begun[2] <= 3 && begun[3] <= 5, "no storm: {begun:?}");
    assert_eq!(count(&app, sql::WELL).await, 60);
    assert!(app.hubspot.journal().iter().all(|call| !call.superseded));
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_expires_while_a_third_of_calls_fail() {
    let app = app_with(40).await;
    let flaky = Fault::Sometimes { percent: 30, fault: Box::new(unavailable()) };
    app.hubspot.script(Rule::always(Kind::Refresh, flaky));
    let (mut looks, mut expired) = (0, 0);
    for _ in 0..360 {
        app.advance(20);
        app.refresh_due().await;
        looks += 40;
        expired += count(&app, &format!("expires_at <= {}", app.clock.now().unix_ms())).await;
    }
    assert_eq!(expired, 0, "of {looks}");
    assert_eq!(count(&app, sql::ACTIVE).await, 40);
    assert!(app.hubspot.journal().iter().all(|call| !call.superseded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_a_wrong_secret_changes_no_connection_and_recovers() {
    let app = app_with(30).await;
    app.hubspot.script(Rule::always(Kind::Refresh, refusal("invalid_client", "BAD_CLIENT_SECRET")));
    app.advance(DUE);
    app.refresh_due().await;
    let before = app.hubspot.calls(Kind::Refresh).len();
    for _ in 0..24 * 60 {
        app.advance(60);
        app.refresh_due().await;
    }
    let probes = app.hubspot.calls(Kind::Refresh).len() - before;
    assert!((1_300..=24 * 60).contains(&probes), "about one a minute: {probes}");
    let ready: Value =
        serde_json::from_str(&app.browser().get(&format!("{}/readyz", app.admin)).await.body).unwrap();
    assert_eq!(ready["hubspot"], "client_rejected");
    assert_eq!(count(&app, sql::ACTIVE).await, 30);
    app.hubspot.clear_script();
    // Jobs that were refused in the last minute still wait for theirs.
    let after = seconds(&app, 130).await;
    assert_eq!(after.iter().sum::<usize>(), 30, "{after:?}");
    assert_eq!(count(&app, sql::WELL).await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn mass_refusals_suspend_no_connection() {
    let app = app_with(12).await;
    app.hubspot.script(Rule::always(Kind::Refresh, refusal("invalid_grant", "BAD_REFRESH_TOKEN")));
    app.advance(DUE);
    for _ in 0..3 * 60 {
        app.refresh_due().await;
        app.advance(60);
    }
    assert_eq!(count(&app, "state = 'active' AND strikes = 1 AND last_error = 'grant_dead'").await, 12);
    // A process that starts in the middle of it has no better knowledge.
    let app = app.restarted(&[]).await;
    for _ in 0..10 {
        app.refresh_due().await;
        app.advance(60);
    }
    assert_eq!(count(&app, "state = 'active' AND strikes = 1").await, 12);
    app.hubspot.clear_script();
    let after = seconds(&app, 310).await;
    assert_eq!(after.iter().sum::<usize>(), 12, "{after:?}");
    assert_eq!(count(&app, sql::WELL).await, 12);
    app.assert_one_job_each().await;
}

/// Refreshes due jobs, every five seconds.
async fn looks(app: &TestApp, seconds: u64) {
    for _ in 0..seconds / 5 {
        app.advance(5);
        app.refresh_due().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_mass_refusals_are_detected() {
    // Many connections, refused many at a time; and few, refused minutes apart.
    for (connections, given_up) in [(60, 0), (8, 2)] {
        let app = app_with(connections).await;
        // Their refreshes are spread over some minutes, and again in the next round.
        app.advance(980);
        looks(&app, 1_200).await;
        app.hubspot.script(Rule::always(Kind::Refresh, refusal("invalid_grant", "BAD_REFRESH_TOKEN")));
        looks(&app, 2_400).await;
        let lost = app.database.connections(sql::NEEDS_REAUTH).await;
        assert!(lost <= given_up, "{lost} of {connections}");
        app.hubspot.clear_script();
        looks(&app, 320).await;
        assert_eq!(count(&app, sql::WELL).await, i64::try_from(connections).unwrap() - lost);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_before_a_mass_refusal_do_not_count_towards_it() {
    let app = app_with(6).await;
    app.hubspot.script(Rule::always(Kind::Refresh, unavailable()));
    app.advance(DUE);
    for _ in 0..60 {
        app.refresh_due().await;
        app.advance(1_800);
    }
    app.hubspot.clear_script();
    app.hubspot.script(Rule::always(Kind::Refresh, refusal("invalid_grant", "BAD_REFRESH_TOKEN")));
    looks(&app, 1_200).await;
    assert_eq!(count(&app, "state = 'active' AND strikes = 1").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn mass_refusals_longer_than_a_day_suspend_connections() {
    let app = app_with(6).await;
    app.hubspot.script(Rule::always(Kind::Refresh, refusal("invalid_grant", "BAD_REFRESH_TOKEN")));
    app.advance(DUE);
    app.refresh_due().await;
    app.advance(23 * 3600);
    app.refresh_due().await;
    assert_eq!(count(&app, "state = 'active' AND strikes = 1").await, 6);
    app.advance(3600 + 1);
    app.refresh_due().await;
    assert_eq!(app.database.connections(sql::NEEDS_REAUTH).await, 6);
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_uninstalls_among_many_connections_suspend_only_those() {
    let app = app_with(40).await;
    for account in 0..6 {
        app.hubspot.uninstall(ACME + account);
    }
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, 40);
    app.advance(60);
    assert_eq!(app.refresh_due().await, 6);
    assert_eq!(app.database.connections(sql::NEEDS_REAUTH).await, 6);
    assert_eq!(count(&app, sql::WELL).await, 34);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_slow_down_all_refreshes() {
    let app = app_with(30).await;
    app.advance(DUE);
    let busy = Fault::Status { status: 429, headers: Vec::new(), body: String::new() };
    app.hubspot.script(Rule::times(Kind::Refresh, 2, busy));
    let first = app.services.connections.refreshes.acquire_refreshes(4).await.unwrap();
    for one in first {
        app.services.connections.refreshes.refresh(one).await.unwrap();
    }
    let begun = app.refresh_due().await;
    assert_eq!(begun, 1, "not all the others at once");
    let after = seconds(&app, 60).await;
    assert!(after.iter().all(|calls| *calls <= 8), "{after:?}");
    app.clock.advance(Duration::from_secs(5));
    app.refresh_due().await;
    assert_eq!(count(&app, sql::WELL).await, 30, "{after:?}");
}
