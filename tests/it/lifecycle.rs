//! The process as the real binary with the real clock: it works in the background, stops in order, survives a crash.

use std::time::Duration;

use fake_hubspot::{FakeHubSpot, Fault, Kind, Options, Rule};
use serde_json::Value;

use crate::harness::app::{ACME, settle};
use crate::harness::browser::Browser;
use crate::harness::database::TestDatabase;
use crate::harness::process::{Process, changed};
use crate::harness::wire::{Wire, values};
use crate::harness::{TestApp, eventually, sql};

struct Scene {
    hubspot: FakeHubSpot,
    database: TestDatabase,
    variables: Vec<(String, String)>,
}

impl Scene {
    async fn set(change: impl FnOnce(&mut Options)) -> Self {
        let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
        hubspot.options(change);
        let database = TestDatabase::fresh().await;
        let variables = settle(&hubspot, &database, &[]);
        Self { hubspot, database, variables }
    }

    /// Makes every refresh due now, even those that are leased.
    async fn make_due(&self) {
        self.database.update(sql::REFRESH_JOBS, "run_at = 0, lease_until = NULL").await;
    }

    async fn until_generation(&self, wanted: i64) {
        eventually("the refresh", || async { self.database.generation().await >= wanted }).await;
    }

    async fn until_calls(&self, wanted: usize) {
        eventually("the call", || async { self.hubspot.calls(Kind::Refresh).len() >= wanted }).await;
    }
}

fn strict(options: &mut Options) {
    options.rotate_refresh_tokens = true;
    options.reject_reused_refresh_tokens = true;
}

/// PostgreSQL sends notices while its tables are created.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_is_logged_with_version_database_and_migrations() {
    let scene = Scene::set(|_| {}).await;
    let variables = changed(&scene.variables, "PUBLIC_URL", "https://connect.example.com");
    let process = Process::serve(&changed(&variables, "LOG_FORMAT", "json"));
    eventually("the line", || async { process.log().contains("\"ready\"") }).await;
    let log = process.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let line = |message: &str| lines.iter().find(|line| line["message"] == message).expect(message);
    let ready = line("ready");
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(ready["database"], if scene.database.is_sqlite() { "sqlite" } else { "postgresql" });
    assert_eq!(ready["migrations"], migrations::all().len());
    assert_eq!(ready["mode"], "all");
    let changes = line("schema migrated")["changes"].as_str().unwrap();
    assert_eq!(changes.split(", ").count(), migrations::all().len());
    let warning =
        "PUBLIC_URL is https and TRUSTED_PROXIES is empty; all clients behind the proxy share one rate limit";
    assert_eq!(line(warning)["level"], "WARN");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_refreshed_in_the_background() {
    let scene = Scene::set(|options| {
        strict(options);
        options.access_token_seconds = 10;
    })
    .await;
    let process = Process::serve(&scene.variables);
    let browser = process.connected(&scene.hubspot, ACME).await;
    scene.until_generation(3).await;
    let status = browser.status().await;
    assert_eq!(status["status"], "active", "{status}");
    let calls = scene.hubspot.calls(Kind::Refresh);
    for pair in calls.windows(2) {
        let apart = pair[1].at_ms - pair[0].at_ms;
        assert!((4_500..9_500).contains(&apart), "{apart} ms apart");
    }
    assert!(calls.iter().all(|call| !call.superseded && !call.overlapping));
    let lines: Vec<Value> =
        process.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let refreshed = lines.iter().find(|line| line["message"] == "refreshed").expect("a line of a refresh");
    assert_eq!(refreshed["span"]["name"], "refresh", "what a job logs names the job: {refreshed}");
    assert_eq!(refreshed["span"]["connection"], refreshed["connection"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_finishes_refreshes_in_progress() {
    let scene = Scene::set(strict).await;
    let process = Process::serve(&scene.variables);
    let browser = process.connected(&scene.hubspot, ACME).await;
    let delay = Fault::DelayAfterIssue(Duration::from_secs(2));
    scene.hubspot.script(Rule::once(Kind::Refresh, delay));
    scene.make_due().await;
    scene.until_calls(1).await;
    process.ask_to_stop();
    assert!(process.wait().success());
    assert_eq!(scene.database.generation().await, 2, "the new token is stored");
    let process = Process::serve(&scene.variables);
    scene.make_due().await;
    scene.until_generation(3).await;
    assert_eq!(Browser::status(&browser).await["status"], "active", "{}", process.log());
    assert!(scene.hubspot.journal().iter().all(|call| !call.superseded));
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_finishes_callbacks_in_progress() {
    let scene = Scene::set(|_| {}).await;
    let process = Process::serve(&scene.variables);
    let browser = Browser::new(&process.base);
    let authorize = browser.start(None).await;
    let back = scene.hubspot.decide(&authorize, crate::harness::app::approve(ACME)).unwrap();
    let delay = Fault::DelayAfterIssue(Duration::from_secs(1));
    scene.hubspot.script(Rule::once(Kind::Exchange, delay));
    let callback = tokio::spawn(async move { browser.get(&back).await });
    eventually("the exchange", || async { scene.hubspot.calls(Kind::Exchange).len() == 1 }).await;
    process.ask_to_stop();
    assert_eq!(callback.await.unwrap().status, 303, "its browser is answered");
    assert!(process.wait().success());
    assert_eq!(scene.database.count(sql::CONNECTIONS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_of_an_idle_service_is_quick() {
    let scene = Scene::set(|_| {}).await;
    let process = Process::serve(&scene.variables);
    process.connected(&scene.hubspot, ACME).await;
    let began = std::time::Instant::now();
    process.ask_to_stop();
    assert!(process.wait().success());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn continuous_requests_on_one_connection_do_not_delay_shutdown() {
    let scene = Scene::set(|_| {}).await;
    let process = Process::serve(&scene.variables);
    let host = process.base.trim_start_matches("http://").to_owned();
    let mut client = Wire::to(&process.base).await;
    let question = format!("GET /api/hubspot/status HTTP/1.1\r\nHost: {host}\r\n\r\n");
    client.say(&question).await;
    assert_eq!(values(&client.head().await, "connection"), [""; 0], "it may ask again");
    process.ask_to_stop();
    let closed = async {
        // Between two requests the server may close the connection.
        while client.try_say(question.as_bytes()).await {
            match client.try_hear("\r\n\r\n").await {
                Some(head) if values(&head, "connection") == ["close"] => break,
                Some(_) => {}
                None => return,
            }
        }
        client.rest().await;
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the connection closes");
    assert!(process.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_middleware_sends_connection_close_during_shutdown() {
    let app = TestApp::start().await;
    let (name, session) = app.connected(ACME).await.cookie("__Host-hsc_sid").expect("a session");
    // The session is no longer in memory.
    let app = app.restarted(&[]).await;
    app.store.database().close().await;
    let host = app.base.trim_start_matches("http://").to_owned();
    let question =
        format!("GET /api/hubspot/status HTTP/1.1\r\nHost: {host}\r\nCookie: {name}={session}\r\n\r\n");
    for (is_stopping, goodbye) in [(false, &[][..]), (true, &["close"])] {
        if is_stopping {
            app.services.begin_stop();
        }
        let mut client = Wire::to(&app.base).await;
        client.say(&question).await;
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "the session layer has no database: {answer}");
        assert_eq!(values(&answer, "connection"), goodbye, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_refresh_is_recovered() {
    let scene = Scene::set(|_| {}).await;
    let process = Process::serve(&scene.variables);
    let browser = process.connected(&scene.hubspot, ACME).await;
    scene.hubspot.script(Rule::once(Kind::Refresh, Fault::Hang(Duration::from_secs(60))));
    scene.make_due().await;
    scene.until_calls(1).await;
    process.crash();
    assert_eq!(scene.database.generation().await, 1);
    let began = std::time::Instant::now();
    let process = Process::serve(&scene.variables);
    let ready = Browser::new(&process.admin).get("/readyz").await;
    assert_eq!(ready.status, 200);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    if !scene.database.is_sqlite() {
        // On PostgreSQL the holder of the lease might still be alive, so it has to expire; a minute is too long to
        // wait.
        scene.make_due().await;
    }
    scene.until_generation(2).await;
    assert_eq!(browser.status().await["status"], "active");
    assert_eq!(scene.database.count(sql::REFRESH_JOBS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_callback_leaves_nothing_partial() {
    let scene = Scene::set(|_| {}).await;
    let process = Process::serve(&scene.variables);
    let browser = Browser::new(&process.base);
    let authorize = browser.start(None).await;
    let back = scene.hubspot.decide(&authorize, crate::harness::app::approve(ACME)).unwrap();
    scene.hubspot.script(Rule::once(Kind::Exchange, Fault::Hang(Duration::from_secs(60))));
    let callback = tokio::spawn(browser.request(reqwest::Method::GET, &back).send());
    eventually("the exchange", || async { scene.hubspot.calls(Kind::Exchange).len() == 1 }).await;
    process.crash();
    assert!(callback.await.unwrap().is_err());
    let process = Process::serve(&scene.variables);
    for table in [sql::CONNECTIONS, sql::REFRESH_JOBS] {
        assert_eq!(scene.database.count(table).await, 0, "{table}");
    }
    let again = browser.get(&back).await;
    assert_eq!(again.status, 303);
    assert_eq!(scene.hubspot.calls(Kind::Exchange).len(), 1, "a code is sent once, whatever became of it");
    process.connected(&scene.hubspot, ACME).await;
}
