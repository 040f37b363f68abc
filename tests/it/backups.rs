//! Backups of the database file: made beside the service, checked, and restored as docs/operating.md says.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fake_hubspot::{FakeHubSpot, Options};
use rustix::process::geteuid;
use sea_orm::ConnectionTrait;

use crate::harness::app::{ACME, GLOBEX, settle};
use crate::harness::database::TestDatabase;
use crate::harness::process::{CommandOutput, Process, run_in, run_line};
use crate::harness::sql;

const DOCUMENT: &str = include_str!("../../docs/operating.md");

/// A service in a separate process, which can be stopped while the database remains.
struct Scene {
    hubspot: FakeHubSpot,
    database: TestDatabase,
    variables: Vec<(String, String)>,
    process: Option<Process>,
}

impl Scene {
    /// Starts a service; `None` where the database is not a file.
    async fn set() -> Option<Self> {
        let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
        let database = TestDatabase::fresh().await;
        let variables = settle(&hubspot, &database, &[]);
        let process = database.is_sqlite().then(|| Process::serve(&variables))?;
        Some(Self { hubspot, database, variables, process: Some(process) })
    }

    fn folder(&self) -> &Path {
        self.database.folder.path()
    }

    /// Returns the path of a file in the folder of the database.
    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    async fn connect(&self, account: u64) {
        self.process.as_ref().unwrap().connected(&self.hubspot, account).await;
    }

    fn start(&mut self) {
        self.process = Some(Process::serve(&self.variables));
    }

    fn stop(&mut self) {
        let process = self.process.take().unwrap();
        process.ask_to_stop();
        assert!(process.wait().success());
    }

    fn run(&self, arguments: &[&str]) -> CommandOutput {
        run_in(self.folder(), arguments, &self.variables)
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended.stdout
    }

    fn refuses(&self, arguments: &[&str], why: &str) {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(1), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(why), "{arguments:?}: {ended:?}");
    }

    /// Runs the commands of a section of the document.
    fn follow(&mut self, section: &str) {
        let (_, section) = DOCUMENT.split_once(&format!("\n### {section}\n")).expect("the section");
        let (_, commands) = section.split_once("```sh\n").expect("its commands");
        let (commands, _) = commands.split_once("```").expect("their end");
        for line in commands.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line {
                "systemctl stop hubspot-connect" => self.stop(),
                "systemctl start hubspot-connect" => self.start(),
                line => {
                    let ended = run_line(self.folder(), line, &self.variables);
                    assert!(ended.status.success(), "{line}: {ended:?}");
                }
            }
        }
    }

    /// Returns the connected ones of two accounts.
    async fn accounts(&self) -> Vec<u64> {
        let mut found = Vec::new();
        for account in [ACME, GLOBEX] {
            let stored = self.database.connections(&format!("portal_id = {account}")).await;
            found.extend((stored > 0).then_some(account));
        }
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_commands_back_up_a_running_service_and_restore_it() {
    let Some(mut scene) = Scene::set().await else { return };
    scene.connect(ACME).await;
    scene.follow("Backups");
    scene.connect(GLOBEX).await;

    scene.follow("Restore a backup");

    assert_eq!(scene.accounts().await, [ACME]);
    scene.connect(GLOBEX).await;
    assert!(scene.succeeds(&["db", "check"]).contains("every stored token has its key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_write_ahead_logs_are_not_applied_to_a_restored_database() {
    let Some(mut scene) = Scene::set().await else { return };
    scene.connect(ACME).await;
    scene.follow("Backups");
    scene.connect(GLOBEX).await;
    scene.process.take().unwrap().crash();
    let [file, log, shared] = ["test.db", "test.db-wal", "test.db-shm"].map(|name| scene.file(name));
    let crashed = (fs::read(&file).unwrap(), fs::read(&log).unwrap());

    fs::copy(scene.file("backup.db"), &file).unwrap();
    fs::remove_file(&shared).unwrap();
    let is_damaged = scene.run(&["db", "check"]).code == Some(1);
    assert!(is_damaged || scene.accounts().await == [ACME, GLOBEX], "a copy by hand is damaged or undone");

    fs::write(&file, &crashed.0).unwrap();
    fs::write(&log, &crashed.1).unwrap();
    scene.succeeds(&["db", "restore", "backup.db"]);
    assert!(!log.exists(), "no log is left for the restored file");
    scene.succeeds(&["db", "check"]);
    assert_eq!(scene.accounts().await, [ACME]);

    for (kept, old) in [("test.db.before-restore", "old.db"), ("test.db.before-restore-wal", "old.db-wal")] {
        fs::rename(scene.file(kept), scene.file(old)).unwrap();
    }
    scene.succeeds(&["db", "restore", "old.db"]);
    assert_eq!(scene.accounts().await, [ACME, GLOBEX], "the kept files have all that was written");
    scene.start();
    scene.connect(ACME).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_private_and_overwrite_nothing() {
    let Some(scene) = Scene::set().await else { return };
    scene.connect(ACME).await;
    scene.succeeds(&["db", "backup", "backup.db"]);
    let backup = fs::read(scene.file("backup.db")).unwrap();
    assert_eq!(mode_of(&scene.file("backup.db")), 0o600);
    scene.refuses(&["db", "backup", "backup.db"], "backup.db exists and is not overwritten");
    assert!(fs::read(scene.file("backup.db")).unwrap() == backup);
    scene.refuses(&["db", "backup", "no/such/folder/backup.db"], "no/such/folder/backup.db");
    // A path like this is a URL for SQLite, of a database in memory.
    scene.succeeds(&["db", "backup", "file:backup.db?mode=memory"]);
    assert!(scene.file("file:backup.db?mode=memory").metadata().unwrap().len() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_refuse_a_database_in_use_and_files_that_are_no_backup() {
    let Some(mut scene) = Scene::set().await else { return };
    scene.connect(ACME).await;
    scene.succeeds(&["db", "backup", "backup.db"]);
    scene.refuses(&["db", "restore", "backup.db"], "another process serves from this SQLite file");
    scene.stop();
    let open = scene.database.connect().await;
    open.execute_unprepared("SELECT 1 FROM sqlite_master").await.unwrap();
    scene.refuses(&["db", "restore", "backup.db"], "another process has the database open");
    open.close().await.unwrap();

    let whole = fs::read(scene.file("backup.db")).unwrap();
    let mut harmed = whole.clone();
    harmed[whole.len() / 2..].fill(0xa5);
    for (name, bytes, why) in [
        ("harmed.db", &harmed[..], "harmed.db is damaged"),
        ("half.db", &whole[..whole.len() / 2], "half.db is damaged"),
        ("text.db", b"dear diary, nothing happened today\n".as_slice(), "text.db is damaged"),
        ("empty.db", b"", "empty.db has no tables of hubspot-connect"),
    ] {
        fs::write(scene.file(name), bytes).unwrap();
        scene.refuses(&["db", "restore", name], why);
    }
    scene.refuses(&["db", "restore", "missing.db"], "missing.db: No such file");
    assert!(!scene.file("test.db.before-restore").exists());
    assert_eq!(scene.accounts().await, [ACME], "nothing was replaced");

    scene.succeeds(&["db", "restore", "backup.db"]);
    scene.refuses(&["db", "restore", "backup.db"], "test.db.before-restore exists and is not overwritten");
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_databases_have_the_owner_of_the_replaced_one() {
    let Some(mut scene) = Scene::set().await else { return };
    scene.succeeds(&["db", "backup", "backup.db"]);
    scene.stop();
    let (file, lock) = (scene.file("test.db"), scene.file("test.db.lock"));
    fs::remove_file(&lock).unwrap();
    let owner = if geteuid().is_root() { 65_531 } else { geteuid().as_raw() };
    std::os::unix::fs::chown(&file, Some(owner), None).unwrap();
    scene.succeeds(&["db", "restore", "backup.db"]);
    assert_eq!(mode_of(&file), 0o600);
    assert_eq!([file, lock].map(|file| file.metadata().unwrap().uid()), [owner; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_no_query_meets_is_found() {
    let Some(mut scene) = Scene::set().await else { return };
    scene.connect(ACME).await;
    let root = format!("SELECT rootpage FROM sqlite_master WHERE name = '{}'", sql::SESSIONS);
    let at = usize::try_from(scene.database.number(&root).await - 1).unwrap() * 4096;
    scene.stop();
    for command in [&["doctor"][..], &["db", "check"], &["db", "check", "--quick"]] {
        scene.succeeds(command);
    }
    let mut bytes = fs::read(scene.file("test.db")).unwrap();
    bytes[at..at + 4096].fill(0xa5);
    fs::write(scene.file("test.db"), bytes).unwrap();
    for command in [&["doctor"][..], &["db", "check"], &["db", "check", "--quick"]] {
        let ended = scene.run(command);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.contains("damaged") || said.contains("malformed"), "{said}");
    }
    assert_eq!(scene.run(&["db", "backup", "backup.db"]).code, Some(1));
    assert!(!scene.file("backup.db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_checked_and_left_to_its_own_tools() {
    let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
    let database = TestDatabase::migrated().await;
    if database.is_sqlite() {
        return;
    }
    let variables = settle(&hubspot, &database, &[]);
    let folder = database.folder.path();
    let checked = run_in(folder, &["db", "check"], &variables);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    for (command, tool) in [("backup", "pg_dump"), ("restore", "pg_restore")] {
        let refused = run_in(folder, &["db", command, "backup.db"], &variables);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(tool), "{refused:?}");
    }
    assert!(!folder.join("backup.db").exists());
}

fn mode_of(file: &Path) -> u32 {
    file.metadata().unwrap().permissions().mode() & 0o777
}
