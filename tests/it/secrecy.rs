//! Secrets do not leak: not into logs, metrics, pages or responses, and not into the visible state of a process.

use std::path::Path;

use fake_hubspot::{Decision, FakeHubSpot, Fault, Kind, Options, Rule};
use hubspot_connect::config::{LogFormat, Logging};
use hubspot_connect::telemetry;
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, HOST, approve, settle};
use crate::harness::browser::{Answer, parameter};
use crate::harness::database::TestDatabase;
use crate::harness::process::Process;
use crate::harness::watch::Watch;
use crate::harness::{Browser, TestApp};

/// Returns everything that was logged to files in this folder.
fn logged(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).expect("the folder of the log");
    entries.map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("a log")).collect()
}

const CANARY: &str = "na1-canary0-canary0-canary0";

/// Returns responses of HubSpot with a token in a place where an error would be logged.
fn spoilt_answers() -> Vec<Fault> {
    vec![
        Fault::Json(json!({"access_token": ["Ccanary0canary0canary0"], "refresh_token": CANARY})),
        Fault::Json(json!({"access_token": "Ccanary0canary0canary0\u{7}canary0", "refresh_token": CANARY})),
        Fault::Body {
            content_type: None,
            body: format!("{{\"access_token\":\"{CANARY}\",\"refresh_token\":"),
        },
        Fault::Oauth {
            status: 400,
            error: Some(CANARY.to_owned()),
            hubspot_status: Some(CANARY.to_owned()),
            message: format!("the token {CANARY} is not known"),
        },
        Fault::Status {
            status: 502,
            headers: vec![("retry-after".to_owned(), CANARY.to_owned())],
            body: CANARY.to_owned(),
        },
        Fault::Redirect { status: 307, location: format!("https://evil.example/?token={CANARY}") },
    ]
}

/// Does everything that users and attackers do with the service; returns the texts of pages and responses.
async fn whole_journey(hubspot: &FakeHubSpot, base: &str, watch: &mut Watch) -> Browser {
    let (browser, other) = (Browser::new(base), Browser::new(base));
    watch.secret(CANARY);
    watch.secret("Ccanary0canary0canary0");
    let mut answers: Vec<(String, Answer)> = Vec::new();
    for (origin, hub_id) in [(Some(HOST), ACME), (None, GLOBEX)] {
        let authorize = browser.start(origin).await;
        let back = hubspot.decide(&authorize, approve(hub_id)).expect("back");
        watch.secret(&parameter(&back, "code"));
        watch.secret(&parameter(&back, "state"));
        watch.cookies_of(&browser);
        answers.push(("a stranger's callback".to_owned(), other.get(&back).await));
        let done = browser.get(&back).await;
        watch.cookies_of(&browser);
        let handoff = browser.handoff(done.location()).await.json();
        if let Some(access) = handoff["message"]["access_token"].as_str() {
            watch.secret(access);
        }
        answers.push(("the callback again".to_owned(), browser.get(&back).await));
        answers.push(("the last page".to_owned(), browser.get(done.location()).await));
        answers.push(("the hand-off again".to_owned(), browser.handoff(done.location()).await));
        let tampered = back.replace("state=", "state=x");
        answers.push(("a tampered callback".to_owned(), browser.get(&tampered).await));
        let doubled = format!("{back}&state=a");
        answers.push(("a doubled callback".to_owned(), browser.get(&doubled).await));
    }
    for fault in spoilt_answers() {
        hubspot.script(Rule::once(Kind::Exchange, fault));
        let authorize = browser.start(Some(HOST)).await;
        let back = hubspot.decide(&authorize, approve(ACME)).expect("back");
        watch.secret(&parameter(&back, "code"));
        watch.cookies_of(&browser);
        let done = browser.get(&back).await;
        answers.push(("a failed callback".to_owned(), browser.get(done.location()).await));
        answers.push(("a failed hand-off".to_owned(), browser.handoff(done.location()).await));
    }
    let authorize = browser.start(Some(HOST)).await;
    let denied = hubspot.decide(&authorize, Decision::Deny).expect("back");
    watch.cookies_of(&browser);
    answers.push(("a denied callback".to_owned(), browser.get(&denied).await));
    for path in ["/", "/login", "/logout", "/api/hubspot/status", "/livez", "/nowhere"] {
        let path = format!("{path}?code={CANARY}&state={CANARY}&access_token={CANARY}");
        answers.push((path.clone(), browser.get(&path).await));
        answers.push((path.clone(), browser.post_json(&path, &json!({"token": CANARY})).await));
    }
    for (what, answer) in answers {
        watch.text(&what, &answer.body);
        watch.text(&what, answer.location());
    }
    browser
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_logs_contain_no_secret() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let logging = Logging {
        level: "trace".to_owned(),
        format: LogFormat::Json,
        file: Some(folder.path().join("service.log")),
    };
    telemetry::logs::install(&logging).expect("logs");
    let options = Options { rotate_refresh_tokens: true, ..Options::default() };
    let app =
        TestApp::with_hubspot(&[("HUBSPOT_PKCE", "s256"), ("SESSION_IDLE_SECONDS", "86400")], options).await;
    let mut watch = Watch::default();
    watch.settings_of(&app.variables);
    let browser = whole_journey(&app.hubspot, &app.base, &mut watch).await;
    app.advance(1261);
    app.refresh_due().await;
    for fault in spoilt_answers() {
        app.hubspot.script(Rule::always(Kind::Refresh, fault));
        app.advance(3700);
        app.refresh_due().await;
        app.hubspot.clear_script();
    }
    app.hubspot.script(Rule::once(
        Kind::Revoke,
        Fault::Status { status: 500, headers: Vec::new(), body: CANARY.to_owned() },
    ));
    let form_token = browser.csrf().await;
    browser.logout().await;
    let figures = app.browser().get(&format!("{}/metrics", app.admin)).await;
    assert_eq!(figures.status, 200);
    watch.text("the figures", &figures.body);
    watch.calls_of(&app.hubspot);

    let log = logged(folder.path());

    for happened in
        ["authorization started", "refreshed", "refresh failed; will retry", "authorization failed"]
    {
        assert!(log.contains(happened), "the log lacks: {happened}");
    }
    assert!(!log.contains(&form_token), "the log has a form token");
    watch.text("the log", &log);
    watch.assert_kept();
}

/// The libraries of the service too.
pub const EVERYTHING: (&str, &str) = ("LOG_LEVEL", "trace,hubspot_connect=trace");

/// Returns the variables of a process that logs at level trace, also to a file in this folder.
pub fn talkative(
    hubspot: &FakeHubSpot,
    database: &TestDatabase,
    folder: &Path,
    changes: &[(&str, &str)],
) -> Vec<(String, String)> {
    let file = folder.join("service.log");
    let file = file.to_str().expect("a readable path");
    let mut all = vec![("LOG_LEVEL", "trace"), ("LOG_FILE", file)];
    all.extend(changes);
    settle(hubspot, database, &all)
}

/// Stops it; returns everything that it printed, and logged to this folder.
pub fn said_by(service: Process, folder: &Path) -> String {
    let printed = service.log();
    service.ask_to_stop();
    assert!(service.wait().success());
    printed + &logged(folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_never_outputs_secrets() {
    let hubspot = FakeHubSpot::start(Options::default()).await.expect("a fake HubSpot");
    let database = TestDatabase::fresh().await;
    let folder = tempfile::tempdir().expect("a folder");
    let variables = talkative(&hubspot, &database, folder.path(), &[("HUBSPOT_PKCE", "s256"), EVERYTHING]);
    let service = Process::serve(&variables);
    let mut watch = Watch::default();
    watch.settings_of(&variables);
    let browser = whole_journey(&hubspot, &service.base, &mut watch).await;
    watch.cookies_of(&browser);
    for path in ["/metrics", "/readyz", "/livez"] {
        let answer = browser.get(&format!("{}{path}", service.admin)).await;
        assert_eq!(answer.status, 200, "{path}");
        watch.text(path, &answer.body);
    }
    browser.logout().await;
    watch.calls_of(&hubspot);

    let said = said_by(service, folder.path());

    for happened in ["authorization started", "stopped", "\"level\":\"TRACE\"", "\"target\":\"hyper"] {
        assert!(said.contains(happened), "the log lacks: {happened}");
    }
    watch.text("what the process said", &said);
    watch.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn client_input_cannot_break_log_lines() {
    let hubspot = FakeHubSpot::start(Options::default()).await.expect("a fake HubSpot");
    let database = TestDatabase::fresh().await;
    let folder = tempfile::tempdir().expect("a folder");
    let variables = talkative(&hubspot, &database, folder.path(), &[]);
    let service = Process::serve(&variables);
    let browser = Browser::new(&service.base);
    let odd = "%0d%0a%7B%22level%22%3A%22ERROR%22%7D%1b%5b31m%00%e2%80%ae";
    let state = parameter(&browser.start(None).await, "state");
    for path in [
        format!("/{odd}"),
        format!("/static/{odd}"),
        format!("/login?{odd}={odd}"),
        format!("/auth/hubspot/callback?error={odd}&error_description={odd}&state={state}"),
        format!("/auth/hubspot/done?problem={odd}&flow={odd}"),
        format!("/auth/hubspot/start?origin={odd}"),
    ] {
        let headers = [
            ("user-agent", "a\"}\t{\"level\":\"ERROR\""),
            ("referer", odd),
            ("x-request-id", "a\"}\t{\"level\":\"ERROR\""),
            ("cookie", "__Host-hsc_sid=\"}{\"level\":\"ERROR\""),
        ];
        browser.navigate(&path, &headers).await;
    }

    let said = said_by(service, folder.path());

    let mut count = 0;
    for line in said.lines() {
        let parsed: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        assert!(parsed["timestamp"].is_string() && parsed["target"].is_string(), "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
        count += 1;
    }
    assert!(count > 10, "{said}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_process_leaves_no_core_dump_and_no_secret_in_its_command_line() {
    let hubspot = FakeHubSpot::start(Options::default()).await.expect("a fake HubSpot");
    let database = TestDatabase::fresh().await;
    let folder = tempfile::tempdir().expect("a folder");
    let variables = talkative(&hubspot, &database, folder.path(), &[]);
    let service = Process::serve(&variables);
    let about = format!("/proc/{}", service.id());

    let limits = std::fs::read_to_string(format!("{about}/limits")).expect("its limits");
    let line = std::fs::read_to_string(format!("{about}/cmdline")).expect("its command line");

    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let figures: Vec<_> = core.expect("a limit").split_whitespace().skip(4).take(2).collect();
    assert_eq!(figures, ["0", "0"]);
    assert!(line.contains("hubspot-connect"), "{line}");
    let mut watch = Watch::default();
    watch.settings_of(&variables);
    assert!(watch.secrets.iter().all(|secret| !line.contains(secret)), "{line}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_process_are_private_to_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let hubspot = FakeHubSpot::start(Options::default()).await.expect("a fake HubSpot");
    let database = TestDatabase::fresh().await;
    let folder = tempfile::tempdir().expect("a folder");
    let variables = talkative(&hubspot, &database, folder.path(), &[]);
    let service = Process::serve(&variables);
    Browser::new(&service.base).start(None).await;
    for place in [folder.path(), database.folder.path()] {
        for entry in std::fs::read_dir(place).expect("a folder") {
            let entry = entry.expect("an entry");
            let mode = entry.metadata().expect("its mode").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.path());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_returned_only_by_the_hand_off_to_a_listed_page() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let done = browser.come_back(&app, Some(HOST), approve(ACME)).await;
    let refresh = app.hubspot.current_refresh_token(ACME).expect("a token");
    let handoff = browser.handoff(done.location()).await;
    let access = handoff.json()["message"]["access_token"].as_str().expect("a token").to_owned();
    assert!(!handoff.body.contains(&refresh), "{}", handoff.body);
    let admin = |path: &str| format!("{}{path}", app.admin);
    for path in [
        "/",
        "/login",
        "/logout",
        "/livez",
        "/api/hubspot/status",
        "/api/hubspot/status?wait=0",
        "/auth/hubspot/start",
        "/auth/hubspot/done",
        "/auth/hubspot/callback",
        done.location(),
        "/nowhere",
        &admin("/metrics"),
        &admin("/readyz"),
        &admin("/livez"),
    ] {
        let answer = browser.get(path).await;
        for token in [&access, &refresh] {
            assert!(!answer.body.contains(token.as_str()), "{path}: {}", answer.body);
            let shown = format!("{:?}", answer.headers);
            assert!(!shown.contains(token.as_str()), "{path}: {shown}");
        }
    }
    let id = browser.status().await["connections"][0]["id"].clone();
    for answer in [
        browser.handoff(done.location()).await,
        browser.disconnect(id.as_str().expect("an id")).await,
        browser.logout().await,
    ] {
        assert!(!answer.body.contains(&access) && !answer.body.contains(&refresh), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_the_service_get_no_token() {
    let app = TestApp::start().await;

    let done = app.browser().connect(&app, Some(&app.base), approve(ACME)).await;

    assert_eq!(done["origin"], app.base);
    assert_eq!(done["message"]["type"], "hubspot_auth_success");
    assert!(done["message"].get("access_token").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_contain_no_tokens_where_disabled() {
    for delivery in ["pickup_code", "handle"] {
        let app = TestApp::with(&[("TOKEN_DELIVERY", delivery)]).await;
        let done = app.browser().connect(&app, Some(HOST), approve(ACME)).await;
        assert_eq!(done["message"]["type"], "hubspot_auth_success", "{delivery}");
        assert!(done["message"].get("access_token").is_none(), "{delivery}");
    }
}
