//! Liveness and readiness: the reports to orchestrators and operators when another part fails.

use fake_hubspot::{Fault, Kind, Rule};
use serde_json::{Value, json};

use crate::harness::app::{ACME, HOST, LONG_SESSIONS};
use crate::harness::browser::problem_of;
use crate::harness::wire::Wire;
use crate::harness::{TestApp, sql};

async fn ready(app: &TestApp) -> (u16, Value) {
    let answer = app.browser().get(&format!("{}/readyz", app.admin)).await;
    (answer.status, answer.json())
}

async fn live(app: &TestApp) -> u16 {
    let ours = app.browser().get("/livez").await.status;
    let admin = app.browser().get(&format!("{}/livez", app.admin)).await.status;
    assert_eq!(ours, admin);
    ours
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_service_is_live_and_ready() {
    let app = TestApp::start().await;
    assert_eq!(live(&app).await, 200);
    let healthy = json!({"status": "ok", "database": "ok", "hubspot": "ok"});
    assert_eq!(ready(&app).await, (200, healthy));
}

/// Returns the status of a request for this host on the admin listener.
async fn admin_status(app: &TestApp, path: &str, hosts: &[&str]) -> String {
    let mut wire = Wire::to(&app.admin).await;
    let hosts: String = hosts.iter().map(|host| format!("host: {host}\r\n")).collect();
    wire.say(format!("GET {path} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n")).await;
    wire.rest().await.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_refuses_hosts_that_are_not_its_own() {
    let app = TestApp::with(&[("ADMIN_HOSTS", "connect.monitoring.svc, 192.0.2.7")]).await;
    let port = app.admin.rsplit_once(':').unwrap().1;
    for path in ["/metrics", "/readyz", "/nowhere"] {
        let served = if path == "/nowhere" { "404" } else { "200" };
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "[::1]", "connect.monitoring.svc", "192.0.2.7"] {
            assert_eq!(admin_status(&app, path, &[host]).await, served, "{path} {host}");
            let with_port = format!("{host}:{port}");
            assert_eq!(admin_status(&app, path, &[&with_port]).await, served, "{path} {with_port}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "monitoring.svc",
            "a.connect.monitoring.svc",
            "192.0.2.8",
            "[2001:db8::1]",
            "a b",
            "",
        ] {
            assert_eq!(admin_status(&app, path, &[host]).await, "421", "{path} {host}");
            assert_eq!(admin_status(&app, "/livez", &["evil.example"]).await, "200");
        }
        assert_eq!(admin_status(&app, path, &["localhost", "evil.example"]).await, "400", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_listener_on_all_addresses_accepts_any_ip_address_as_host() {
    let app = TestApp::with(&[("ADMIN_ADDR", "0.0.0.0:0")]).await;
    for host in ["10.1.2.3:9464", "[2001:db8::1]:9464", "127.0.0.1"] {
        assert_eq!(admin_status(&app, "/readyz", &[host]).await, "200", "{host}");
    }
    assert_eq!(admin_status(&app, "/metrics", &["evil.example"]).await, "421");
}

#[tokio::test(flavor = "multi_thread")]
async fn hubspot_failures_are_reported_and_keep_the_service_ready() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    for fault in [Fault::CloseBeforeAnswer, Fault::HalfBody] {
        app.advance(1261);
        app.hubspot.script(Rule::once(Kind::Refresh, fault));
        app.refresh_due().await;
        assert_eq!((live(&app).await, ready(&app).await.0), (200, 200));
        app.advance(301);
        app.refresh_due().await;
    }
    app.hubspot.options(|options| options.client_secrets = vec!["another".to_owned()]);
    app.advance(1261);
    app.refresh_due().await;
    let (status, body) = ready(&app).await;
    assert_eq!((status, &body["hubspot"]), (200, &json!("client_rejected")));
    assert_eq!(live(&app).await, 200);
    assert_eq!(browser.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_the_service_is_live_but_not_ready() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    app.store.database().close().await;
    assert_eq!(live(&app).await, 200);
    let (status, body) = ready(&app).await;
    assert_eq!(
        (status, &body["status"], &body["database"]),
        (503, &json!("unavailable"), &json!("unreachable"))
    );
    let start = format!("/auth/hubspot/start?origin={HOST}");
    let fresh = app.browser();
    for (browser, path) in
        [(&fresh, start.as_str()), (&browser, "/auth/hubspot/done?flow=00000000-0000-8000-8000-000000000000")]
    {
        let answer = browser.get(path).await;
        assert!(matches!(answer.status, 200 | 503), "{path}: {}", answer.status);
        assert!(!answer.body.contains("SQL") && !answer.body.contains("sqlx"), "{path}");
    }
    let answer = fresh.get(&start).await;
    assert_eq!((answer.status, problem_of(&answer).as_str()), (503, "storage_unavailable"));
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(fresh.get("/static/popup.js").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_whose_flow_cannot_be_read_consume_nothing() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let authorize = browser.start(Some(HOST)).await;
    let back = app.hubspot.decide(&authorize, crate::harness::app::approve(ACME)).unwrap();
    app.database.hide(sql::AUTH_REQUESTS).await;
    let callback = browser.get(&back).await;
    let code = match callback.status {
        303 => callback.location().to_owned(),
        _ => problem_of(&callback),
    };
    assert!(code.contains("storage_unavailable"), "{code}");
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 0, "the code is not spent");
    assert_eq!(ready(&app).await.0, 200, "the server answers, it is not away");
    app.database.unhide(sql::AUTH_REQUESTS).await;
    let callback = browser.get(&back).await;
    let done = browser.handoff(callback.location()).await.json();
    assert_eq!(done["message"]["type"], "hubspot_auth_success", "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_failure_after_the_token_response_loses_no_token() {
    let options = fake_hubspot::Options {
        rotate_refresh_tokens: true,
        reject_reused_refresh_tokens: true,
        ..fake_hubspot::Options::default()
    };
    let app = TestApp::with_hubspot(LONG_SESSIONS, options).await;
    let browser = app.connected(ACME).await;
    app.advance(1261);
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::HoldAfterIssue));
    let mut jobs = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    let refresh = app.services.connections.refreshes.refresh(jobs.remove(0));
    crate::harness::eventually("HubSpot is asked", || async { app.hubspot.calls(Kind::Refresh).len() == 1 })
        .await;
    app.database.hide(sql::REFRESH_JOBS).await;
    app.hubspot.release();
    tokio::time::sleep(std::time::Duration::from_millis(800)).await;
    assert!(!refresh.is_finished(), "it retries the write");
    app.database.unhide(sql::REFRESH_JOBS).await;
    refresh.await.unwrap();
    assert_eq!(app.database.generation().await, 2);
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.database.generation().await, 3);
    assert_eq!(browser.status().await["status"], "active");
    assert!(app.hubspot.journal().iter().all(|call| !call.superseded));
}
