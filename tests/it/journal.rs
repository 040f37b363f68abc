//! Uninstalls in HubSpot's Webhooks Journal: detected soon, acted on only when HubSpot also refuses the grant, and
//! never skipped.

use std::time::Duration;

use fake_hubspot::{FakeHubSpot, Kind, Options};
use hubspot_connect::services::{JournalPoll, PollOutcome, Services};

use crate::harness::app::{ACME, GLOBEX, HOST, LONG_SESSIONS, approve, settle};
use crate::harness::database::TestDatabase;
use crate::harness::process::Process;
use crate::harness::{TestApp, eventually, sql};

/// An account without a connection.
pub const STRANGER: u64 = 3_333_333;

pub const ON: (&str, &str) = ("WEBHOOKS_JOURNAL", "on");

pub async fn reading() -> TestApp {
    TestApp::with(&[ON, LONG_SESSIONS[0], LONG_SESSIONS[1]]).await
}

pub async fn poll(services: &Services) -> JournalPoll {
    services.marketplace.journal.read_journal().await.unwrap()
}

/// Returns the outcome with this many entries and connections to refresh.
pub fn read(entries: usize, concerned: usize) -> PollOutcome {
    PollOutcome::Read { entries, concerned }
}

pub fn code(poll: &JournalPoll) -> &'static str {
    match &poll.outcome {
        PollOutcome::Failed(failure) => failure.code.as_str(),
        other => panic!("{other:?}"),
    }
}

/// Uninstalls the app from an account, at the time of the service's clock.
pub fn uninstall(app: &TestApp, hub_id: u64) {
    app.hubspot.uninstall_at(hub_id, app.clock.now().unix_ms());
}

pub async fn position(app: &TestApp) -> String {
    app.database.text_in(sql::JOURNAL_READER, "COALESCE(position, '')").await
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstalls_are_detected_within_minutes_and_end_the_connection() {
    let app = reading().await;
    let browser = app.connected(ACME).await;
    let other = app.connected(GLOBEX).await;
    assert_eq!(
        poll(&app.services).await,
        JournalPoll { outcome: read(0, 0), next_in: Duration::from_secs(60) }
    );
    app.advance(300);
    uninstall(&app, ACME);
    assert_eq!(app.refresh_due().await, 0, "nothing is due by itself");

    app.advance(60);
    assert_eq!(poll(&app.services).await.outcome, read(1, 1));
    assert_eq!(browser.status().await["status"], "active", "a notice alone ends nothing");
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["status"], "active", "a single refusal ends nothing");
    app.advance(60);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["status"], "needs_reauth");
    assert_eq!(other.status().await["status"], "active");
    app.assert_one_job_each().await;
    assert_eq!(app.database.events_of("connection.revoked_at_provider").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_not_polled_unless_enabled() {
    let app = TestApp::start().await;
    assert!(!app.services.marketplace.journal.reads_journal());
    assert!(reading().await.services.marketplace.journal.reads_journal());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_token_is_cached_and_the_subscription_created_once() {
    let app = reading().await;
    for _ in 0..3 {
        assert_eq!(poll(&app.services).await.outcome, read(0, 0));
        app.advance(60);
    }
    assert_eq!(app.hubspot.calls(Kind::ClientCredentials).len(), 1);
    assert_eq!(app.hubspot.subscriptions(), 1);
    app.advance(1800 - 180 - 60);
    poll(&app.services).await;
    assert_eq!(app.hubspot.calls(Kind::ClientCredentials).len(), 2, "replaced before it expires");
    let app = app.restarted(&[]).await;
    poll(&app.services).await;
    assert_eq!(app.hubspot.subscriptions(), 1, "what is there is left alone");
    let made = app.hubspot.calls(Kind::Subscriptions);
    assert_eq!(made.iter().filter(|call| call.method == "POST").count(), 1);
    let dump = app.database.dump().await;
    for call in app.hubspot.calls(Kind::WebhooksJournal) {
        let token = call.authorization.unwrap().trim_start_matches("Bearer ").to_owned();
        assert!(!String::from_utf8_lossy(&dump).contains(&token), "it is stored nowhere");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_app_tokens_are_replaced_at_once() {
    let app = reading().await;
    poll(&app.services).await;
    app.hubspot.forget_access_tokens();
    assert_eq!(poll(&app.services).await.outcome, read(0, 0));
    assert_eq!(app.hubspot.calls(Kind::ClientCredentials).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstall_notices_older_than_a_reinstall_are_ignored() {
    let app = reading().await;
    poll(&app.services).await;
    let browser = app.connected(ACME).await;
    uninstall(&app, ACME);
    app.advance(600);
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    let due = app.database.refresh_due_at().await;
    assert_eq!(poll(&app.services).await.outcome, read(1, 0));
    assert_eq!(app.database.refresh_due_at().await, due);
    assert_eq!(app.refresh_due().await, 0);
    assert_eq!(browser.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn false_uninstall_notices_cause_one_refresh_only() {
    let app = reading().await;
    poll(&app.services).await;
    let browser = app.connected(ACME).await;
    app.advance(300);
    uninstall(&app, ACME);
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(poll(&app.services).await.outcome, read(1, 1), "within what clocks may differ it may be news");
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["status"], "active");
    assert_eq!(app.database.count_where(sql::REFRESH_JOBS, "strikes = 0 AND announced_at IS NULL").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstall_notices_do_not_disturb_refreshes_in_progress_or_backoff() {
    let app = reading().await;
    poll(&app.services).await;
    app.connected(ACME).await;
    app.advance(1261);
    let held = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    assert_eq!(held.len(), 1);
    uninstall(&app, ACME);
    let lease = "fence || ' ' || run_at";
    let held_as = app.database.text_in(sql::REFRESH_JOBS, lease).await;
    assert_eq!(poll(&app.services).await.outcome, read(1, 1));
    assert_eq!(
        app.database.text_in(sql::REFRESH_JOBS, lease).await,
        held_as,
        "it keeps its lease and its time"
    );
    for job in held {
        app.services.connections.refreshes.refresh(job).await.unwrap();
    }
    let due = app.database.number_in(sql::REFUSED_REFRESH_JOBS, "run_at").await;
    uninstall(&app, ACME);
    assert_eq!(poll(&app.services).await.outcome, read(1, 1));
    let still = app.database.number_in(sql::REFUSED_REFRESH_JOBS, "run_at").await;
    assert_eq!(still, due, "the second refusal keeps its distance");
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstalled_accounts_with_many_connections_are_no_mass_refusal() {
    let app = reading().await;
    poll(&app.services).await;
    for _ in 0..6 {
        app.connected(ACME).await;
    }
    app.advance(300);
    uninstall(&app, ACME);
    assert_eq!(poll(&app.services).await.outcome, read(1, 6));
    assert_eq!(app.refresh_due().await, 6);
    app.advance(60);
    assert_eq!(app.refresh_due().await, 6);
    assert_eq!(app.database.connections(sql::NEEDS_REAUTH).await, 6);
    assert_eq!(app.database.events_of("connection.revoked_at_provider").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_polls_the_journal_until_its_lease_expires() {
    let app = reading().await;
    if app.database.is_sqlite() {
        return; // An SQLite file belongs to one process.
    }
    let replica = app.replica(app.clock.clone()).await;
    assert_eq!(poll(&app.services).await.outcome, read(0, 0));
    app.connected(ACME).await;
    uninstall(&app, ACME);
    for _ in 0..5 {
        assert_eq!(poll(replica.services()).await.outcome, PollOutcome::NotOurs);
        app.advance(60);
        assert!(matches!(poll(&app.services).await.outcome, PollOutcome::Read { .. }));
    }
    app.advance(151);
    assert_eq!(poll(replica.services()).await.outcome, read(0, 0), "it goes on where the other one stopped");
    assert_eq!(poll(&app.services).await.outcome, PollOutcome::NotOurs);
}

#[tokio::test(flavor = "multi_thread")]
async fn journal_backlogs_are_read_in_batches() {
    let app = reading().await;
    poll(&app.services).await;
    for account in 1..=120 {
        uninstall(&app, 5_000 + account);
    }
    assert_eq!(poll(&app.services).await, JournalPoll { outcome: read(100, 0), next_in: Duration::ZERO });
    assert_eq!(poll(&app.services).await.outcome, read(20, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_polled_in_the_background() {
    let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
    let database = TestDatabase::migrated().await;
    let process = Process::serve(&settle(&hubspot, &database, &[ON]));
    eventually("it has looked", || async { !hubspot.calls(Kind::WebhooksJournal).is_empty() }).await;
    assert_eq!(hubspot.subscriptions(), 1);
    assert!(!process.log().contains("developer.webhooks_journal"), "{}", process.log());
}
