//! Faults of the machine and its network: signals, too few descriptors, slow clients, wrong names and dates, a
//! suspended machine.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fake_hubspot::{FakeHubSpot, Fault, Kind, Options, Rule};
use rustix::process::Signal;

use crate::harness::app::{ACME, LONG_SESSIONS, settle};
use crate::harness::browser::Browser;
use crate::harness::database::TestDatabase;
use crate::harness::process::{Process, changed, run};
use crate::harness::{TestApp, eventually, sql};

const DUE: u64 = 1261;

fn strict() -> Options {
    Options { rotate_refresh_tokens: true, reject_reused_refresh_tokens: true, ..Options::default() }
}

async fn running() -> (FakeHubSpot, TestDatabase, Process) {
    let hubspot = FakeHubSpot::start(strict()).await.unwrap();
    let database = TestDatabase::fresh().await;
    let process = Process::serve_limited(&settle(&hubspot, &database, &[]));
    (hubspot, database, process)
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tokens_are_stored_for_every_stop_signal() {
    for signals in
        [&[Signal::HUP][..], &[Signal::INT, Signal::TERM], &[Signal::TERM, Signal::TERM, Signal::HUP]]
    {
        let (hubspot, database, process) = running().await;
        process.connected(&hubspot, ACME).await;
        hubspot.script(Rule::once(Kind::Refresh, Fault::DelayAfterIssue(Duration::from_secs(1))));
        database.make_refreshes_due().await;
        eventually("the refresh", || async { hubspot.calls(Kind::Refresh).len() == 1 }).await;
        for signal in signals {
            process.signal(*signal);
        }
        assert!(process.wait().success(), "{signals:?}");
        assert_eq!(database.generation().await, 2, "{signals:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_descriptor_exhaustion_is_survived() {
    let (hubspot, database, process) = running().await;
    process.connected(&hubspot, ACME).await;
    // Fewer than it has open already: no new connection is accepted, and HubSpot cannot be called.
    process.limit_descriptors(Some(4));
    database.make_refreshes_due().await;
    let second = Duration::from_secs(1);
    let stranger = reqwest::Client::builder().timeout(second).build().unwrap();
    assert!(stranger.get(format!("{}/livez", process.base)).send().await.is_err());
    process.limit_descriptors(None);
    eventually("it answers again", || async {
        let status = reqwest::Client::new().get(format!("{}/livez", process.base)).send().await;
        status.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    eventually("it refreshes", || async { database.connections(sql::HEALTHY_AFTER_ONE_REFRESH).await == 1 })
        .await;
    assert!(hubspot.journal().iter().all(|call| !call.superseded), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_request_heads_time_out_without_blocking_others() {
    let (_hubspot, _database, process) = running().await;
    let address = process.base.replace("http://localhost", "127.0.0.1");
    let strangers: Vec<_> = (0..200)
        .map(|_| {
            let mut line = TcpStream::connect(&address).unwrap();
            line.write_all(b"GET /livez HTTP/1.1\r\nHo").unwrap();
            line
        })
        .collect();
    let browser = Browser::new(&process.base);
    for _ in 0..20 {
        assert_eq!(browser.get("/livez").await.status, 200);
    }
    let cut_off = tokio::task::spawn_blocking(move || {
        strangers.into_iter().all(|mut line| {
            line.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
            let mut heard = Vec::new();
            // With or without a timeout response, the connection is closed; a timeout of the test itself would be an
            // error.
            line.read_to_end(&mut heard).is_ok() && !heard.starts_with(b"HTTP/1.1 200")
        })
    });
    assert!(cut_off.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_request_bodies_time_out() {
    let (_hubspot, _database, process) = running().await;
    let address = process.base.trim_start_matches("http://").replace("localhost", "127.0.0.1");
    let host = process.base.trim_start_matches("http://").to_owned();
    let paths = ["/api/hubspot/connect-sessions", "/api/hubspot/disconnect", "/auth/hubspot/start", "/livez"];
    let strangers: Vec<_> = (0..50)
        .map(|at| {
            let mut line = TcpStream::connect(&address).unwrap();
            let path = paths[at % paths.len()];
            let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n{{");
            line.write_all(head.as_bytes()).unwrap();
            line
        })
        .collect();
    let browser = Browser::new(&process.base);
    for _ in 0..20 {
        assert_eq!(browser.get("/livez").await.status, 200);
    }
    let is_closed = tokio::task::spawn_blocking(move || {
        strangers.into_iter().all(|mut line| {
            line.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut heard = Vec::new();
            line.read_to_end(&mut heard).is_ok() && heard.starts_with(b"HTTP/1.1 408")
        })
    });
    assert!(is_closed.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_hubspot_api_url_loses_no_connection() {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    app.connected(ACME).await;
    let right = app.hubspot.base_url();
    // A name that never resolves (RFC 6761 section 6.4), and a server without TLS.
    let without_tls = right.replace("http://", "https://");
    let mut app = app;
    for wrong in ["https://hubspot.invalid", &without_tls] {
        app = app.restarted(&[("HUBSPOT_API_URL", wrong)]).await;
        app.advance(DUE);
        assert_eq!(app.refresh_due().await, 1, "{wrong}");
        let state = app.database.column("state || ' ' || last_error").await;
        assert_eq!(state, "active provider_unreachable", "{wrong}");
        app = app.restarted(&[("HUBSPOT_API_URL", &right)]).await;
        app.advance(10);
        assert_eq!(app.refresh_due().await, 1, "{wrong}");
        assert_eq!(app.database.column("state || COALESCE(last_error, '')").await, "active");
    }
    assert_eq!(app.database.generation().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_date_header_of_hubspot_is_ignored() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    for date in ["Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 31 Dec 2100 23:59:59 GMT", "yesterday"] {
        app.advance(DUE);
        let answer = Fault::Status {
            status: 200,
            headers: vec![("date".to_owned(), date.to_owned())],
            body: r#"{"access_token":"new","expires_in":1800}"#.to_owned(),
        };
        app.hubspot.script(Rule::once(Kind::Refresh, answer));
        assert_eq!(app.refresh_due().await, 1);
        let left = app.database.number_in(sql::CONNECTIONS, "expires_at").await - app.clock.now().unix_ms();
        assert_eq!(left, 1_800_000, "{date}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_suspend_callers_are_served_at_once_and_all_connections_refreshed_once() {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    for account in 0..20 {
        app.connected(ACME + account).await;
    }
    app.advance(8 * 3600);
    let id = app.database.column_of(ACME, sql::ID).await;
    let access = app
        .services
        .connections
        .access_tokens
        .access_token(id.parse().unwrap(), Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(access.generation, 2);
    assert_eq!(app.refresh_due().await, 19);
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 20);
    assert!(app.hubspot.journal().iter().all(|call| !call.superseded && !call.overlapping));
    assert!(
        app.database.number_in(sql::REFRESH_JOBS, "COUNT(DISTINCT run_at)").await > 15,
        "the next ones lie apart"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unwritable_logs_are_reported_at_start() {
    let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
    let database = TestDatabase::fresh().await;
    let variables = settle(&hubspot, &database, &[]);
    for place in ["/proc/no/such/folder/log", "/dev/null/log"] {
        let ended = run(&["serve"], &changed(&variables, "LOG_FILE", place));
        assert_eq!(ended.code, Some(1), "{place}: {}", ended.stderr);
        assert!(ended.stderr.contains("LOG_FILE cannot be written"), "{place}: {}", ended.stderr);
    }
}
