//! `init`: a private `.env` that works at once, and never the loss of an existing one.

use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::TestApp;
use crate::harness::process::{BINARY, CommandOutput, changed, run_in, run_with_input, without};

const SECRET: &str = "fake-client-secret";
const INIT: [&str; 4] = ["init", "--client-id", "fake-client-id", "--stdin"];

/// Returns the variables without those that `init` writes.
fn unconfigured(app: &TestApp) -> Vec<(String, String)> {
    let written = ["HUBSPOT_CLIENT_ID", "HUBSPOT_CLIENT_SECRET", "ENCRYPTION_KEYS", "APP_SECRET"];
    written.iter().fold(app.variables.clone(), |variables, name| without(&variables, name))
}

fn assert_ends(ended: &CommandOutput, code: i32, said: &str) {
    let text = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(code), "{text}");
    assert!(text.contains(said), "{said}: {text}");
    assert!(!text.contains(SECRET) && !text.contains("panicked"), "{text}");
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn init_writes_a_private_env_file_and_ends_with_the_findings_of_doctor() {
    let app = TestApp::start().await;
    let variables = unconfigured(&app);
    let folder = tempfile::tempdir().unwrap();
    let ended = run_with_input(folder.path(), &INIT, &variables, &format!("{SECRET}\n"));
    assert_ends(&ended, 0, "ok    hubspot: reachable, credentials accepted");
    let redirect = format!("\"redirectUrls\": [\"{}/auth/hubspot/callback\"]", app.base);
    assert!(ended.stdout.contains(&redirect), "{}", ended.stdout);
    assert!(ended.stdout.contains("\"requiredScopes\": [\"oauth\""), "{}", ended.stdout);
    assert_eq!(ended.stderr, "");

    assert_eq!(names_in(folder.path()), [".env"]);
    let mode = std::fs::metadata(folder.path().join(".env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let doctor = run_in(folder.path(), &["doctor"], &variables);
    assert!(ended.stdout.ends_with(&doctor.stdout), "{} {}", ended.stdout, doctor.stdout);

    let other = tempfile::tempdir().unwrap();
    run_with_input(other.path(), &INIT, &variables, SECRET);
    let text = |folder: &Path| std::fs::read_to_string(folder.join(".env")).unwrap();
    let key =
        |folder| text(folder).lines().find(|line| line.starts_with("ENCRYPTION_KEYS=")).unwrap().to_owned();
    assert_ne!(key(folder.path()), key(other.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn init_takes_scopes_and_the_public_url() {
    let app = TestApp::start().await;
    let variables = without(&without(&unconfigured(&app), "PUBLIC_URL"), "HUBSPOT_SCOPES");
    let folder = tempfile::tempdir().unwrap();
    let scopes = "oauth crm.objects.contacts.read";
    let flags = ["--public-url", "https://connect.example.com", "--scopes", scopes];
    let ended = run_with_input(folder.path(), &[&INIT[..], &flags].concat(), &variables, SECRET);
    assert_ends(&ended, 0, "[\"https://connect.example.com/auth/hubspot/callback\"]");
    assert_ends(&ended, 0, "[\"oauth\",\"crm.objects.contacts.read\"]");
    let file = std::fs::read_to_string(folder.path().join(".env")).unwrap();
    assert!(file.contains("\nPUBLIC_URL=https://connect.example.com\n"), "{file}");
    assert!(file.contains("\nHUBSPOT_SCOPES=oauth,crm.objects.contacts.read\n"), "{file}");
}

#[tokio::test(flavor = "multi_thread")]
async fn init_keeps_its_file_when_hubspot_rejects_the_credentials() {
    let app = TestApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    let ended = run_with_input(folder.path(), &INIT, &unconfigured(&app), "another-secret");
    assert_ends(&ended, 1, "WRONG hubspot: HubSpot rejects the credentials");
    assert_eq!(names_in(folder.path()), [".env"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn init_refuses_settings_that_the_environment_overrides() {
    let app = TestApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    let variables = changed(&unconfigured(&app), "ENCRYPTION_KEYS", "of-the-environment");
    let refused = run_with_input(folder.path(), &INIT, &variables, SECRET);
    assert_ends(&refused, 1, "ENCRYPTION_KEYS is set in the environment");
    assert!(names_in(folder.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn init_never_changes_an_existing_env_file() {
    let app = TestApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    let env = folder.path().join(".env");
    std::fs::write(&env, "# mine\n").unwrap();
    let init = || run_with_input(folder.path(), &INIT, &unconfigured(&app), SECRET);
    assert_ends(&init(), 1, ".env exists and is not changed");
    assert_eq!(std::fs::read_to_string(&env).unwrap(), "# mine\n");
    std::fs::remove_file(&env).unwrap();
    symlink("nowhere", &env).unwrap();
    assert_ends(&init(), 1, ".env exists and is not changed");
    assert_eq!(names_in(folder.path()), [".env"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn init_writes_nothing_that_the_service_would_refuse() {
    let app = TestApp::start().await;
    let variables = unconfigured(&app);
    let folder = tempfile::tempdir().unwrap();
    let scopes = [&INIT[..], &["--scopes", "crm.objects.contacts.read"]].concat();
    let url = [&INIT[..], &["--public-url", "connect.example.com"]].concat();
    let no_url = without(&without(&variables, "PUBLIC_URL"), "HUBSPOT_SCOPES");
    for (arguments, input, said) in [
        (&scopes[..], SECRET, "HUBSPOT_SCOPES must contain the scope `oauth`"),
        (&url, SECRET, "PUBLIC_URL must be a URL"),
        (&INIT, "", "HUBSPOT_CLIENT_SECRET is not set"),
        (&INIT, "two words", "HUBSPOT_CLIENT_SECRET may contain"),
        (&INIT, "two\nAPP_SECRET=lines", "HUBSPOT_CLIENT_SECRET may contain"),
        (&["init"], SECRET, "standard input is not a terminal"),
    ] {
        assert_ends(&run_with_input(folder.path(), arguments, &no_url, input), 1, said);
    }
    let both = changed(&variables, "APP_SECRET_FILE", "/nowhere");
    assert_ends(&run_with_input(folder.path(), &INIT, &both, SECRET), 1, "APP_SECRET_FILE are both set");
    assert!(names_in(folder.path()).is_empty());
}

/// A terminal on which `init` runs, followed by `stty`.
struct Terminal {
    child: Child,
    seen: String,
}

impl Terminal {
    fn start(folder: &Path, variables: &[(String, String)]) -> Self {
        let child = Command::new("script")
            .args(["--quiet", "--command", &format!("{BINARY} init; echo code $?; stty -a"), "/dev/null"])
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("SHELL", "/bin/sh")
            .envs(variables.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, seen: String::new() }
    }

    fn types(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until the terminal shows a text.
    fn until(&mut self, text: &str) {
        let mut bytes = [0; 1024];
        while !self.seen.contains(text) {
            let count = self.child.stdout.as_mut().unwrap().read(&mut bytes).unwrap();
            assert!(count > 0, "{text}: {}", self.seen);
            self.seen += &String::from_utf8_lossy(&bytes[..count]);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn init_asks_on_a_terminal_and_does_not_show_the_secret() {
    let app = TestApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(folder.path(), &unconfigured(&app));
    terminal.until("Client id of your HubSpot app: ");
    terminal.types("fake-client-id\n");
    terminal.until("Client secret (not shown): ");
    terminal.types("fake-client-secret\n");
    terminal.until(" echo ");
    let seen = &terminal.seen;
    assert!(seen.contains("fake-client-id") && seen.contains("credentials accepted"), "{seen}");
    assert!(seen.contains("code 0") && !seen.contains(SECRET), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_init_writes_nothing_and_the_terminal_shows_input_again() {
    let app = TestApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(folder.path(), &unconfigured(&app));
    terminal.until("Client id of your HubSpot app: ");
    terminal.types("fake-client-id\n");
    terminal.until("Client secret (not shown): ");
    terminal.types("fake-cl\u{3}");
    terminal.until(" echo ");
    let seen = &terminal.seen;
    assert!(seen.contains("interrupted; nothing was written") && seen.contains("code 1"), "{seen}");
    assert!(seen.contains("\nisig ") && names_in(folder.path()).is_empty(), "{seen}");
}
