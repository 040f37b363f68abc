//! Clients that hold connections and polls open: every state of a connection ends, one client has a share of them, and
//! a read ends with its caller.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use fake_hubspot::{FakeHubSpot, Options};
use test_support::memory_kib;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::TestApp;
use crate::harness::app::{ACME, HOST, settle};
use crate::harness::browser::Browser;
use crate::harness::database::TestDatabase;
use crate::harness::page::Page;
use crate::harness::process::{Process, eventually};

/// The longest time for which a silent connection may stay open: the documented limit, a second for each of two coarse
/// clocks, and a margin for a busy machine.
const GONE_AFTER: Duration = Duration::from_secs(37);

fn address(base: &str) -> SocketAddr {
    base.trim_start_matches("http://").replace("localhost", "127.0.0.1").parse().unwrap()
}

/// Returns the value of a metric; zero if it is missing.
async fn figure(admin: &str, name: &str) -> u64 {
    let figures = Browser::new(admin).get("/metrics").await.body;
    let line = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

async fn waiting(app: &TestApp) -> u64 {
    figure(&app.admin, "hubspot_connect_waiting").await
}

/// Connects from this loopback address.
async fn connect_from(source: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(to).await
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_closed_in_every_state() {
    let app = TestApp::with(&[("KEEP_ALIVE_SECONDS", "20")]).await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    page.begin(&popup).await;
    let tag = page.poll().await.header("etag").to_owned();
    let host = app.base.trim_start_matches("http://").to_owned();
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
    let chunked = |path: &str, host: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{{\"a\":\r\n")
    };
    let verifier = format!("Hubspot-Connect-Verifier: {}\r\nIf-None-Match: {tag}\r\n", page.verifier);
    let states = [
        ("nothing was sent", String::new()),
        ("half a head", "GET /livez HTTP/1.1\r\nHo".to_owned()),
        ("a request, and one byte of the next", get("/livez", "") + "G"),
        ("a request, then idle", get("/livez", "")),
        (
            "a body that is refused: 401",
            chunked("/api/hubspot/connections/id/proxy/crm/v3/objects/contacts", &host),
        ),
        ("a body that is refused: 421", chunked("/api/hubspot/disconnect", "elsewhere.example")),
        ("a body that never ends: 408", chunked("/api/hubspot/disconnect", &host)),
        (
            "a body that is too long: 413",
            chunked("/api/hubspot/disconnect", &host) + &format!("8000\r\n{}\r\n", "x".repeat(0x8000)),
        ),
        ("polls that were sent ahead", get("/api/hubspot/status?wait=25", &verifier).repeat(200)),
        ("answers that are never read", get("/api/openapi.json", "").repeat(16)),
    ];
    let began = Instant::now();
    let mut held = Vec::new();
    for (_, text) in &states {
        for _ in 0..3 {
            let mut tcp = TcpStream::connect(address(&app.base)).await.unwrap();
            tcp.write_all(text.as_bytes()).await.unwrap();
            held.push(tcp);
        }
    }
    let served = app.browser().get("/livez").await;
    assert_eq!(served.status, 200);
    for (at, mut tcp) in held.into_iter().enumerate() {
        let left = GONE_AFTER.saturating_sub(began.elapsed());
        let (state, mut heard) = (states[at / 3].0, Vec::new());
        // However much is still in the buffers, the connection is at its end; a reset is an end too.
        let end = tokio::time::timeout(left, tcp.read_to_end(&mut heard)).await;
        assert!(end.is_ok(), "still open after {:?}: {state}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_request_heads_on_keep_alive_time_out() {
    let app = TestApp::start().await;
    let host = app.base.trim_start_matches("http://").to_owned();
    let mut tcp = TcpStream::connect(address(&app.base)).await.unwrap();
    let began = Instant::now();
    let mut text = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\nGET /livez?").into_bytes();
    // A byte now and then keeps no connection open. A failed write or read shows that it is closed.
    while began.elapsed() < Duration::from_secs(30) {
        if tcp.write_all(&text).await.is_err() {
            return;
        }
        text = b"x".to_vec();
        let mut heard = [0; 4096];
        if let Ok(Ok(0) | Err(_)) =
            tokio::time::timeout(Duration::from_millis(500), tcp.read(&mut heard)).await
        {
            return;
        }
    }
    panic!("still open");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_or_pipeline_cost_only_their_buffers() {
    let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
    let database = TestDatabase::fresh().await;
    for (path, requests) in [("/api/openapi.json", 16), ("/api/hubspot/status", 2000)] {
        let process = Process::serve(&settle(&hubspot, &database, &[]));
        let host = process.base.trim_start_matches("http://").to_owned();
        let text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").repeat(requests);
        let before = memory_kib(process.id(), "VmRSS").unwrap();
        let mut held = Vec::new();
        for _ in 0..100 {
            let tcp = TcpSocket::new_v4().unwrap();
            // A small window, so that unread bytes stay with the service.
            tcp.set_recv_buffer_size(4096).unwrap();
            let mut tcp = tcp.connect(address(&process.base)).await.unwrap();
            // As much as the service accepts at once.
            let _ = tokio::time::timeout(Duration::from_millis(10), tcp.write_all(text.as_bytes())).await;
            held.push(tcp);
        }
        for _ in 0..20 {
            assert_eq!(Browser::new(&process.base).get("/livez").await.status, 200);
        }
        let now = memory_kib(process.id(), "VmRSS").unwrap();
        let cost = now.saturating_sub(before) / held.len() as u64;
        assert!(cost < 500, "{path}: {cost} KiB for each client");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_address_has_a_share_of_the_connections() {
    let app = TestApp::with(&[("MAX_CONNECTIONS_PER_CLIENT", "16")]).await;
    let (greedy, to) = (Ipv4Addr::new(127, 0, 0, 2), address(&app.base));
    let host = app.base.trim_start_matches("http://").to_owned();
    let mut held = Vec::new();
    for _ in 0..40 {
        // One that is closed at once may look as if it had never been open.
        held.extend(connect_from(greedy, to).await);
    }
    assert_eq!(app.browser().get("/livez").await.status, 200, "another client is served");
    eventually("all but sixteen are closed", || async {
        figure(&app.admin, "hubspot_connect_http_connections_closed_total{reason=\"client_limit\"}").await
            == 24
    })
    .await;
    drop(held);
    eventually("there is room again", || async {
        let Ok(mut tcp) = connect_from(greedy, to).await else { return false };
        let text = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut heard = String::new();
        tcp.write_all(text.as_bytes()).await.is_ok()
            && tcp.read_to_string(&mut heard).await.is_ok()
            && heard.starts_with("HTTP/1.1 200")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_proxies_may_use_all_connections() {
    let variables = [("MAX_CONNECTIONS_PER_CLIENT", "16"), ("TRUSTED_PROXIES", "127.0.0.0/8")];
    let app = TestApp::with(&variables).await;
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(TcpStream::connect(address(&app.base)).await.unwrap());
    }
    assert_eq!(app.browser().get("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_end_with_their_caller() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    page.begin(&popup).await;
    let tag = page.poll().await.header("etag").to_owned();
    let connected = app.connected(ACME).await;
    let known = connected.get("/api/hubspot/status").await.header("etag").to_owned();
    let polls = [
        tokio::spawn(async move { page.wait(&tag, 25).await.status }),
        tokio::spawn(async move {
            let poll = connected.request(reqwest::Method::GET, "/api/hubspot/status?wait=25");
            connected.send(poll.header("if-none-match", known)).await.status
        }),
    ];
    eventually("both wait", || async { waiting(&app).await == 2 }).await;
    let began = Instant::now();
    polls.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("neither waits", || async { waiting(&app).await == 0 }).await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "they ended with their callers: {:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_without_a_session_return_at_once_with_retry_after() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let tag = browser.get("/api/hubspot/status").await.header("etag").to_owned();
    let began = Instant::now();
    let poll = browser.request(reqwest::Method::GET, "/api/hubspot/status?wait=25");
    let answer = browser.send(poll.header("if-none-match", tag)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (304, "10"));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_do_not_wait_when_their_client_has_sent_more() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    page.begin(&popup).await;
    let tag = page.poll().await.header("etag").to_owned();
    let host = app.base.trim_start_matches("http://");
    let poll = format!(
        "GET /api/hubspot/status?wait=25 HTTP/1.1\r\nHost: {host}\r\nHubspot-Connect-Verifier: {}\r\nIf-None-Match: {tag}\r\n\r\n",
        page.verifier
    );
    let mut tcp = TcpStream::connect(address(&app.base)).await.unwrap();
    tcp.write_all(poll.as_bytes()).await.unwrap();
    eventually("it waits", || async { waiting(&app).await == 1 }).await;
    // Behind this byte the service could not notice that the client has disconnected.
    tcp.write_all(b"G").await.unwrap();
    let mut heard = [0; 1024];
    let length = tcp.read(&mut heard).await.unwrap();
    let heard = String::from_utf8_lossy(&heard[..length]);
    assert!(heard.starts_with("HTTP/1.1 304") && heard.contains("retry-after: 10"), "{heard}");
    assert_eq!(waiting(&app).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_polls_per_flow_are_limited() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    page.begin(&popup).await;
    let tag = page.poll().await.header("etag").to_owned();
    let polls: Vec<_> = (0..40)
        .map(|_| {
            let (page, tag) = (page.again(), tag.clone());
            tokio::spawn(async move {
                let answer = page.wait(&tag, 25).await;
                (answer.status, answer.headers.contains_key("retry-after"))
            })
        })
        .collect();
    eventually("as many wait as may", || async { waiting(&app).await == 16 }).await;
    eventually("the others are answered", || async {
        polls.iter().filter(|poll| poll.is_finished()).count() == 24
    })
    .await;
    for poll in polls {
        match poll.is_finished() {
            true => assert_eq!(poll.await.unwrap(), (304, true)),
            false => poll.abort(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_polls_and_idle_connections() {
    let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
    let database = TestDatabase::fresh().await;
    let process = Process::serve(&settle(&hubspot, &database, &[]));
    let (page, popup) = (Page::new(&process.base, HOST), Browser::new(&process.base));
    page.begin(&popup).await;
    let tag = page.poll().await.header("etag").to_owned();
    let poll = tokio::spawn({
        let page = page.again();
        async move { page.wait(&tag, 25).await.status }
    });
    let admin = process.admin.clone();
    eventually("the poll waits", || async { figure(&admin, "hubspot_connect_waiting").await == 1 }).await;
    let began = Instant::now();
    process.ask_to_stop();
    assert!(tokio::task::spawn_blocking(move || process.wait().success()).await.unwrap());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(poll.await.unwrap(), 304, "it was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_and_foreign_cookies_are_not_logged() {
    let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
    let database = TestDatabase::fresh().await;
    let process = Process::serve(&settle(&hubspot, &database, &[]));
    let to = address(&process.base);
    let heard = tokio::task::spawn_blocking(move || {
        for _ in 0..20 {
            let mut tcp = std::net::TcpStream::connect(to).unwrap();
            tcp.write_all(b"\x16\x03\x01 no request at all\r\n\r\n").unwrap();
            let mut heard = Vec::new();
            let _ = std::io::Read::read_to_end(&mut tcp, &mut heard);
            assert!(heard.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&heard));
        }
    });
    heard.await.unwrap();
    assert_eq!(figure(&process.admin, "hubspot_connect_http_malformed_requests_total").await, 20);
    for path in ["/", "/login", "/api/hubspot/status"] {
        let browser = Browser::new(&process.base);
        let request = browser.request(reqwest::Method::GET, path);
        browser.send(request.header("cookie", "__Host-hsc_sid=made-up; hsc_sid=made-up")).await;
    }
    let log = process.log();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}
