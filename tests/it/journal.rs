//! Uninstalls that HubSpot tells of in its Webhooks Journal: noticed soon, believed only as far as HubSpot's own refusal
//! bears them out, and never read past.

use std::time::Duration;

use fake_hubspot::{FakeHubSpot, Fault, Kind, Options, Rule};
use hubspot_connect::flows::{Flows, Look, Looked};
use serde_json::json;

use crate::harness::app::{ACME, GLOBEX, HOST, LONG_SESSIONS, approve, settle};
use crate::harness::database::TestDatabase;
use crate::harness::process::{Process, run, without};
use crate::harness::{Browser, TestApp, eventually};

/// An account that nobody has connected.
const STRANGER: u64 = 3_333_333;

const ON: (&str, &str) = ("WEBHOOKS_JOURNAL", "on");

async fn reading() -> TestApp {
    TestApp::with(&[ON, LONG_SESSIONS[0], LONG_SESSIONS[1]]).await
}

async fn look(flows: &Flows) -> Look {
    flows.read_journal().await.unwrap()
}

/// So many entries were read, and so many connections are refreshed because of them.
fn read(entries: usize, concerned: usize) -> Looked {
    Looked::Read { entries, concerned }
}

fn code(look: &Look) -> &'static str {
    match &look.looked {
        Looked::Failed(failure) => failure.code,
        other => panic!("{other:?}"),
    }
}

/// The customer uninstalls the app, at the time of the service's clock.
fn uninstall(app: &TestApp, hub_id: u64) {
    app.hubspot.uninstall_at(hub_id, app.clock.now().unix_ms());
}

async fn position(app: &TestApp) -> String {
    app.database.text("SELECT COALESCE(position, '') FROM journal_reader").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uninstall_is_noticed_within_minutes_and_ends_the_connection_by_the_usual_way() {
    let app = reading().await;
    let browser = app.connected(ACME).await;
    let other = app.connected(GLOBEX).await;
    assert_eq!(look(&app.flows).await, Look { looked: read(0, 0), again_in: Duration::from_secs(60) });
    app.advance(300);
    uninstall(&app, ACME);
    assert_eq!(app.refresh_due().await, 0, "nothing is due by itself");

    app.advance(60);
    assert_eq!(look(&app.flows).await.looked, read(1, 1));
    assert_eq!(browser.status().await["state"], "active", "a notice alone ends nothing");
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["state"], "active", "a single refusal ends nothing");
    app.advance(60);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["state"], "needs_reauth");
    assert_eq!(other.status().await["state"], "active");
    app.assert_one_job_each().await;
    let told = "SELECT COUNT(*) FROM event WHERE type = 'connection.revoked_at_provider'";
    assert_eq!(app.database.number(told).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_of_the_journal_unless_it_is_switched_on() {
    let app = TestApp::start().await;
    assert!(!app.flows.reads_journal());
    assert!(reading().await.flows.reads_journal());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_the_app_is_kept_in_memory_until_it_is_old_and_the_subscription_is_made_once() {
    let app = reading().await;
    for _ in 0..3 {
        assert_eq!(look(&app.flows).await.looked, read(0, 0));
        app.advance(60);
    }
    assert_eq!(app.hubspot.calls(Kind::ClientCredentials).len(), 1);
    assert_eq!(app.hubspot.subscriptions(), 1);
    app.advance(1800 - 180 - 60);
    look(&app.flows).await;
    assert_eq!(app.hubspot.calls(Kind::ClientCredentials).len(), 2, "renewed before it expires");
    let app = app.restarted(&[]).await;
    look(&app.flows).await;
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
    look(&app.flows).await;
    app.hubspot.forget_access_tokens();
    assert_eq!(look(&app.flows).await.looked, read(0, 0));
    assert_eq!(app.hubspot.calls(Kind::ClientCredentials).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_from_before_the_account_installed_again_is_ignored() {
    let app = reading().await;
    look(&app.flows).await;
    let browser = app.connected(ACME).await;
    uninstall(&app, ACME);
    app.advance(600);
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    let due = app.database.number("SELECT run_at FROM token_refresh_job").await;
    assert_eq!(look(&app.flows).await.looked, read(1, 0));
    assert_eq!(app.database.number("SELECT run_at FROM token_refresh_job").await, due);
    assert_eq!(app.refresh_due().await, 0);
    assert_eq!(browser.status().await["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_is_wrong_costs_one_refresh_and_nothing_else() {
    let app = reading().await;
    look(&app.flows).await;
    let browser = app.connected(ACME).await;
    app.advance(300);
    uninstall(&app, ACME);
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(look(&app.flows).await.looked, read(1, 1), "within what clocks may differ it may be news");
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["state"], "active");
    let clean = "SELECT COUNT(*) FROM token_refresh_job WHERE strikes = 0 AND announced_at IS NULL";
    assert_eq!(app.database.number(clean).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_is_under_way_or_waits_after_a_failure_is_left_alone() {
    let app = reading().await;
    look(&app.flows).await;
    app.connected(ACME).await;
    app.advance(1261);
    let held = app.flows.claim_refreshes(8).await.unwrap();
    assert_eq!(held.len(), 1);
    uninstall(&app, ACME);
    let before = "SELECT fence * 1000000 + COALESCE(announced_at, 0) FROM token_refresh_job";
    let fence = app.database.number(before).await;
    assert_eq!(look(&app.flows).await.looked, read(1, 0));
    assert_eq!(app.database.number(before).await, fence);
    for job in held {
        app.flows.refresh(job).await.unwrap();
    }
    let due = app.database.number("SELECT run_at FROM token_refresh_job WHERE strikes = 1").await;
    uninstall(&app, ACME);
    assert_eq!(look(&app.flows).await.looked, read(1, 1));
    let still = app.database.number("SELECT run_at FROM token_refresh_job WHERE strikes = 1").await;
    assert_eq!(still, due, "the second refusal keeps its distance");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_of_one_account_are_given_up_although_they_are_refused_together() {
    let app = reading().await;
    look(&app.flows).await;
    for _ in 0..6 {
        app.connected(ACME).await;
    }
    app.advance(300);
    uninstall(&app, ACME);
    assert_eq!(look(&app.flows).await.looked, read(1, 6));
    assert_eq!(app.refresh_due().await, 6);
    app.advance(60);
    assert_eq!(app.refresh_due().await, 6);
    let ended = "SELECT COUNT(*) FROM token WHERE state = 'needs_reauth'";
    assert_eq!(app.database.number(ended).await, 6);
    let told = "SELECT COUNT(*) FROM event WHERE type = 'connection.revoked_at_provider'";
    assert_eq!(app.database.number(told).await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_reads_until_it_is_silent_for_longer_than_its_lease() {
    let app = reading().await;
    if app.database.is_sqlite() {
        return; // One process has the file for itself.
    }
    let replica = app.replica(app.clock.clone()).await;
    assert_eq!(look(&app.flows).await.looked, read(0, 0));
    app.connected(ACME).await;
    uninstall(&app, ACME);
    for _ in 0..5 {
        assert_eq!(look(replica.flows()).await.looked, Looked::NotOurs);
        app.advance(60);
        assert!(matches!(look(&app.flows).await.looked, Looked::Read { .. }));
    }
    app.advance(151);
    assert_eq!(look(replica.flows()).await.looked, read(0, 0), "it goes on where the other one stopped");
    assert_eq!(look(&app.flows).await.looked, Looked::NotOurs);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lost_the_lease_while_reading_stores_nothing() {
    let app = reading().await;
    look(&app.flows).await;
    app.connected(ACME).await;
    app.advance(300);
    uninstall(&app, ACME);
    app.hubspot.script(Rule::once(Kind::JournalFile, Fault::Hold));
    let flows = app.flows.clone();
    let late = tokio::spawn(async move { look(&flows).await });
    eventually("the file is asked for", || async { !app.hubspot.calls(Kind::JournalFile).is_empty() }).await;
    app.database.execute("UPDATE journal_reader SET fence = fence + 1, lease_owner = 'another'").await;
    app.hubspot.release();
    assert_eq!(late.await.unwrap().looked, Looked::NotOurs);
    assert_eq!(position(&app).await, "");
    assert_eq!(app.refresh_due().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_nothing_is_skipped_and_it_is_tried_again() {
    let status = |status: u16| Fault::Status { status, headers: Vec::new(), body: "{}".to_owned() };
    let json = |body: &str| Fault::Body { content_type: None, body: body.to_owned() };
    let faults = [
        (Kind::ClientCredentials, status(500), "provider_unavailable"),
        (Kind::ClientCredentials, json("<html>"), "provider_bad_response"),
        (Kind::WebhooksJournal, status(429), "provider_busy"),
        (Kind::WebhooksJournal, status(500), "provider_unavailable"),
        (Kind::WebhooksJournal, json("<html>"), "provider_bad_response"),
        (
            Kind::WebhooksJournal,
            json(r#"{"url": "https://a.example", "currentOffset": "../x"}"#),
            "provider_bad_response",
        ),
        (Kind::WebhooksJournal, Fault::HalfBody, "provider_bad_response"),
        (Kind::JournalFile, status(403), "journal_file_gone"),
        (Kind::JournalFile, status(503), "provider_unavailable"),
        (Kind::JournalFile, Fault::HalfBody, "provider_bad_response"),
        (Kind::JournalFile, Fault::BadChunk, "provider_bad_response"),
        (Kind::JournalFile, json("{}"), "journal_file_unreadable"),
        (Kind::JournalFile, Fault::Gzip, "journal_file_unreadable"),
        (Kind::JournalFile, Fault::Large(17 * 1024 * 1024), "provider_bad_response"),
        (Kind::JournalFile, Fault::Endless, "provider_bad_response"),
        (
            Kind::JournalFile,
            Fault::Redirect { status: 302, location: "/elsewhere".to_owned() },
            "journal_url_refused",
        ),
    ];
    let app = reading().await;
    look(&app.flows).await;
    app.connected(ACME).await;
    app.advance(300);
    uninstall(&app, ACME);
    for (on, fault, expected) in faults {
        if on == Kind::ClientCredentials {
            app.advance(1800);
        }
        let name = fault.name();
        app.hubspot.script(Rule::once(on, fault));
        let failed = look(&app.flows).await;
        assert_eq!(code(&failed), expected, "{on:?} {name}");
        assert!(failed.again_in >= Duration::from_secs(54), "{on:?} {name}");
        assert_eq!(position(&app).await, "", "{on:?} {name}");
    }
    assert_eq!(look(&app.flows).await.looked, read(1, 1));
    assert_ne!(position(&app).await, "");
    for call in app.hubspot.calls(Kind::JournalFile) {
        assert_eq!(call.authorization, None, "no credentials go along");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_elsewhere_is_not_gone_to() {
    let app = reading().await;
    look(&app.flows).await;
    uninstall(&app, ACME);
    for url in
        ["http://10.0.0.1/a", "https://169.254.169.254/a", "http://example.com/a", "file:///etc/passwd", ""]
    {
        let set = json!({ "url": url }).as_object().cloned().unwrap();
        app.hubspot.script(Rule::once(Kind::WebhooksJournal, Fault::Patch { set, drop: Vec::new() }));
        assert_eq!(code(&look(&app.flows).await), "journal_url_refused", "{url}");
    }
    assert_eq!(position(&app).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_scopes_are_told_as_such_wherever_hubspot_notices_them() {
    let lacking = Options { app_scopes: Vec::new(), ..Options::default() };
    let app = TestApp::with_hubspot(&[ON], lacking).await;
    assert_eq!(code(&look(&app.flows).await), "journal_scopes_missing");
    let refusal = Fault::Oauth {
        status: 400,
        error: Some("invalid_scope".to_owned()),
        hubspot_status: Some("BAD_SCOPES".to_owned()),
        message: "missing or invalid scopes".to_owned(),
    };
    app.hubspot.script(Rule::once(Kind::ClientCredentials, refusal));
    app.advance(1800);
    let failed = look(&app.flows).await;
    assert_eq!(code(&failed), "journal_scopes_missing");
    assert!(failed.again_in > Duration::from_secs(800), "a person has to mend it");
    let metrics = Browser::new(&app.admin).get("/metrics").await.body;
    assert!(metrics.contains(r#"hubspot_connect_journal_looks_total{outcome="our_fault"} 2"#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_hubspot_has_forgotten_is_read_again_from_the_earliest() {
    let app = reading().await;
    look(&app.flows).await;
    uninstall(&app, STRANGER);
    assert_eq!(look(&app.flows).await.looked, read(1, 0));
    app.connected(ACME).await;
    app.advance(300);
    uninstall(&app, ACME);
    app.hubspot.forget_journal_entries(1);
    assert_eq!(look(&app.flows).await.looked, read(2, 1), "the start anew, and the entry");
    assert_eq!(look(&app.flows).await.looked, read(0, 0));
    app.hubspot.forget_journal_entries(0);
    assert_eq!(look(&app.flows).await.looked, read(0, 0), "an empty journal has nothing new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_says_404_where_nothing_is_new_is_not_read_again_and_again() {
    let app = TestApp::with_hubspot(&[ON], Options { nothing_new_status: 404, ..Options::default() }).await;
    assert_eq!(look(&app.flows).await.looked, read(0, 0));
    uninstall(&app, ACME);
    assert_eq!(look(&app.flows).await.looked, read(1, 0));
    for _ in 0..3 {
        app.advance(60);
        assert_eq!(look(&app.flows).await.looked, read(0, 0));
    }
    assert_eq!(app.hubspot.calls(Kind::JournalFile).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_piled_up_is_read_in_portions() {
    let app = reading().await;
    look(&app.flows).await;
    for account in 1..=120 {
        uninstall(&app, 5_000 + account);
    }
    assert_eq!(look(&app.flows).await, Look { looked: read(100, 0), again_in: Duration::ZERO });
    assert_eq!(look(&app.flows).await.looked, read(20, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_and_the_log_say_in_plain_words_which_scopes_are_missing() {
    let hubspot = FakeHubSpot::start(Options { app_scopes: Vec::new(), ..Options::default() }).await.unwrap();
    let database = TestDatabase::migrated().await;
    let variables = settle(&hubspot, &database, &[ON]);
    let doctor = run(&["doctor"], &variables);
    assert_eq!(doctor.code, Some(1), "{}", doctor.stderr);
    assert!(doctor.stdout.contains("WRONG journal: this app may not read"), "{}", doctor.stdout);
    let process = Process::serve(&variables);
    let told = "give the app the scopes developer.webhooks_journal.read, developer.webhooks_journal.subscriptions.read";
    eventually("the log says it", || async { process.log().contains(told) }).await;
    process.crash();

    let scopes = Options::default().app_scopes;
    hubspot.options(|options| options.app_scopes = scopes);
    let doctor = run(&["doctor"], &variables);
    assert_eq!(doctor.code, Some(0), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("ok    journal: HubSpot lets this app read"), "{}", doctor.stdout);
    assert_eq!(hubspot.subscriptions(), 0, "it changes nothing");
    let off = run(&["doctor"], &without(&variables, "WEBHOOKS_JOURNAL"));
    assert!(!off.stdout.contains("journal"), "{}", off.stdout);
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
