//! Metrics and alerts: an outage shows at once, even after a restart, and without a database.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use fake_hubspot::{Decision, Fault, Kind, Rule};

use crate::harness::app::{ACME, HOST, LONG_SESSIONS};
use crate::harness::statements::Statements;
use crate::harness::wire::Wire;
use crate::harness::{TestApp, eventually, sql};

/// Later than any refresh of a token of thirty minutes.
const DUE: u64 = 1261;
/// Later than its expiry.
const EXPIRED: u64 = 1801;

const DOCUMENT: &str = include_str!("../../docs/metrics.md");
const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yml");

async fn scrape(app: &TestApp) -> String {
    app.browser().get(&format!("{}/metrics", app.admin)).await.body
}

/// Returns the value of a series in a scrape.
fn value(scrape: &str, series: &str) -> Option<f64> {
    let name = format!("hubspot_connect_{series} ");
    scrape.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok())
}

/// Asserts that a scrape has these values.
async fn assert_values(app: &TestApp, expected: &[(&str, f64)]) {
    let scrape = scrape(app).await;
    for (series, expected) in expected {
        assert_eq!(value(&scrape, series), Some(*expected), "{series}\n{scrape}");
    }
}

/// Returns the names in a text, without the prefix.
fn names(text: &str) -> BTreeSet<String> {
    let parts = text.split("hubspot_connect_").skip(1);
    let is_part = |character: char| character.is_ascii_lowercase() || character == '_';
    parts.map(|part| part.chars().take_while(|character| is_part(*character)).collect()).collect()
}

/// Returns the names of the series in a scrape.
fn scraped(scrape: &str) -> BTreeSet<String> {
    scrape.lines().filter(|line| !line.starts_with('#')).flat_map(names).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_series_that_an_alert_needs_exists_from_the_start() {
    let app = TestApp::start().await;
    let scrape = scrape(&app).await;
    for series in [
        r#"refreshes_total{outcome="ok"}"#,
        r#"refreshes_total{outcome="transient"}"#,
        r#"refreshes_total{outcome="our_fault"}"#,
        r#"refreshes_total{outcome="grant_dead"}"#,
        r#"flows_failed_total{code="provider_timeout"}"#,
        r#"webhook_attempts_total{outcome="failed"}"#,
        r#"journal_polls_total{outcome="our_fault"}"#,
        r#"proxied_total{origin="hubspot",status="5xx"}"#,
        r#"http_problems_total{code="wrong_host",status="421"}"#,
        r#"http_problems_total{code="rate_limited",status="429"}"#,
        r#"http_connections_closed_total{reason="client_limit"}"#,
        r#"circuit_breaker_open{reason="outage"}"#,
        r#"circuit_breaker_open{reason="rejected"}"#,
        r#"connections{status="active"}"#,
        r#"connections{status="degraded"}"#,
        r#"connections{status="needs_reauth"}"#,
        r#"connections{status="integrity_error"}"#,
        "refreshes_in_flight",
        "refreshes_due",
        "refreshes_due_oldest_age_seconds",
        "webhooks_waiting_oldest_age_seconds",
    ] {
        assert_eq!(value(&scrape, series), Some(0.0), "{series}\n{scrape}");
    }
    let version = format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&scrape, &version), Some(1.0));
    assert!(scrape.ends_with("# EOF\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn overdue_refreshes_and_expired_access_tokens_are_reported() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    assert_values(&app, &[(r#"connections{status="active"}"#, 1.0), ("refreshes_due", 0.0)]).await;
    app.advance(EXPIRED);
    assert_values(
        &app,
        &[
            (r#"connections{status="active"}"#, 0.0),
            (r#"connections{status="degraded"}"#, 1.0),
            ("refreshes_due", 1.0),
        ],
    )
    .await;
    let age = value(&scrape(&app).await, "refreshes_due_oldest_age_seconds").unwrap();
    assert!((540.0..1800.0).contains(&age), "{age}");
    // A job that has failed is not due before its next attempt, and its connection stays degraded.
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::CloseBeforeAnswer));
    assert_eq!(app.refresh_due().await, 1);
    assert_values(
        &app,
        &[
            (r#"connections{status="degraded"}"#, 1.0),
            ("refreshes_due", 0.0),
            (r#"refreshes_total{outcome="transient"}"#, 1.0),
        ],
    )
    .await;
    app.advance(301);
    assert_eq!(app.refresh_due().await, 1);
    assert_values(
        &app,
        &[
            (r#"connections{status="active"}"#, 1.0),
            (r#"connections{status="degraded"}"#, 0.0),
            (r#"refreshes_total{outcome="ok"}"#, 1.0),
            ("refresh_duration_seconds_count", 2.0),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_in_flight_are_reported() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    app.advance(DUE);
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::HoldAfterIssue));
    let mut jobs = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    let refresh = app.services.connections.refreshes.refresh(jobs.remove(0));
    eventually("HubSpot is asked", || async { app.hubspot.calls(Kind::Refresh).len() == 1 }).await;
    assert_values(&app, &[("refreshes_in_flight", 1.0)]).await;
    app.hubspot.release();
    refresh.await.unwrap();
    assert_values(&app, &[("refreshes_in_flight", 0.0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_circuit_breaker_is_reported_with_its_reason() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    app.hubspot.options(|options| options.client_secrets = vec!["another".to_owned()]);
    app.advance(DUE);
    app.refresh_due().await;
    let (outage, rejected) =
        (r#"circuit_breaker_open{reason="outage"}"#, r#"circuit_breaker_open{reason="rejected"}"#);
    assert_values(&app, &[(outage, 0.0), (rejected, 1.0)]).await;
    app.hubspot.options(|options| options.client_secrets = vec!["fake-client-secret".to_owned()]);
    app.advance(301);
    app.refresh_due().await;
    assert_values(&app, &[(outage, 0.0), (rejected, 0.0)]).await;
    app.hubspot.script(Rule::always(Kind::Refresh, Fault::CloseBeforeAnswer));
    for _ in 0..6 {
        app.advance(DUE);
        app.refresh_due().await;
    }
    assert_values(&app, &[(outage, 1.0), (rejected, 0.0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_authorization_requests_are_counted_by_code() {
    let app = TestApp::start().await;
    for _ in 0..2 {
        app.browser().connect(&app, Some(HOST), Decision::Deny).await;
    }
    app.hubspot.script(Rule::once(Kind::Exchange, Fault::CloseBeforeAnswer));
    app.browser().connect(&app, Some(HOST), crate::harness::app::approve(ACME)).await;
    let scrape = scrape(&app).await;
    assert_eq!(value(&scrape, r#"flows_failed_total{code="user_denied"}"#), Some(2.0), "{scrape}");
    assert_eq!(value(&scrape, r#"flows_failed_total{code="provider_unreachable"}"#), Some(1.0), "{scrape}");
    assert_eq!(value(&scrape, "flows_started_total"), Some(3.0));
    assert_eq!(value(&scrape, "flows_connected_total"), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_are_counted_by_code() {
    let app = TestApp::with(&[("RATE_LIMIT_START_PER_MINUTE", "1")]).await;
    for status in [302, 429, 429] {
        assert_eq!(
            app.browser().get(&format!("/auth/hubspot/start?origin={HOST}")).await.status,
            status,
            "one per minute"
        );
    }
    for base in [&app.base, &app.admin] {
        let mut wire = Wire::to(base).await;
        wire.say("GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await;
        assert!(wire.rest().await.starts_with("HTTP/1.1 421"));
    }
    assert_values(
        &app,
        &[
            (r#"http_problems_total{code="rate_limited",status="429"}"#, 2.0),
            (r#"http_problems_total{code="wrong_host",status="421"}"#, 2.0),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_metrics_report_the_last_measurement_and_its_time() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    let measured_at = app.clock.now().unix_ms() / 1000;
    let active = r#"connections{status="active"}"#;
    assert_values(&app, &[(active, 1.0)]).await;
    app.advance(EXPIRED);
    app.database.hide(sql::DELIVERIES).await;
    let scrape_without = scrape(&app).await;
    assert_eq!(value(&scrape_without, active), Some(1.0));
    let reported = value(&scrape_without, "database_measured_timestamp_seconds");
    assert_eq!(reported, Some(measured_at as f64));
    // A process that has never measured reports no zero.
    let app = app.restarted(&[]).await;
    let scrape_without = scrape(&app).await;
    assert_eq!(value(&scrape_without, "database_measured_timestamp_seconds"), Some(0.0));
    assert!(!scrape_without.contains("hubspot_connect_connections{"), "{scrape_without}");
    app.database.unhide(sql::DELIVERIES).await;
    assert_values(&app, &[(r#"connections{status="degraded"}"#, 1.0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn measurements_use_indexes() {
    let statements = Statements::collect();
    let app = TestApp::start().await;
    statements.take(&app).await;
    scrape(&app).await;
    let sent = statements.take(&app).await;
    assert_eq!(sent.len(), 4, "{sent:?}");
    for statement in sent {
        let plan = app.database.plan(&statement).await;
        let is_walked = plan.lines().any(|step| step.contains("SCAN") && !step.contains("INDEX"));
        assert!(!is_walked, "{statement}\n{plan}");
        assert!(!plan.contains("state=?"), "{statement}\n{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_list_every_metric() {
    let app = TestApp::start().await;
    let backend = app.api_key("tokens:read").await;
    let path = "/api/hubspot/connections/unknown/token";
    app.api(&backend, reqwest::Method::GET, path, None).await;
    let histogram = ["_bucket", "_count", "_sum"];
    let scraped: BTreeSet<_> = scraped(&scrape(&app).await)
        .into_iter()
        .map(|name| histogram.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name).to_owned())
        .collect();
    assert_eq!(names(DOCUMENT), scraped);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_valid_and_use_only_existing_metrics() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    for (command, file) in [("check", "alerts.yml"), ("test", "alerts.test.yml")] {
        let mut promtool = Command::new("promtool");
        let done = promtool.args([command, "rules", file]).current_dir(&folder).output();
        let done = done.expect("promtool is missing; `cargo xtask setup` installs it, or says how");
        assert!(
            done.status.success(),
            "{file}: {}",
            String::from_utf8_lossy(&[done.stdout, done.stderr].concat())
        );
    }
    let app = TestApp::start().await;
    let scraped = scraped(&scrape(&app).await);
    let unknown: Vec<_> = names(ALERTS).into_iter().filter(|name| !scraped.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let count = |part: &str| ALERTS.matches(part).count();
    assert_eq!(count("- alert: "), count("  runbook: "), "each alert says what to do");
    for alert in ALERTS.split("- alert: ").skip(1).filter_map(|alert| alert.lines().next()) {
        assert!(DOCUMENT.contains(&format!("`{alert}`")), "{alert} is not in docs/metrics.md");
    }
}
