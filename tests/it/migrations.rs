//! The schema: newer and older ones are refused, migrations run once, and can be reverted.

use std::time::Duration;

use hubspot_connect::app::StartupError;
use hubspot_connect::store::OpenError;

use crate::harness::app::{ACME, HOST, settle};
use crate::harness::database::TestDatabase;
use crate::harness::process::{changed, run, run_and_kill};
use crate::harness::{TestApp, sql};

#[tokio::test(flavor = "multi_thread")]
async fn schemas_of_newer_releases_are_refused_and_unchanged() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    app.database
        .execute("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20991231_000001_later', 1)")
        .await;
    let (database, variables, hubspot, clock) = app.stopped().await;
    let why = TestApp::build(&variables, clock.clone()).await.unwrap_err();
    assert!(matches!(why, StartupError::Database(OpenError::Newer(_))), "{why:?}");
    let text = why.to_string();
    assert!(text.contains("m20991231_000001_later") && text.contains("upgrade"), "{text}");
    assert_eq!(database.count(sql::CONNECTIONS).await, 1);
    let status = run(&["db", "status"], &variables);
    assert_eq!(status.code, Some(1));
    assert!(status.stdout.contains("unknown  m20991231_000001_later"), "{}", status.stdout);
    let doctor = run(&["doctor"], &variables);
    assert_eq!(doctor.code, Some(1));
    assert!(doctor.stdout.contains("newer"), "{}", doctor.stdout);
    for command in [&["db", "rollback", "--yes-lose-data"][..], &["db", "migrate"]] {
        let refused = run(command, &variables);
        assert_eq!(refused.code, Some(1), "{command:?}: {refused:?}");
        assert!(refused.stderr.contains("m20991231_000001_later"), "{command:?}: {refused:?}");
    }
    assert_eq!(run(&["db", "status"], &variables).stdout, status.stdout, "nothing was changed");
    database.execute("DELETE FROM seaql_migrations WHERE version = 'm20991231_000001_later'").await;
    let app = TestApp::again(hubspot, database, variables, clock).await;
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_migrations_run_automatically_or_by_command() {
    let hubspot = fake_hubspot::FakeHubSpot::start(fake_hubspot::Options::default()).await.unwrap();
    let database = TestDatabase::fresh().await;
    let variables = settle(&hubspot, &database, &[("DATABASE_AUTO_MIGRATE", "false")]);
    let clock = hubspot_connect::domain::clock::Clock::system();
    let why = TestApp::build(&variables, clock.clone()).await.unwrap_err();
    assert!(matches!(why, StartupError::Database(OpenError::Older(_))), "{why:?}");
    assert!(why.to_string().contains("hubspot-connect db migrate"), "{why}");
    let status = run(&["db", "status"], &variables);
    assert_eq!(status.code, Some(1), "{}", status.stderr);
    assert!(status.stdout.contains("missing  "), "{}", status.stdout);
    for round in ["once", "twice"] {
        let migrated = run(&["db", "migrate"], &variables);
        assert_eq!(migrated.code, Some(0), "{round}: {}", migrated.stderr);
        assert!(!migrated.stdout.contains("missing"), "{round}: {}", migrated.stdout);
    }
    assert_eq!(run(&["db", "status"], &variables).code, Some(0));
    TestApp::build(&variables, clock).await.expect("it starts now");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_reverted_only_by_command_and_can_be_repeated() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    let (database, variables, hubspot, clock) = app.stopped().await;
    let refused = run(&["db", "rollback", "--steps", "6"], &variables);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("--yes-lose-data"), "{}", refused.stderr);
    assert_eq!(database.count(sql::CONNECTIONS).await, 1);
    for steps in 1..=6 {
        let steps = steps.to_string();
        let back = run(&["db", "rollback", "--steps", &steps, "--yes-lose-data"], &variables);
        assert_eq!(back.code, Some(0), "{steps}: {}", back.stderr);
        let again = run(&["db", "migrate"], &variables);
        assert_eq!(again.code, Some(0), "{steps}: {}", again.stderr);
        assert!(!again.stdout.contains("missing"), "{steps}: {}", again.stdout);
    }
    let app = TestApp::again(hubspot, database, variables, clock).await;
    app.connected(ACME).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_flows_with_one_challenge_the_first_survives_the_unique_migration() {
    let app = TestApp::start().await;
    for _ in 0..4 {
        app.browser().start(Some(HOST)).await;
        app.advance(1);
    }
    let (database, variables, hubspot, clock) = app.stopped().await;
    let since = "SELECT COUNT(*) FROM seaql_migrations WHERE version >= 'm20261129_000019_challenge'";
    let steps = database.number(since).await.to_string();
    let back = run(&["db", "rollback", "--steps", &steps, "--yes-lose-data"], &variables);
    assert_eq!(back.code, Some(0), "{}", back.stderr);
    let first = "(SELECT MIN(created_at) FROM auth_request)";
    database
        .execute(&format!(
            "UPDATE auth_request SET challenge = 'the same' WHERE created_at <= {first} + 2000"
        ))
        .await;

    let migrated = run(&["db", "migrate"], &variables);

    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    let left = "SELECT COUNT(*) FROM auth_request";
    assert_eq!(database.number(left).await, 2);
    let kept = format!("{left} WHERE challenge = 'the same' AND created_at = {first}");
    assert_eq!(database.number(&kept).await, 1);
    TestApp::again(hubspot, database, variables, clock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_files_are_not_migrated() {
    let database = TestDatabase::fresh().await;
    if !database.is_sqlite() {
        return;
    }
    let hubspot = fake_hubspot::FakeHubSpot::start(fake_hubspot::Options::default()).await.unwrap();
    let variables = settle(&hubspot, &database, &[]);
    assert_eq!(run(&["db", "migrate"], &variables).code, Some(0));
    let reading = database.url.replace("mode=rwc", "mode=ro");
    let refused = run(&["db", "rollback", "--yes-lose-data"], &changed(&variables, "DATABASE_URL", &reading));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("for reading only"), "{refused:?}");
    assert_eq!(run(&["db", "status"], &variables).code, Some(0), "nothing was reverted");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_migrate_once() {
    let hubspot = fake_hubspot::FakeHubSpot::start(fake_hubspot::Options::default()).await.unwrap();
    let database = TestDatabase::fresh().await;
    if database.is_sqlite() {
        return; // An SQLite file belongs to one process.
    }
    let variables = changed(&settle(&hubspot, &database, &[]), "SERVER_ADDR", "127.0.0.1:0");
    let clock = hubspot_connect::domain::clock::Clock::system();
    let starts = [(); 6].map(|()| {
        let (variables, clock) = (variables.clone(), clock.clone());
        tokio::spawn(async move { TestApp::build(&variables, clock).await })
    });
    for start in starts {
        start.await.unwrap().expect("every replica starts");
    }
    let twice = "SELECT COUNT(*) - COUNT(DISTINCT version) FROM seaql_migrations";
    assert_eq!(database.number(twice).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_while_the_service_runs_is_safe() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let migrated = run(&["db", "migrate"], &app.variables);
    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_migrations_are_completed_by_the_next() {
    let hubspot = fake_hubspot::FakeHubSpot::start(fake_hubspot::Options::default()).await.unwrap();
    let mut killed = 0;
    for wait in [0, 10, 20, 30, 40, 50, 60, 80, 100, 150, 200] {
        let database = TestDatabase::fresh().await;
        let variables = settle(&hubspot, &database, &[]);

        let running = run_and_kill(&["db", "migrate"], &variables, Duration::from_millis(wait));
        killed += u32::from(running && wait > 0);

        let again = run(&["db", "migrate"], &variables);
        assert_eq!(again.code, Some(0), "after {wait} ms: {}", again.stderr);
        let status = run(&["db", "status"], &variables);
        assert_eq!(status.code, Some(0), "after {wait} ms: {} {}", status.stdout, status.stderr);
        let all = database.number("SELECT COUNT(*) FROM seaql_migrations").await;
        let once = database.number("SELECT COUNT(DISTINCT version) FROM seaql_migrations").await;
        assert!(all == once && all >= 8, "after {wait} ms: {once} of {all}");
    }
    assert!(killed > 0, "none was killed on its way");
}
