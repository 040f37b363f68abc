//! A database file on a full disk, or one that is damaged or not writable: nothing is lost or overwritten.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use fake_hubspot::{FakeHubSpot, Fault, Kind, Options, Rule};
use hubspot_connect::app::StartupError;
use hubspot_connect::config::{Config, Variables};
use hubspot_connect::store::{Database, Store};
use sea_orm::ConnectionTrait;
use test_support::free_port;

use crate::harness::app::{ACME, GLOBEX, settle};
use crate::harness::browser::problem_of;
use crate::harness::database::TestDatabase;
use crate::harness::process::{Process, changed, run};
use crate::harness::{TestApp, eventually, sql};

/// A service in a separate process on a disk that can be full, with a HubSpot that rotates refresh tokens.
struct Scene {
    hubspot: FakeHubSpot,
    database: TestDatabase,
    process: Process,
}

impl Scene {
    /// Sets the scene; `None` where the database is not a file.
    async fn set() -> Option<Self> {
        let options =
            Options { rotate_refresh_tokens: true, reject_reused_refresh_tokens: true, ..Options::default() };
        let hubspot = FakeHubSpot::start(options).await.unwrap();
        let database = TestDatabase::fresh().await;
        if !database.is_sqlite() {
            return None;
        }
        let process = Process::serve_limited(&settle(&hubspot, &database, &[]));
        Some(Self { hubspot, database, process })
    }

    /// Stops the write-ahead log from growing.
    fn fill_the_disk(&self) {
        let written = std::fs::metadata(self.database.folder.path().join("test.db-wal")).unwrap().len();
        assert!(written > 0);
        self.process.limit_files(Some(written));
    }

    fn clear_the_disk(&self) {
        self.process.limit_files(None);
    }

    async fn make_due(&self) {
        self.database.make_refreshes_due().await;
    }

    async fn logged(&self, words: &str) {
        eventually(words, || async { self.process.log().contains(words) }).await;
    }

    async fn refreshed(&self, generation: i64) {
        eventually("the refresh", || async { self.database.generation().await == generation }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disks_cause_no_calls_to_hubspot() {
    let Some(scene) = Scene::set().await else { return };
    let browser = scene.process.connected(&scene.hubspot, ACME).await;

    scene.fill_the_disk();
    scene.make_due().await;
    scene.logged("database unavailable to background jobs; will retry").await;
    assert_eq!(scene.hubspot.calls(Kind::Refresh).len(), 0);
    for _ in 0..3 {
        let start = browser.get("/auth/hubspot/start").await;
        assert_eq!((start.status, problem_of(&start).as_str()), (503, "storage_unavailable"));
    }
    assert_eq!(browser.status().await["status"], "active", "it can still be read");

    scene.clear_the_disk();
    scene.refreshed(2).await;
    assert_eq!(browser.get("/auth/hubspot/start").await.status, 302);
    assert!(scene.hubspot.journal().iter().all(|call| !call.superseded));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_received_on_a_full_disk_are_stored_when_space_is_free() {
    let Some(scene) = Scene::set().await else { return };
    let browser = scene.process.connected(&scene.hubspot, ACME).await;
    scene.hubspot.script(Rule::once(Kind::Refresh, Fault::HoldAfterIssue));
    scene.make_due().await;
    eventually("the call", || async { scene.hubspot.calls(Kind::Refresh).len() == 1 }).await;

    scene.fill_the_disk();
    scene.hubspot.release();
    scene.logged("failed to save new tokens; retrying").await;
    assert_eq!(scene.database.generation().await, 1);
    assert_eq!(browser.status().await["status"], "active");

    scene.clear_the_disk();
    scene.refreshed(2).await;
    scene.make_due().await;
    scene.refreshed(3).await;
    assert!(scene.hubspot.journal().iter().all(|call| !call.superseded));
}

/// Returns a stopped service, and its file.
async fn stopped()
-> Option<(TestDatabase, Vec<(String, String)>, PathBuf, hubspot_connect::domain::clock::Clock)> {
    let app = TestApp::start().await;
    if !app.database.is_sqlite() {
        return None;
    }
    app.connected(ACME).await;
    app.connected(GLOBEX).await;
    let (database, variables, _, clock) = app.stopped().await;
    let path = database.folder.path().join("test.db");
    Some((database, variables, path, clock))
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_database_files_are_refused_and_left_unchanged() {
    let Some((_database, variables, path, clock)) = stopped().await else { return };
    let whole = std::fs::read(&path).unwrap();
    let mut harmed = whole.clone();
    harmed[4096..].fill(0xa5);
    let cut = whole[..whole.len() / 2].to_vec();
    for (what, bytes) in [
        ("garbage behind the first page", harmed),
        ("half a file", cut),
        ("a text", b"dear diary\n".repeat(1000)),
        ("zeros", vec![0; whole.len()]),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let why = TestApp::build(&variables, clock.clone()).await.map(|_| ()).unwrap_err();
        let refused = matches!(why, StartupError::Database(_) | StartupError::Store(_));
        assert!(refused, "{what}: {why:?}");
        assert!(std::fs::read(&path).unwrap() == bytes, "{what}: never written over");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_files_and_folders_are_refused_with_the_reason() {
    if rustix::process::geteuid().is_root() {
        return; // The permissions do not restrict root.
    }
    let Some((database, variables, path, clock)) = stopped().await else { return };
    for (protected, mode, usual) in [(path.as_path(), 0o400, 0o600), (database.folder.path(), 0o500, 0o700)] {
        std::fs::set_permissions(protected, Permissions::from_mode(mode)).unwrap();
        let why = TestApp::build(&variables, clock.clone()).await.map(|_| ());
        std::fs::set_permissions(protected, Permissions::from_mode(usual)).unwrap();
        let why = why.expect_err("it may not be written to");
        assert!(matches!(why, StartupError::Database(_) | StartupError::Store(_)), "{why:?}");
        let text = why.to_string().to_lowercase();
        assert!(["readonly", "read-only", "permission"].iter().any(|word| text.contains(word)), "{text}");
    }
    // SQLite has created the files beside it with the same mode, so all of them have to be restored.
    for entry in std::fs::read_dir(database.folder.path()).unwrap() {
        std::fs::set_permissions(entry.unwrap().path(), Permissions::from_mode(0o600)).unwrap();
    }
    TestApp::build(&variables, clock).await.expect("it starts again");
}

fn mode_of(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn database_files_become_private_to_their_owner() {
    let Some((database, variables, path, clock)) = stopped().await else { return };
    let beside = ["test.db-wal", "test.db-shm", "test.db.lock"].map(|name| database.folder.path().join(name));
    for file in [&path].into_iter().chain(&beside) {
        std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        std::fs::set_permissions(file, Permissions::from_mode(0o666)).unwrap();
    }
    let app = TestApp::build(&variables, clock).await.expect("it starts");
    for file in [&path].into_iter().chain(&beside) {
        assert_eq!(mode_of(file), 0o600, "{}", file.display());
    }
    drop(app);
}

#[tokio::test(flavor = "multi_thread")]
async fn symlinks_in_place_of_the_lock_file_are_not_followed() {
    let Some((database, variables, path, clock)) = stopped().await else { return };
    let lock = path.with_added_extension("lock");
    let target = database.folder.path().join("target");
    std::fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(&target, &lock).unwrap();
    for exists in [false, true] {
        if exists {
            std::fs::write(&target, "theirs").unwrap();
            std::fs::set_permissions(&target, Permissions::from_mode(0o644)).unwrap();
        }
        let why = TestApp::build(&variables, clock.clone()).await.map(|_| ()).unwrap_err();
        assert!(why.to_string().contains("lock file"), "{why}");
        assert_eq!(target.exists(), exists, "nothing is made at the end of a link");
    }
    assert_eq!((mode_of(&target), std::fs::read_to_string(&target).unwrap().as_str()), (0o644, "theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_and_wal_are_beside_the_database_for_every_url_spelling() {
    let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
    let database = TestDatabase::fresh().await;
    if !database.is_sqlite() {
        return;
    }
    let variables = settle(&hubspot, &database, &[]);
    for (number, (written, meant)) in [
        ("my db.db", "my db.db"),
        ("my%20db.db", "my db.db"),
        ("100%25.db", "100%.db"),
        ("what%3F.db", "what?.db"),
        ("a#b.db", "a#b.db"),
        ("a%23b.db", "a#b.db"),
        ("d%c3%bc.db", "dü.db"),
        ("dü.db", "dü.db"),
        ("%2E%2Fdot.db", "dot.db"),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = database.folder.path().join(format!("{number} ä%20"));
        std::fs::create_dir(&folder).unwrap();
        let encoded = format!("{}/{number}%20%C3%A4%2520", database.folder.path().display());
        let url = format!("sqlite://{encoded}/{written}?mode=rwc");
        let variables = changed(&variables, "DATABASE_URL", &url);
        let path = folder.join(meant);
        // Created with wider permissions, so that the service has to restrict them.
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let process = Process::serve(&variables);
        let mut names: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let beside = ["", "-shm", "-wal", ".lock"].map(|suffix| format!("{meant}{suffix}"));
        assert_eq!(names, beside, "{written}");
        for name in names {
            assert_eq!(mode_of(&folder.join(&name)), 0o600, "{name}");
        }
        let doctor = run(&["doctor"], &variables);
        assert!(doctor.stdout.contains("every stored token has its key"), "{written}: {doctor:?}");
        let second = changed(&variables, "SERVER_ADDR", &format!("127.0.0.1:{}", free_port()));
        let second = run(&["serve"], &changed(&second, "ADMIN_ADDR", "off"));
        assert!(
            second.stderr.contains("another process serves from this SQLite file"),
            "{written}: {second:?}"
        );
        process.crash();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reads_recent_writes_of_the_running_service() {
    let Some((database, variables, path, clock)) = stopped().await else { return };
    let link = database.folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let linked = changed(&variables, "DATABASE_URL", &format!("sqlite://{}", link.display()));
    let pairs = linked.iter().cloned();
    let settings = Config::read(&Variables::from_pairs(pairs)).unwrap().database;

    let other = database.connect().await;
    for log in ["empty", "written to"] {
        if log == "empty" {
            other.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
        }
        let length = std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
        assert_eq!(length == 0, log == "empty");
        let inspected = Store::over(Database::inspect(&settings, clock.clone()).await.unwrap());
        let stored = async || {
            inspected.platform.keys_in_use().await.unwrap().iter().map(|(_, rows)| rows).sum::<i64>()
        };
        let before = stored().await;
        let delete = format!("DELETE FROM {0} WHERE id = (SELECT MIN(id) FROM {0})", sql::CONNECTIONS);
        assert_eq!(other.execute_unprepared(&delete).await.unwrap().rows_affected(), 1);
        assert_eq!(stored().await, before - 1, "{log}");
        inspected.database().close().await;
    }
    other.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn symlinks_to_a_database_in_use_are_refused() {
    let Some((database, variables, path, _)) = stopped().await else { return };
    let link = database.folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let linked = changed(&variables, "DATABASE_URL", &format!("sqlite://{}", link.display()));
    for (first, second) in [(&variables, &linked), (&linked, &variables)] {
        let process = Process::serve(first);
        let second = changed(second, "SERVER_ADDR", &format!("127.0.0.1:{}", free_port()));
        let second = run(&["serve"], &changed(&second, "ADMIN_ADDR", "off"));
        assert!(second.stderr.contains("another process serves from this SQLite file"), "{second:?}");
        process.crash();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_that_are_not_files_are_refused() {
    let Some((_database, variables, ..)) = stopped().await else { return };
    for url in [
        "sqlite::memory:",
        "sqlite://%3Amemory%3A",
        "sqlite://",
        "sqlite:file:x.db",
        "sqlite://x.db?mode=memory",
    ] {
        let refused = run(&["doctor"], &changed(&variables, "DATABASE_URL", url));
        assert!(refused.stdout.contains("DATABASE_URL must name a file"), "{url}: {refused:?}");
    }
}
