//! Faults of HubSpot in a refresh: the connection is kept, and the next refresh succeeds.

use std::time::Duration;

use fake_hubspot::{Fault, Kind, Options, Rule};
use hubspot_connect::domain::clock::Timestamp;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::harness::app::{ACME, HOST, LONG_SESSIONS, approve};
use crate::harness::token_endpoint_faults::{
    self, Class, TokenFault, faults, grant_refusals, lacking, patch,
};
use crate::harness::{TestApp, sql};

/// Later than any refresh of a token of thirty minutes.
const DUE: u64 = 1261;

/// Returns options with rotation and without reuse of refresh tokens: every lost one shows.
fn strict() -> Options {
    Options { rotate_refresh_tokens: true, reject_reused_refresh_tokens: true, ..Options::default() }
}

/// Returns the only connection and its job, in a line.
async fn state(app: &TestApp) -> String {
    let state =
        "state || ' ' || COALESCE(last_error, '-') || ' attempts ' || attempts || ' strikes ' || strikes";
    app.database.text_in(&format!("{} WHERE lease_until IS NULL", sql::CONNECTIONS_WITH_JOBS), state).await
}

/// Returns the milliseconds until the only job is due.
async fn pause(app: &TestApp) -> i64 {
    app.database.refresh_due_at().await - app.clock.now().unix_ms()
}

async fn assert_survives(app: &TestApp, case: &TokenFault) {
    let name = &case.name;
    app.advance(DUE);
    let calls = app.hubspot.calls(Kind::Refresh).len();
    app.hubspot.script(Rule::once(Kind::Refresh, case.fault.clone()));
    assert_eq!(app.refresh_due().await, 1, "{name}");
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), calls + 1, "{name}: one call and no more");
    let strikes = u8::from(case.class == Class::Dead);
    assert_eq!(state(app).await, format!("active {} attempts 1 strikes {strikes}", case.code), "{name}");
    let bounds = match case.class {
        Class::Passing => 500..=2_000,
        Class::OurFault => 60_000..=66_000,
        Class::Dead => 60_000..=60_000,
    };
    let pause = pause(app).await;
    assert!(bounds.contains(&pause), "{name}: {pause} ms");
    assert_eq!(app.refresh_due().await, 0, "{name}: not before its time");
    app.advance(67);
    assert_eq!(app.refresh_due().await, 1, "{name}");
    assert_eq!(state(app).await, "active - attempts 0 strikes 0", "after {name}");
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), calls + 2, "{name}");
}

async fn assert_each_is_survived(faults: Vec<TokenFault>) {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    for case in faults {
        assert_survives(&app, &case).await;
        let name = &case.name;
        assert_eq!(browser.status().await["status"], "active", "after {name}");
        let done = browser.connect(&app, Some(HOST), approve(ACME)).await;
        assert_eq!(done["message"]["type"], "hubspot_auth_success", "after {name}");
    }
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_with_a_lost_connection_are_retried() {
    assert_each_is_survived(token_endpoint_faults::lines()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_with_an_error_status_are_retried() {
    assert_each_is_survived(token_endpoint_faults::statuses()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_with_a_malformed_response_are_retried() {
    assert_each_is_survived(token_endpoint_faults::bodies()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_with_unusable_tokens_are_retried() {
    assert_each_is_survived(token_endpoint_faults::fields()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_with_a_redirect_are_retried() {
    assert_each_is_survived(token_endpoint_faults::redirects()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_with_refused_credentials_change_no_connection() {
    assert_each_is_survived(token_endpoint_faults::refusals()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_invalid_grant_is_retried() {
    assert_each_is_survived(grant_refusals()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_refreshes_lose_no_token_with_rotation() {
    let app = TestApp::with_hubspot(&[], strict()).await;
    app.connected(ACME).await;
    // Responses that HubSpot computes and then loses contain the only copy of the new token; no client can help that.
    let lost = |case: &&TokenFault| !matches!(case.fault, Fault::Patch { .. } | Fault::ResetAfterIssue);
    for case in faults().iter().filter(lost) {
        assert_survives(&app, case).await;
    }
    assert!(app.hubspot.journal().iter().all(|call| !call.superseded));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_refresh_tokens_are_stored_for_every_spelling_of_expires_in() {
    let app = TestApp::with_hubspot(&[], strict()).await;
    app.connected(ACME).await;
    let usual = 990_000..=1_260_000;
    let day = 47_520_000..=60_480_000;
    let cases = [
        (json!(0), 5_000..=5_000),
        (json!(-5), 5_000..=5_000),
        (json!(1e18), day),
        (json!("1800"), usual.clone()),
        (json!(1800.5), 990_000..=1_260_350),
        (Value::Null, usual.clone()),
        (json!(true), usual.clone()),
        (json!("soon"), usual.clone()),
        (json!({}), usual.clone()),
    ];
    for (spelling, bounds) in cases {
        app.advance(60_481);
        app.hubspot.script(Rule::once(Kind::Refresh, patch("expires_in", spelling.clone())));
        assert_eq!(app.refresh_due().await, 1);
        assert_eq!(state(&app).await, "active - attempts 0 strikes 0", "{spelling}");
        let pause = pause(&app).await;
        assert!(bounds.contains(&pause), "{spelling}: {pause} ms");
    }
    app.advance(60_481);
    app.hubspot.script(Rule::once(Kind::Refresh, lacking("expires_in")));
    assert_eq!(app.refresh_due().await, 1);
    let pause = pause(&app).await;
    assert!(usual.contains(&pause), "{pause} ms");
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(state(&app).await, "active - attempts 0 strikes 0");
    assert!(app.hubspot.journal().iter().all(|call| !call.superseded));
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_a_refresh_token_keep_the_old_one() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    let token = app.hubspot.current_refresh_token(ACME).unwrap();
    for fault in [
        lacking("refresh_token"),
        patch("refresh_token", Value::Null),
        patch("refresh_token", json!("")),
        lacking("token_type"),
    ] {
        app.advance(DUE);
        app.hubspot.script(Rule::once(Kind::Refresh, fault));
        assert_eq!(app.refresh_due().await, 1);
        assert_eq!(state(&app).await, "active - attempts 0 strikes 0");
    }
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, 1);
    for call in app.hubspot.calls(Kind::Refresh) {
        assert_eq!(call.form["refresh_token"], token);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_tokens_with_unusual_characters_are_unchanged() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    for token in ["na1-\"quoted\"", "na1-🙂+/=&%20", "na1-'\\u0041", &"n".repeat(4096)] {
        app.advance(DUE);
        let other = json!({"access_token": "Cx", "refresh_token": token, "expires_in": 1800});
        app.hubspot.script(Rule::once(Kind::Refresh, Fault::Json(other.clone())));
        app.refresh_due().await;
        app.advance(DUE);
        app.hubspot.script(Rule::once(Kind::Refresh, Fault::Json(other)));
        app.refresh_due().await;
        let calls = app.hubspot.calls(Kind::Refresh);
        assert_eq!(calls.last().unwrap().form["refresh_token"], token);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_of_hubspot_is_honored() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    let usual = 500..=2_000;
    let cases = [
        (Asked::Text("7"), 7_000..=7_000),
        (Asked::Text("  7  "), 7_000..=7_000),
        (Asked::DateIn(30), 29_000..=30_000),
        (Asked::DateIn(-30), usual.clone()),
        (Asked::DateIn(86_400), 3_600_000..=3_600_000),
        (Asked::Text("99999999"), 3_600_000..=3_600_000),
        (Asked::Text("18446744073709551616"), usual.clone()),
        (Asked::Text("0"), usual.clone()),
        (Asked::Text("-1"), usual.clone()),
        (Asked::Text("soon"), usual.clone()),
        (Asked::Text(""), usual.clone()),
        (Asked::Nothing, usual),
    ];
    for status in [429, 503] {
        for (asked, bounds) in &cases {
            app.advance(DUE);
            let fault =
                Fault::Status { status, headers: asked.headers(app.clock.now()), body: String::new() };
            app.hubspot.script(Rule::once(Kind::Refresh, fault));
            assert_eq!(app.refresh_due().await, 1);
            let pause = pause(&app).await;
            assert!(bounds.contains(&pause), "{status} {asked:?}: {pause} ms");
            let just_before = Duration::from_millis(u64::try_from(pause).unwrap() - 1);
            app.clock.advance(just_before);
            assert_eq!(app.refresh_due().await, 0, "{asked:?}: no call before that");
            app.clock.advance(Duration::from_millis(1));
            assert_eq!(app.refresh_due().await, 1, "{asked:?}");
            assert_eq!(state(&app).await, "active - attempts 0 strikes 0");
        }
    }
}

/// The value of `Retry-After`.
#[derive(Debug)]
enum Asked {
    Text(&'static str),
    DateIn(i64),
    Nothing,
}

impl Asked {
    fn headers(&self, now: Timestamp) -> Vec<(String, String)> {
        let value = match self {
            Self::Text(text) => (*text).to_owned(),
            Self::DateIn(seconds) => {
                let at = OffsetDateTime::from_unix_timestamp(now.unix_ms() / 1000 + seconds).unwrap();
                at.format(&Rfc2822).unwrap().replace("+0000", "GMT")
            }
            Self::Nothing => return Vec::new(),
        };
        vec![("retry-after".to_owned(), value)]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consecutive_invalid_grants_need_reauth_and_a_reconnect_recovers() {
    for case in grant_refusals() {
        let app = TestApp::with(LONG_SESSIONS).await;
        let browser = app.connected(ACME).await;
        let id = browser.status().await["connections"][0]["id"].clone();
        let sealed = app.database.column(sql::REFRESH_TOKEN).await;
        app.hubspot.script(Rule::always(Kind::Refresh, case.fault.clone()));
        app.advance(DUE);
        assert_eq!(app.refresh_due().await, 1);
        assert_eq!(state(&app).await, "active grant_dead attempts 1 strikes 1");
        app.advance(59);
        assert_eq!(app.refresh_due().await, 0, "the second question comes a minute later");
        app.advance(1);
        assert_eq!(app.refresh_due().await, 1);
        let status = browser.status().await;
        assert_eq!(status["status"], "needs_reauth", "{}", case.name);
        assert_eq!(status["connections"][0]["seconds_until_refresh"], Value::Null);
        assert_eq!(app.database.column(sql::REFRESH_TOKEN).await, sealed);
        app.assert_one_job_each().await;
        app.advance(80_000);
        assert_eq!(app.refresh_due().await, 0);
        assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 2, "it is not asked again");
        let app = app.restarted(&[]).await;
        assert_eq!(app.refresh_due().await, 0, "nor after a restart");
        app.hubspot.clear_script();
        browser.connect(&app, Some(HOST), approve(ACME)).await;
        let status = browser.status().await;
        assert_eq!(status["connections"].as_array().unwrap().len(), 1);
        assert_eq!((&status["connections"][0]["id"], &status["status"]), (&id, &json!("active")));
        assert_eq!(state(&app).await, "active - attempts 0 strikes 0");
        app.assert_one_job_each().await;
        app.advance(DUE);
        assert_eq!(app.refresh_due().await, 1);
        assert_eq!(state(&app).await, "active - attempts 0 strikes 0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_invalid_grant_leaves_no_trace_after_a_success() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    for case in grant_refusals() {
        assert_survives(&app, &case).await;
        assert_eq!(browser.status().await["status"], "active");
    }
    // Two `invalid_grant` responses with a success in between are not consecutive.
    assert_eq!(state(&app).await, "active - attempts 0 strikes 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_failures_neither_count_nor_reset_invalid_grants() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    let dead = grant_refusals().remove(0).fault;
    app.hubspot.script(Rule::once(Kind::Refresh, dead.clone()));
    app.hubspot.script(Rule::times(Kind::Refresh, 3, Fault::CloseBeforeAnswer));
    app.hubspot.script(Rule::once(Kind::Refresh, dead));
    app.advance(DUE);
    for round in 0..4 {
        assert_eq!(app.refresh_due().await, 1, "round {round}");
        assert!(state(&app).await.ends_with("strikes 1"));
        app.advance(300);
    }
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.database.column(sql::STATE).await, "needs_reauth");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_secret_changes_no_connection_and_causes_few_calls() {
    let app = TestApp::start().await;
    for account in 1..=20 {
        app.connected(5_000 + account).await;
    }
    app.hubspot.options(|options| options.client_secrets = vec!["another-secret".to_owned()]);
    app.advance(DUE);
    assert_eq!(refresh_like_the_loop(&app).await, 8, "what was claimed before anyone knew");
    for _ in 0..5 {
        assert_eq!(refresh_like_the_loop(&app).await, 0);
    }
    for minute in 1..=3 {
        app.advance(60);
        assert_eq!(refresh_like_the_loop(&app).await, 1, "one probe in minute {minute}");
        assert_eq!(refresh_like_the_loop(&app).await, 0);
    }
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 11);
    let (ready, body) = readiness(&app).await;
    assert_eq!((ready, &body["hubspot"]), (200, &json!("client_rejected")));
    assert_eq!(app.database.connections("state = 'active' AND strikes = 0 AND generation = 1").await, 20);
    app.hubspot.options(|options| options.client_secrets = vec!["fake-client-secret".to_owned()]);
    app.advance(66);
    assert_eq!(refresh_like_the_loop(&app).await, 1, "the probe that finds it fixed");
    let mut recovered = 1;
    for _ in 0..6 {
        app.advance(1);
        recovered += refresh_like_the_loop(&app).await;
    }
    assert_eq!(recovered, 20);
    assert_eq!(app.database.connections(sql::HEALTHY_AFTER_ONE_REFRESH).await, 20);
    assert_eq!(readiness(&app).await.1["hubspot"], "ok");
}

/// Refreshes as many jobs concurrently as the background does by default, all started before any has ended.
async fn refresh_like_the_loop(app: &TestApp) -> usize {
    let jobs = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    let count = jobs.len();
    let running: Vec<_> =
        jobs.into_iter().map(|job| app.services.connections.refreshes.refresh(job)).collect();
    for one in running {
        one.await.unwrap();
    }
    count
}

async fn readiness(app: &TestApp) -> (u16, Value) {
    let answer = app.browser().get(&format!("{}/readyz", app.admin)).await;
    (answer.status, answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_without_work_do_not_delay_recovery() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    app.hubspot.options(|options| options.client_secrets = vec!["another-secret".to_owned()]);
    app.advance(DUE);
    app.refresh_due().await;
    app.hubspot.options(|options| options.client_secrets = vec!["fake-client-secret".to_owned()]);
    // The only job waits a little longer than the circuit breaker: an acquire in between must not use up the probe.
    for _ in 0..66 {
        app.advance(1);
        app.refresh_due().await;
    }
    assert_eq!(state(&app).await, "active - attempts 0 strikes 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accepted_client_secret_is_used_for_every_call() {
    let secrets = ("HUBSPOT_CLIENT_SECRET", "the-next-secret,fake-client-secret");
    let app = TestApp::with(&[&[secrets], LONG_SESSIONS].concat()).await;
    let browser = app.connected(ACME).await;
    assert_eq!(browser.status().await["hub_domain"], "acme.example", "the look-up has used it too");
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(state(&app).await, "active - attempts 0 strikes 0");
    // The operator finishes the change at HubSpot: the old secret is refused from now on.
    app.hubspot.options(|options| options.client_secrets = vec!["the-next-secret".to_owned()]);
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(state(&app).await, "active - attempts 0 strikes 0");
    let id = browser.status().await["connections"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(browser.disconnect(&id).await.json()["revocation"], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_client_secret_is_tried_on_the_first_call_of_any_kind() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let id = browser.status().await["connections"][0]["id"].as_str().unwrap().to_owned();
    let user = app.database.column(sql::USER_ID).await;
    let secrets = [("HUBSPOT_CLIENT_SECRET", "the-next-secret,fake-client-secret")];
    let app = app.restarted(&secrets).await;
    let ended = app
        .services
        .connections
        .disconnects
        .disconnect(user.parse().unwrap(), id.parse().unwrap(), true)
        .await
        .unwrap();
    assert_eq!(ended.unwrap().revocation.as_str(), "done");
    assert_eq!(app.hubspot.grants().len(), 0);
}
