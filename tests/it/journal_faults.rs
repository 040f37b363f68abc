//! Faults of HubSpot's Webhooks Journal: no entry is skipped, no false notice acted on, and no other address fetched.

use std::time::Duration;

use fake_hubspot::{FakeHubSpot, Fault, Kind, Options, Rule};
use hubspot_connect::services::PollOutcome;
use serde_json::json;

use crate::harness::app::{ACME, settle};
use crate::harness::database::TestDatabase;
use crate::harness::process::{Process, run, without};
use crate::harness::{Browser, TestApp, eventually, sql};
use crate::journal::{ON, STRANGER, code, poll, position, read, reading, uninstall};

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_lost_the_lease_store_nothing() {
    let app = reading().await;
    poll(&app.services).await;
    app.connected(ACME).await;
    app.advance(300);
    uninstall(&app, ACME);
    app.hubspot.script(Rule::once(Kind::JournalFile, Fault::Hold));
    let services = app.services.clone();
    let late = tokio::spawn(async move { poll(&services).await });
    eventually("the file is asked for", || async { !app.hubspot.calls(Kind::JournalFile).is_empty() }).await;
    app.database.update(sql::JOURNAL_READER, "fence = fence + 1, lease_owner = 'another'").await;
    app.hubspot.release();
    assert_eq!(late.await.unwrap().outcome, PollOutcome::NotOurs);
    assert_eq!(position(&app).await, "");
    assert_eq!(app.refresh_due().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_polls_skip_nothing_and_are_retried() {
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
    // An entry that fails eight times is skipped.
    for faults in Vec::from(faults).chunks(7) {
        let app = reading().await;
        poll(&app.services).await;
        app.connected(ACME).await;
        app.advance(300);
        uninstall(&app, ACME);
        for (on, fault, expected) in faults.iter().cloned() {
            if on == Kind::ClientCredentials {
                app.advance(1800);
            }
            let name = fault.name();
            app.hubspot.script(Rule::once(on, fault));
            let failed = poll(&app.services).await;
            assert_eq!(code(&failed), expected, "{on:?} {name}");
            assert!(failed.next_in >= Duration::from_secs(54), "{on:?} {name}");
            assert_eq!(position(&app).await, "", "{on:?} {name}");
        }
        assert_eq!(poll(&app.services).await.outcome, read(1, 1));
        assert_ne!(position(&app).await, "");
        for call in app.hubspot.calls(Kind::JournalFile) {
            assert_eq!(call.authorization, None, "no credentials go along");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_journal_files_are_skipped_after_an_hour() {
    let app = reading().await;
    poll(&app.services).await;
    app.connected(ACME).await;
    app.advance(300);
    uninstall(&app, STRANGER);
    uninstall(&app, ACME);
    let broken = Fault::Body { content_type: None, body: "{}".to_owned() };
    app.hubspot.script(Rule::times(Kind::JournalFile, 8, broken));
    let mut waited = Duration::ZERO;
    for _ in 0..7 {
        let failed = poll(&app.services).await;
        assert_eq!(code(&failed), "journal_file_unreadable");
        waited += failed.next_in;
    }
    assert!(waited > Duration::from_secs(45 * 60), "{waited:?}");
    assert_eq!(poll(&app.services).await.outcome, read(2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn journal_files_at_other_addresses_are_not_fetched() {
    let app = reading().await;
    poll(&app.services).await;
    uninstall(&app, ACME);
    for url in
        ["http://10.0.0.1/a", "https://169.254.169.254/a", "http://example.com/a", "file:///etc/passwd", ""]
    {
        let set = json!({ "url": url }).as_object().cloned().unwrap();
        app.hubspot.script(Rule::once(Kind::WebhooksJournal, Fault::Patch { set, drop: Vec::new() }));
        assert_eq!(code(&poll(&app.services).await), "journal_url_refused", "{url}");
    }
    assert_eq!(position(&app).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_journal_scopes_are_reported_for_every_call() {
    let lacking = Options { app_scopes: Vec::new(), ..Options::default() };
    let app = TestApp::with_hubspot(&[ON], lacking).await;
    assert_eq!(code(&poll(&app.services).await), "journal_scopes_missing");
    let refusal = Fault::Oauth {
        status: 400,
        error: Some("invalid_scope".to_owned()),
        hubspot_status: Some("BAD_SCOPES".to_owned()),
        message: "missing or invalid scopes".to_owned(),
    };
    app.hubspot.script(Rule::once(Kind::ClientCredentials, refusal));
    app.advance(1800);
    let failed = poll(&app.services).await;
    assert_eq!(code(&failed), "journal_scopes_missing");
    assert!(failed.next_in > Duration::from_secs(800), "an operator has to fix it");
    let metrics = Browser::new(&app.admin).get("/metrics").await.body;
    assert!(metrics.contains(r#"hubspot_connect_journal_polls_total{outcome="our_fault"} 2"#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_offsets_restart_at_the_earliest_entry() {
    let app = reading().await;
    poll(&app.services).await;
    uninstall(&app, STRANGER);
    assert_eq!(poll(&app.services).await.outcome, read(1, 0));
    app.connected(ACME).await;
    app.advance(300);
    uninstall(&app, ACME);
    app.hubspot.forget_journal_entries(1);
    assert_eq!(poll(&app.services).await.outcome, read(2, 1), "the restart, and the entry");
    assert_eq!(poll(&app.services).await.outcome, read(0, 0));
    app.hubspot.forget_journal_entries(0);
    assert_eq!(poll(&app.services).await.outcome, read(0, 0), "an empty journal has nothing new");
}

#[tokio::test(flavor = "multi_thread")]
async fn journals_that_return_404_when_empty_are_not_reread() {
    let app = TestApp::with_hubspot(&[ON], Options { nothing_new_status: 404, ..Options::default() }).await;
    assert_eq!(poll(&app.services).await.outcome, read(0, 0));
    uninstall(&app, ACME);
    assert_eq!(poll(&app.services).await.outcome, read(1, 0));
    for _ in 0..3 {
        app.advance(60);
        assert_eq!(poll(&app.services).await.outcome, read(0, 0));
    }
    assert_eq!(app.hubspot.calls(Kind::JournalFile).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_and_log_name_missing_journal_scopes() {
    let hubspot = FakeHubSpot::start(Options { app_scopes: Vec::new(), ..Options::default() }).await.unwrap();
    let database = TestDatabase::migrated().await;
    let variables = settle(&hubspot, &database, &[ON]);
    let doctor = run(&["doctor"], &variables);
    assert_eq!(doctor.code, Some(1), "{}", doctor.stderr);
    assert!(doctor.stdout.contains("WRONG journal: this app may not read"), "{}", doctor.stdout);
    let process = Process::serve(&variables);
    let hint = "developer.webhooks_journal.read developer.webhooks_journal.subscriptions.read";
    eventually("the log says it", || async { process.log().contains(hint) }).await;
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
async fn doctor_distinguishes_empty_and_missing_journals() {
    let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
    let database = TestDatabase::migrated().await;
    let variables = settle(&hubspot, &database, &[ON]);
    let doctor = run(&["doctor"], &variables);
    assert_eq!(doctor.code, Some(0), "an empty journal is well: {}", doctor.stdout);

    let missing = || Fault::Status { status: 404, headers: Vec::new(), body: "{}".to_owned() };
    hubspot.script(Rule::once(Kind::WebhooksJournal, missing()));
    let doctor = run(&["doctor"], &variables);
    assert_eq!(doctor.code, Some(1), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("no entry of its Webhooks Journal was seen"), "{}", doctor.stdout);

    hubspot.script(Rule::once(Kind::Subscriptions, missing()));
    let doctor = run(&["doctor"], &variables);
    assert_eq!(doctor.code, Some(1), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("HUBSPOT_API_URL has no Webhooks Journal"), "{}", doctor.stdout);
}
