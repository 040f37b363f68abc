//! Valid access tokens for callers inside the process: refreshed if needed, once for all concurrent callers.

use std::time::Duration;

use fake_hubspot::{Fault, Kind, Options, Rule};
use hubspot_connect::services::{Access, AccessError, Services};
use hubspot_connect::store::StoreError;

use crate::harness::app::{ACME, GLOBEX, LONG_SESSIONS};
use crate::harness::{TestApp, eventually, sql};

const MINUTE: Duration = Duration::from_secs(60);

fn strict() -> Options {
    Options { rotate_refresh_tokens: true, reject_reused_refresh_tokens: true, ..Options::default() }
}

async fn ask(app: &TestApp, services: &Services, min_ttl: Duration) -> Result<Access, AccessError> {
    let id = app.database.column(sql::ID).await.parse().unwrap();
    services.connections.access_tokens.access_token(id, min_ttl).await
}

/// Asserts that HubSpot knows this token as the newest for the account.
async fn assert_works(app: &TestApp, access: &Access) {
    let newest = app.hubspot.calls(Kind::Refresh).len();
    assert_eq!(usize::try_from(access.generation).unwrap(), newest + 1);
    let url = format!("{}/account-info/2026-09/details", app.hubspot.base_url());
    let call = reqwest::Client::new().get(url).bearer_auth(access.token.expose()).send().await.unwrap();
    assert_eq!(call.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_tokens_with_enough_lifetime_are_returned_without_calling_hubspot() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    let access = ask(&app, &app.services, MINUTE).await.unwrap();
    assert_eq!(access.expires_at.since(app.clock.now()), Duration::from_secs(1800));
    assert!(
        access
            .scopes
            .iter()
            .flat_map(|scopes| scopes.iter())
            .any(|scope| scope == "crm.objects.contacts.read")
    );
    app.advance(1700);
    ask(&app, &app.services, MINUTE).await.unwrap();
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 0);
    assert_works(&app, &access).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn access_tokens_with_too_little_lifetime_are_refreshed_first() {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    app.connected(ACME).await;
    for (seconds, round) in [(1741, 1), (1800, 2), (86_400, 3)] {
        app.advance(seconds);
        let access = ask(&app, &app.services, MINUTE).await.unwrap();
        assert_eq!(access.expires_at.since(app.clock.now()), Duration::from_secs(1800));
        assert_eq!(app.hubspot.calls(Kind::Refresh).len(), round);
        assert_works(&app, &access).await;
        app.assert_one_job_each().await;
        assert_eq!(app.refresh_due().await, 0, "its job is moved as by any refresh");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_half_of_the_lifetime_can_be_requested() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    for _ in 0..5 {
        ask(&app, &app.services, Duration::from_secs(86_400)).await.unwrap();
    }
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 0);
    app.advance(901);
    ask(&app, &app.services, Duration::from_secs(86_400)).await.unwrap();
    ask(&app, &app.services, Duration::from_secs(86_400)).await.unwrap();
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_callers_on_three_replicas_cause_one_refresh() {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    app.connected(ACME).await;
    let id = app.database.column(sql::ID).await.parse().unwrap();
    let mut processes = vec![app.services.clone()];
    let mut replicas = Vec::new();
    if !app.database.is_sqlite() {
        for _ in 0..2 {
            replicas.push(app.replica(app.clock.clone()).await);
        }
        processes.extend(replicas.iter().map(|replica| replica.services().clone()));
    }
    for round in 1..=10 {
        app.advance(1801);
        let delay = Fault::DelayAfterIssue(Duration::from_millis(30 * (round % 5)));
        app.hubspot.script(Rule::once(Kind::Refresh, delay));
        let callers: Vec<_> = (0..50 * processes.len())
            .map(|caller| {
                let services = processes[caller % processes.len()].clone();
                tokio::spawn(async move { services.connections.access_tokens.access_token(id, MINUTE).await })
            })
            .collect();
        for caller in callers {
            let access = caller.await.unwrap().unwrap();
            assert_eq!(access.generation, i64::try_from(round).unwrap() + 1);
        }
        assert_eq!(app.hubspot.calls(Kind::Refresh).len(), usize::try_from(round).unwrap(), "round {round}");
    }
    assert!(app.hubspot.journal().iter().all(|call| !call.superseded && !call.overlapping));
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_callers_each_get_the_connection_they_named() {
    let app = TestApp::start().await;
    for portal in [ACME, GLOBEX] {
        app.connected(portal).await;
    }
    let acme = app.database.column_of(ACME, sql::ID).await;
    let globex = app.database.column_of(GLOBEX, sql::ID).await;
    app.database.set_column_of(GLOBEX, sql::STATE, "lost").await;
    let unknown = "00000000-0000-7000-8000-000000000000".to_owned();
    let asked: Vec<_> = [acme, globex, unknown].iter().cycle().take(150).cloned().collect();
    let answers: Vec<_> = asked
        .iter()
        .map(|id| {
            let (services, id) = (app.services.clone(), id.parse().unwrap());
            tokio::spawn(async move { services.connections.access_tokens.access_token(id, MINUTE).await })
        })
        .collect();
    for (number, answer) in answers.into_iter().enumerate() {
        match (number % 3, answer.await.unwrap()) {
            (0, Ok(access)) => assert_eq!(access.portal_id.unwrap().to_string(), ACME.to_string()),
            // An error in one row affects that row alone.
            (1, Err(AccessError::Store(StoreError::Unreadable("StoredState")))) => {}
            (2, Err(AccessError::Unknown)) => {}
            (which, answer) => panic!("{which}: {answer:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_and_background_jobs_do_not_refresh_concurrently() {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    app.connected(ACME).await;
    for round in 1..=10 {
        app.advance(1801);
        app.hubspot.script(Rule::once(Kind::Refresh, Fault::DelayAfterIssue(Duration::from_millis(40))));
        let (due, access) = tokio::join!(app.refresh_due(), ask(&app, &app.services, MINUTE));
        assert!(due <= 1);
        access.unwrap();
        assert_eq!(app.hubspot.calls(Kind::Refresh).len(), round);
    }
    assert!(app.hubspot.journal().iter().all(|call| !call.superseded && !call.overlapping));
}

#[tokio::test(flavor = "multi_thread")]
async fn during_an_outage_valid_tokens_are_returned_and_then_retry_after() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    app.hubspot.script(Rule::always(Kind::Refresh, Fault::CloseBeforeAnswer));
    app.advance(1790);
    let access = ask(&app, &app.services, MINUTE).await.unwrap();
    assert_eq!(
        access.expires_at.since(app.clock.now()),
        Duration::from_secs(10),
        "its true expiry is returned"
    );
    app.advance(11);
    let Err(AccessError::Unavailable { code, retry_after }) = ask(&app, &app.services, MINUTE).await else {
        panic!("an expired token was given");
    };
    assert_eq!(code, "provider_unreachable");
    assert!((1..=8).contains(&retry_after.as_secs()), "{retry_after:?}");
    let calls = app.hubspot.calls(Kind::Refresh).len();
    for _ in 0..20 {
        assert!(ask(&app, &app.services, MINUTE).await.is_err());
    }
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), calls, "callers do not shorten the pause");
    app.hubspot.clear_script();
    app.clock.advance(retry_after);
    ask(&app, &app.services, MINUTE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_circuit_breaker_also_stops_refreshes_by_callers() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    let refusal = Fault::Oauth {
        status: 401,
        error: Some("invalid_client".to_owned()),
        hubspot_status: None,
        message: "no".to_owned(),
    };
    app.hubspot.script(Rule::always(Kind::Refresh, refusal));
    app.advance(1801);
    for _ in 0..20 {
        let answer = ask(&app, &app.services, MINUTE).await;
        assert!(
            matches!(answer, Err(AccessError::Unavailable { ref code, .. }) if code == "client_rejected")
        );
    }
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tokens_are_stored_when_the_caller_disconnects() {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    app.connected(ACME).await;
    app.advance(1801);
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::HoldAfterIssue));
    let id = app.database.column(sql::ID).await.parse().unwrap();
    let services = app.services.clone();
    let caller =
        tokio::spawn(async move { services.connections.access_tokens.access_token(id, MINUTE).await });
    eventually("HubSpot is asked", || async { app.hubspot.calls(Kind::Refresh).len() == 1 }).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    app.hubspot.release();
    eventually("the answer is stored", || async { app.database.generation().await == 2 }).await;
    assert_works(&app, &ask(&app, &app.services, MINUTE).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_tokens_are_reported_with_the_reason() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    app.hubspot.uninstall(ACME);
    app.advance(1801);
    assert!(matches!(ask(&app, &app.services, MINUTE).await, Err(AccessError::Unavailable { .. })));
    app.advance(60);
    assert!(matches!(ask(&app, &app.services, MINUTE).await, Err(AccessError::NeedsReauth)));
    let calls = app.hubspot.calls(Kind::Refresh).len();
    assert!(matches!(ask(&app, &app.services, MINUTE).await, Err(AccessError::NeedsReauth)));
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), calls);
    let id = app.database.column(sql::ID).await.parse().unwrap();
    app.database.set_column(sql::STATE, "integrity_error").await;
    assert!(matches!(
        app.services.connections.access_tokens.access_token(id, MINUTE).await,
        Err(AccessError::Unreadable)
    ));
    browser.disconnect(&id.to_string()).await;
    assert!(matches!(
        app.services.connections.access_tokens.access_token(id, MINUTE).await,
        Err(AccessError::Unknown)
    ));
    app.connected(GLOBEX).await;
    assert_eq!(ask(&app, &app.services, MINUTE).await.unwrap().generation, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_arrive_expired_do_not_cause_a_refresh_per_call() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    app.advance(1801);
    let patch = Fault::Patch { set: serde_json::from_str(r#"{"expires_in":0}"#).unwrap(), drop: Vec::new() };
    app.hubspot.script(Rule::always(Kind::Refresh, patch));
    for _ in 0..10 {
        assert!(matches!(ask(&app, &app.services, MINUTE).await, Err(AccessError::Unavailable { .. })));
    }
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 1);
    app.advance(5);
    assert!(ask(&app, &app.services, MINUTE).await.is_err());
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 2);
}
