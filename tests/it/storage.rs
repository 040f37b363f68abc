//! The database file, and clocks that disagree.

use hubspot_connect::app::StartupError;
use hubspot_connect::domain::clock::{Clock, Timestamp};
use hubspot_connect::store::OpenError;

use crate::harness::TestApp;
use crate::harness::app::{ACME, LONG_SESSIONS};
use crate::harness::browser::problem_of;
use crate::harness::process::{changed, eventually};

fn midday() -> Clock {
    Clock::manual(Timestamp::from_unix_ms(1_795_000_000_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_databases_are_refused_and_unchanged() {
    let app = TestApp::start().await;
    if !app.database.is_sqlite() {
        return; // PostgreSQL has no file of the service.
    }
    app.connected(ACME).await;
    let (database, variables, _hubspot, clock) = app.stopped().await;
    let path = database.folder.path().join("test.db");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..16].copy_from_slice(b"not SQLite today");
    std::fs::write(&path, &bytes).unwrap();
    let why = TestApp::build(&variables, clock).await.unwrap_err();
    assert!(matches!(why, StartupError::Database(_)), "{why:?}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "never written over");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_files_become_databases() {
    let app = TestApp::start().await;
    if !app.database.is_sqlite() {
        return;
    }
    let (database, variables, hubspot, clock) = app.stopped().await;
    let path = database.folder.path().join("test.db");
    for left in ["test.db-wal", "test.db-shm"] {
        let _ = std::fs::remove_file(database.folder.path().join(left));
    }
    std::fs::write(&path, b"").unwrap();
    let app = TestApp::again(hubspot, database, variables, clock).await;
    app.connected(ACME).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unwritable_databases_are_refused_at_start() {
    let app = TestApp::start().await;
    if !app.database.is_sqlite() {
        return;
    }
    let (database, variables, _hubspot, clock) = app.stopped().await;
    let folder = database.folder.path().display();
    let read_only = changed(&variables, "DATABASE_URL", &format!("sqlite://{folder}/test.db?mode=ro"));
    let why = TestApp::build(&read_only, clock.clone()).await.unwrap_err();
    assert!(why.to_string().contains("read"), "{why}");
    let nowhere = format!("sqlite://{folder}/no/such/folder/test.db?mode=rwc");
    let why = TestApp::build(&changed(&variables, "DATABASE_URL", &nowhere), clock).await.unwrap_err();
    assert!(matches!(why, StartupError::Database(OpenError::Unreachable(_))), "{why:?}");
    let missing = format!("sqlite://{folder}/other.db");
    let why = TestApp::build(&changed(&variables, "DATABASE_URL", &missing), midday()).await.unwrap_err();
    assert!(why.to_string().contains("cannot be opened"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sqlite_file_is_served_by_one_service() {
    let app = TestApp::start().await;
    if !app.database.is_sqlite() {
        return;
    }
    let second = changed(&app.variables, "SERVER_ADDR", "127.0.0.1:0");
    let why = TestApp::build(&second, app.clock.clone()).await.unwrap_err();
    assert!(matches!(why, StartupError::Database(OpenError::InUse)), "{why:?}");
    assert!(why.to_string().contains("PostgreSQL"), "it says what to do: {why}");
    app.connected(ACME).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_file_is_private_to_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let app = TestApp::start().await;
    if !app.database.is_sqlite() {
        return;
    }
    let file = std::fs::metadata(app.database.folder.path().join("test.db")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_servers_are_reported_without_the_password() {
    let app = TestApp::start().await;
    let url = "postgres://somebody:hunter2@127.0.0.1:9/nothing";
    let why = TestApp::build(&changed(&app.variables, "DATABASE_URL", url), midday()).await.unwrap_err();
    let text = format!("{why} {why:?}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(why.to_string().contains("cannot be opened"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_backward_clocks_change_no_connection() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    // The machine's clock is set back by ten minutes, and the service restarted.
    let earlier = Timestamp::from_unix_ms(app.clock.now().unix_ms() - 600_000);
    let (database, variables, hubspot, _) = app.stopped().await;
    let app = TestApp::again(hubspot, database, variables, Clock::manual(earlier)).await;
    assert_eq!(browser.status().await["status"], "active");
    assert_eq!(app.refresh_due().await, 0);
    app.advance(600 + 1261);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_after_2038_are_supported() {
    let app = TestApp::start().await;
    let far = Clock::manual(Timestamp::from_unix_ms(4_102_444_800_000));
    let (database, variables, hubspot, _) = app.stopped().await;
    let app = TestApp::again(hubspot, database, variables, far).await;
    let browser = app.connected(ACME).await;
    assert_eq!(browser.status().await["expires_at"], "2100-01-01T00:30:00Z");
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_before_the_release_date_are_refused() {
    let app = TestApp::start().await;
    let (_database, variables, _hubspot, _) = app.stopped().await;
    let born = Clock::manual(Timestamp::from_unix_ms(0));
    let refused = TestApp::build(&variables, born).await.unwrap_err().to_string();
    assert!(refused.contains("the system clock is at 1970-01-01T00:00:00Z"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_stays_live_without_its_database_server_and_recovers() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let Some(server) = app.database.server().await else { return }; // A file cannot go away.
    let browser = app.connected(ACME).await;
    let healthy = async |path: &str| browser.get(&format!("{}{path}", app.admin)).await.status;
    assert_eq!((healthy("/readyz").await, browser.get("/livez").await.status), (200, 200));

    server.shut(true).await;
    assert_eq!((healthy("/readyz").await, browser.get("/livez").await.status), (503, 200));
    let refused = browser.get("/auth/hubspot/start").await;
    assert_eq!((refused.status, problem_of(&refused).as_str()), (503, "storage_unavailable"));
    assert_eq!(browser.get("/api/hubspot/status").await.status, 503);

    server.shut(false).await;
    eventually("it is ready again", || async { healthy("/readyz").await == 200 }).await;
    assert_eq!(browser.status().await["status"], "active");
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
}
