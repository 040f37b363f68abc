//! The command line: exit codes, and clear messages instead of panics.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::json;
use test_support::free_port;

use crate::harness::app::{ACME, GLOBEX, approve};
use crate::harness::host::Host;
use crate::harness::process::{
    CommandOutput, Process, STRANGER, changed, run, run_as_stranger, run_into, without,
};
use crate::harness::{Browser, TestApp, sql};

fn assert_ends(ended: &CommandOutput, code: i32, said: &str) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    let text = format!("{}{}", ended.stdout, ended.stderr);
    assert!(text.contains(said), "{said}: {text}");
    assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{text}");
}

#[test]
fn wrong_arguments_print_the_usage_and_exit_with_2() {
    for arguments in [
        &["nonsense"][..],
        &["serve", "--nonsense"],
        &["serve", "--only", "everything"],
        &["db"],
        &["db", "nonsense"],
        &["db", "rollback", "--steps", "many"],
        &["db", "rollback", "--steps", "-1"],
        &["keys"],
        &["connections", "explain"],
        &["connections", "explain", "soon"],
        &["print", "money"],
        &["--nonsense"],
    ] {
        let ended = run(arguments, &[]);
        assert_ends(&ended, 2, "--help");
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn help_and_version_exit_with_0() {
    assert_ends(&run(&["--help"], &[]), 0, "serve");
    assert_ends(&run(&["--version"], &[]), 0, env!("CARGO_PKG_VERSION"));
    assert_ends(&run(&["db", "--help"], &[]), 0, "migrate");
}

#[test]
fn commands_without_configuration_needs_run_without_it() {
    assert_ends(&run(&["print", "env"], &[]), 0, "HUBSPOT_CLIENT_ID=");
    assert_ends(&run(&["print", "configuration"], &[]), 0, "| `HUBSPOT_CLIENT_ID` |");
    assert_ends(&run(&["print", "errors"], &[]), 0, "| `flow_expired` |");
    let keys = run(&["keys", "generate"], &[]);
    assert_ends(&keys, 0, "ENCRYPTION_KEYS=");
    assert_ne!(keys.stdout, run(&["keys", "generate"], &[]).stdout);
}

#[test]
fn closed_pipes_end_quietly_and_other_write_errors_are_reported() {
    let (reader, gone) = std::io::pipe().unwrap();
    drop(reader);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    for (ended, said) in [
        (run_into(gone, &["print", "errors"]), ""),
        (run_into(full, &["print", "errors"]), "hubspot-connect: standard output: No space left on device"),
    ] {
        let complaint = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{complaint}");
        assert!(complaint.starts_with(said) && complaint.is_empty() == said.is_empty(), "{complaint}");
    }
}

#[test]
fn commands_name_missing_settings() {
    for arguments in [
        &[][..],
        &["serve"],
        &["db", "status"],
        &["keys", "status"],
        &["connections", "list"],
        &["doctor"],
        &["healthcheck"],
    ] {
        assert_ends(&run(arguments, &[]), 1, "HUBSPOT_CLIENT_ID is not set");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_without_a_database_fail_with_a_clear_message() {
    let app = TestApp::start().await;
    for url in
        ["postgres://somebody:hunter2@127.0.0.1:9/nothing", "sqlite:///no/such/folder/test.db?mode=rwc"]
    {
        let variables = changed(&app.variables, "DATABASE_URL", url);
        let commands = [
            &["serve"][..],
            &["db", "status"],
            &["db", "migrate"],
            &["keys", "status"],
            &["connections", "list"],
            &["doctor"],
        ];
        // Each waits for the server as long as for one that is starting, so they run concurrently.
        let running = commands.map(|arguments| {
            let variables = variables.clone();
            (arguments, tokio::task::spawn_blocking(move || run(arguments, &variables)))
        });
        for (arguments, running) in running {
            let ended = running.await.unwrap();
            assert_ends(&ended, 1, "");
            assert!(
                ended.stderr.contains("cannot be opened") || ended.stdout.contains("cannot be opened"),
                "{arguments:?}: {ended:?}"
            );
            assert!(!format!("{ended:?}").contains("hunter2"), "{arguments:?}: {ended:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_tables_is_reported_as_such() {
    let app = TestApp::start().await;
    let fresh = crate::harness::database::TestDatabase::fresh().await;
    let variables = changed(&app.variables, "DATABASE_URL", &fresh.url);
    assert_ends(&run(&["db", "status"], &variables), 1, "missing");
    for command in [
        &["api-keys", "create", "backend", "--scope", "proxy"][..],
        &["api-keys", "list"],
        &["connections", "list"],
        &["export"],
        &["keys", "status"],
    ] {
        assert_ends(&run(command, &variables), 1, "hubspot-connect db migrate");
    }
    assert!(files_of(&fresh.folder).is_empty(), "what only reads makes no file");
}

/// Returns every file of a database's folder with its content, except SQLite's shared memory, where any reader writes.
fn files_of(folder: &tempfile::TempDir) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap);
    let files = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let files = files.filter(|(name, _)| !name.ends_with("-shm"));
    files.map(|(name, path)| (name, std::fs::read(path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_changes_nothing_and_accepts_a_database_without_tables() {
    let app = TestApp::start().await;
    let fresh = crate::harness::database::TestDatabase::fresh().await;
    let variables = changed(&app.variables, "DATABASE_URL", &fresh.url);
    let will = if fresh.is_sqlite() { "`serve` creates" } else { "`serve` applies" };
    assert_ends(&run(&["doctor"], &variables), 0, will);
    let by_hand = changed(&variables, "DATABASE_AUTO_MIGRATE", "false");
    assert_ends(&run(&["doctor"], &by_hand), 1, "hubspot-connect db migrate");
    assert!(files_of(&fresh.folder).is_empty());
    if fresh.is_sqlite() {
        let no_creation = changed(&variables, "DATABASE_URL", fresh.url.trim_end_matches("?mode=rwc"));
        assert_ends(&run(&["doctor"], &no_creation), 1, "?mode=rwc");
        std::fs::set_permissions(fresh.folder.path(), Permissions::from_mode(0o555)).unwrap();
        let stranger = run_as_stranger(fresh.folder.path(), &["doctor"], &variables);
        std::fs::set_permissions(fresh.folder.path(), Permissions::from_mode(0o700)).unwrap();
        assert_ends(&stranger, 1, "cannot be created in");
        std::fs::write(fresh.folder.path().join("test.db"), "").unwrap();
        assert_ends(&run(&["doctor"], &variables), 0, "`serve` applies");
        assert_eq!(files_of(&fresh.folder).values().map(Vec::len).collect::<Vec<_>>(), [0]);
    } else {
        let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'public'";
        assert_eq!(fresh.number(tables).await, 0);
    }

    app.connected(ACME).await;
    let before = files_of(&app.database.folder);
    assert_ends(&run(&["doctor"], &app.variables), 0, "every stored token has its key");
    assert!(files_of(&app.database.folder) == before, "beside the service");
    let (database, variables, hubspot, _) = app.stopped().await;
    let before = files_of(&database.folder);
    assert_ends(&run(&["doctor"], &variables), 0, "every stored token has its key");
    assert!(files_of(&database.folder) == before, "after its stop");
    let process = Process::serve(&variables);
    process.connected(&hubspot, ACME).await;
    process.crash();
    let before = files_of(&database.folder);
    assert_ends(&run(&["doctor"], &variables), 0, "every stored token has its key");
    assert!(files_of(&database.folder) == before, "after a crash");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_warns_that_safari_drops_localhost_cookies() {
    let app = TestApp::start().await;
    assert_ends(&run(&["doctor"], &app.variables), 0, "warn  cookies: Safari");
    let public = changed(&app.variables, "PUBLIC_URL", "https://connect.example.com");
    assert!(!run(&["doctor"], &public).stdout.contains("Safari"));
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_warns_of_https_without_trusted_proxies() {
    let app = TestApp::start().await;
    let public = changed(&app.variables, "PUBLIC_URL", "https://connect.example.com");
    assert_ends(
        &run(&["doctor"], &public),
        0,
        "warn  proxies: PUBLIC_URL is https and TRUSTED_PROXIES is empty",
    );
    for fine in [&app.variables, &changed(&public, "TRUSTED_PROXIES", "10.0.0.0/8")] {
        assert!(!run(&["doctor"], fine).stdout.contains("TRUSTED_PROXIES"));
    }
}

/// A file of root's beside the database, or in its place, would keep the service from starting.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_run_by_root_leaves_no_file_of_its_own() {
    let app = TestApp::start().await;
    let (database, variables, hubspot, _) = app.stopped().await;
    if !database.is_sqlite() || !rustix::process::geteuid().is_root() {
        return;
    }
    let process = Process::serve(&variables);
    process.connected(&hubspot, ACME).await;
    process.crash();
    let folder = database.folder.path();
    let paths = || std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    for path in paths().iter().map(|path| &**path).chain([folder]) {
        std::os::unix::fs::chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    for memory in ["as it was left", "removed"] {
        if memory == "removed" {
            std::fs::remove_file(folder.join("test.db-shm")).unwrap();
        }
        assert_ends(&run(&["doctor"], &variables), 0, "every stored token has its key");
        for path in paths() {
            assert_eq!(path.metadata().unwrap().uid(), STRANGER, "{memory}: {}", path.display());
        }
    }
    let service = run_as_stranger(folder, &["db", "status"], &variables);
    assert_ends(&service, 0, "");
    let absent = folder.join("absent.db");
    let absent_url = format!("sqlite://{}?mode=rwc", absent.display());
    assert_ends(
        &run(&["doctor"], &changed(&variables, "DATABASE_URL", &absent_url)),
        0,
        "`serve` creates it",
    );
    assert!(!absent.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_read_the_database_while_the_service_runs() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    app.connected(GLOBEX).await;
    let id = browser.status().await["connections"][0]["id"].as_str().unwrap().to_owned();
    let list = run(&["connections", "list"], &app.variables);
    assert_ends(&list, 0, "project default  user none  account 1234567  acme.example");
    assert_eq!(list.stdout.lines().count(), 2);
    assert_ends(&run(&["connections", "explain", &id], &app.variables), 0, "1234567 (acme.example)");
    let unknown = "00000000-0000-4000-8000-000000000000";
    assert_ends(&run(&["connections", "explain", unknown], &app.variables), 1, "no connection has this id");
    assert_ends(&run(&["keys", "status"], &app.variables), 0, "encrypts  2 stored token(s)");
    assert_ends(&run(&["doctor"], &app.variables), 0, "credentials accepted");
    assert_ends(&run(&["healthcheck"], &app.variables), 0, "");
    let other = hubspot_connect::keyring::Keyring::generate();
    let wrong = changed(&app.variables, "ENCRYPTION_KEYS", other.expose());
    assert_ends(&run(&["keys", "status"], &wrong), 1, "MISSING");
    assert_ends(&run(&["doctor"], &wrong), 1, "2 stored token(s) need key");
    for ended in [list, run(&["keys", "status"], &app.variables)] {
        assert!(!ended.stdout.contains("na1-"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_listed_with_user_and_account_domain() {
    let host = Host::new(&[]).await;
    let session = host.make(json!({"external_user_id": "user_42"})).await;
    host.approve(&session, &host.page(), &host.app.browser(), approve(ACME)).await;
    let id = host.app.database.column(sql::ID).await;
    let list = run(&["connections", "list"], &host.app.variables);
    // The command uses the system's clock, by which a token of the test has expired.
    let line = format!(
        "{id}  degraded         project default  user user_42  account 1234567  acme.example  next refresh 20"
    );
    assert_ends(&list, 0, &line);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_detects_wrong_credentials_and_unreachable_hubspot() {
    let app = TestApp::start().await;
    let wrong = changed(&app.variables, "HUBSPOT_CLIENT_SECRET", "another-secret");
    let ended = run(&["doctor"], &wrong);
    assert_ends(&ended, 1, "rejects the credentials");
    assert!(!format!("{ended:?}").contains("another-secret"));
    let absent = changed(&app.variables, "HUBSPOT_API_URL", "http://127.0.0.1:9");
    assert_ends(&run(&["doctor"], &absent), 1, "provider_unreachable");
    let rotating = changed(&app.variables, "HUBSPOT_CLIENT_SECRET", "the-next-secret,fake-client-secret");
    assert_ends(&run(&["doctor"], &rotating), 0, "credentials accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_errors_name_the_address_and_its_variable() {
    let app = TestApp::start().await;
    let (database, variables, _hubspot, _) = app.stopped().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for name in ["SERVER_ADDR", "ADMIN_ADDR"] {
        let ended = run(&["serve"], &changed(&variables, name, &address));
        assert_ends(&ended, 1, name);
        assert!(ended.stderr.contains(&address), "{}", ended.stderr);
    }
    // An address of no machine here (RFC 5737).
    let ended = run(&["serve"], &changed(&variables, "SERVER_ADDR", "192.0.2.1:6001"));
    assert_ends(&ended, 1, "cannot listen on 192.0.2.1:6001");
    drop(database);
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_only_hosts_are_served() {
    let app = TestApp::start().await;
    let (_database, variables, _hubspot, _) = app.stopped().await;
    let port = TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap().port();
    let variables = changed(&variables, "SERVER_ADDR", &format!("[::1]:{port}"));
    let variables = changed(&variables, "PUBLIC_URL", &format!("http://localhost:{port}"));
    let process = Process::serve(&variables);
    let live = Browser::new(&format!("http://[::1]:{port}"));
    assert_eq!(live.get("/livez").await.status, 200);
    assert_eq!(run(&["healthcheck"], &variables).code, Some(0), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_admin_listener_is_not_opened() {
    let app = TestApp::start().await;
    let (_database, variables, _hubspot, _) = app.stopped().await;
    let built = TestApp::build(
        &changed(&variables, "ADMIN_ADDR", "off"),
        hubspot_connect::domain::clock::Clock::system(),
    )
    .await
    .unwrap();
    assert_eq!(built.admin_address(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_fails_without_a_service() {
    let app = TestApp::start().await;
    let (_database, variables, _hubspot, _) = app.stopped().await;
    let nowhere = changed(&variables, "SERVER_ADDR", &format!("127.0.0.1:{}", free_port()));
    assert_eq!(run(&["healthcheck"], &nowhere).code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_sqlite_file_is_refused() {
    let app = TestApp::start().await;
    if !app.database.is_sqlite() {
        return; // PostgreSQL may have several processes.
    }
    let (_database, variables, hubspot, _) = app.stopped().await;
    let first = Process::serve(&variables);
    let second = without(&changed(&variables, "ADMIN_ADDR", "off"), "SERVER_ADDR");
    let second = changed(&second, "SERVER_ADDR", &format!("127.0.0.1:{}", free_port()));
    assert_ends(&run(&["serve"], &second), 1, "another process serves from this SQLite file");
    first.connected(&hubspot, ACME).await;
    first.crash();
    Process::serve(&variables);
}
