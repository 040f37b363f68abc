//! Uninstalls that HubSpot tells of in its Webhooks Journal: noticed soon, believed only as far as HubSpot's own refusal
//! bears them out, and never read past.

use std::time::Duration;

use fake_hubspot::{FakeHubSpot, Kind, Options};
use hubspot_connect::services::{JournalPoll, PollOutcome, Services};

use crate::harness::app::{ACME, GLOBEX, HOST, LONG_SESSIONS, approve, settle};
use crate::harness::database::TestDatabase;
use crate::harness::process::Process;
use crate::harness::{TestApp, eventually, sql};

/// An account that nobody has connected.
pub const STRANGER: u64 = 3_333_333;

pub const ON: (&str, &str) = ("WEBHOOKS_JOURNAL", "on");

pub async fn reading() -> TestApp {
    TestApp::with(&[ON, LONG_SESSIONS[0], LONG_SESSIONS[1]]).await
}

pub async fn poll(services: &Services) -> JournalPoll {
    services.marketplace.journal.read_journal().await.unwrap()
}

/// So many entries were read, and so many connections are refreshed because of them.
pub fn read(entries: usize, concerned: usize) -> PollOutcome {
    PollOutcome::Read { entries, concerned }
}

pub fn code(poll: &JournalPoll) -> &'static str {
    match &poll.outcome {
        PollOutcome::Failed(failure) => failure.code.as_str(),
        other => panic!("{other:?}"),
    }
}

/// The customer uninstalls the app, at the time of the service's clock.
pub fn uninstall(app: &TestApp, hub_id: u64) {
    app.hubspot.uninstall_at(hub_id, app.clock.now().unix_ms());
}

pub async fn position(app: &TestApp) -> String {
    app.database.text_in(sql::JOURNAL_READER, "COALESCE(position, '')").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uninstall_is_noticed_within_minutes_and_ends_the_connection_by_the_usual_way() {
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
async fn nothing_is_asked_of_the_journal_unless_it_is_switched_on() {
    let app = TestApp::start().await;
    assert!(!app.services.marketplace.journal.reads_journal());
    assert!(reading().await.services.marketplace.journal.reads_journal());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_the_app_is_kept_in_memory_until_it_is_old_and_the_subscription_is_made_once() {
    let app = reading().await;
    for _ in 0..3 {
        assert_eq!(poll(&app.services).await.outcome, read(0, 0));
        app.advance(60);
    }
    assert_eq!(app.hubspot.calls(Kind::ClientCredentials).len(), 1);
    assert_eq!(app.hubspot.subscriptions(), 1);
    app.advance(1800 - 180 - 60);
    poll(&app.services).await;
    assert_eq!(app.hubspot.calls(Kind::ClientCredentials).len(), 2, "renewed before it expires");
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
async fn a_token_that_hubspot_has_forgotten_is_renewed_at_once() {
    let app = reading().await;
    poll(&app.services).await;
    app.hubspot.forget_access_tokens();
    assert_eq!(poll(&app.services).await.outcome, read(0, 0));
    assert_eq!(app.hubspot.calls(Kind::ClientCredentials).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_from_before_the_account_installed_again_is_ignored() {
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
async fn a_notice_that_is_wrong_costs_one_refresh_and_nothing_else() {
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
async fn a_refresh_that_is_under_way_or_waits_after_a_failure_is_left_alone() {
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
async fn many_connections_of_one_account_are_given_up_although_they_are_refused_together() {
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
async fn one_process_reads_until_it_is_silent_for_longer_than_its_lease() {
    let app = reading().await;
    if app.database.is_sqlite() {
        return; // One process has the file for itself.
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
async fn what_has_piled_up_is_read_in_portions() {
    let app = reading().await;
    poll(&app.services).await;
    for account in 1..=120 {
        uninstall(&app, 5_000 + account);
    }
    assert_eq!(poll(&app.services).await, JournalPoll { outcome: read(100, 0), next_in: Duration::ZERO });
    assert_eq!(poll(&app.services).await.outcome, read(20, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_reads_by_itself() {
    let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
    let database = TestDatabase::migrated().await;
    let process = Process::serve(&settle(&hubspot, &database, &[ON]));
    eventually("it has looked", || async { !hubspot.calls(Kind::WebhooksJournal).is_empty() }).await;
    assert_eq!(hubspot.subscriptions(), 1);
    assert!(!process.log().contains("developer.webhooks_journal"), "{}", process.log());
}
