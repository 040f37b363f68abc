//! The accepted Host names, and HEAD.

use reqwest::Method;

use crate::harness::app::ACME;
use crate::harness::browser::{problem_of, send_raw};
use crate::harness::process::{Process, changed, value};
use crate::harness::{TestApp, sql};

const ALTERNATE: (&str, &str) = ("ALTERNATE_HOSTS", "hubspot-connect.internal:6001, connect.svc");

fn host_of(app: &TestApp) -> &str {
    app.base.strip_prefix("http://").unwrap()
}

/// Sends a request line and a Host header; returns head and body of the response.
async fn ask(app: &TestApp, line: &str, host: &str) -> (String, String) {
    let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let address = format!("http://{}", value(&app.variables, "SERVER_ADDR"));
    let text = send_raw(&address, request.as_bytes()).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (head.to_owned(), body.to_owned())
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn host_headers_may_name_the_default_port() {
    let variables = [
        ("PUBLIC_URL", "https://connect.example.com"),
        ("HUBSPOT_REDIRECT_URI", "https://connect.example.com/auth/hubspot/callback"),
    ];
    let app = TestApp::with(&variables).await;
    for (host, expected) in [
        ("connect.example.com", "200"),
        ("connect.example.com:443", "200"),
        ("Connect.Example.com:443", "200"),
        ("connect.example.com:80", "421"),
        ("connect.example.com:8443", "421"),
    ] {
        let (head, _) = ask(&app, "GET /login", host).await;
        assert_eq!(status(&head), expected, "{host}: {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_hosts_are_answered_with_the_expected_host() {
    let app = TestApp::start().await;
    for path in ["/login", "/api/hubspot/status"] {
        let (head, body) = ask(&app, &format!("GET {path}"), "evil.example").await;
        assert_eq!(status(&head), "421");
        assert!(body.contains(&format!("Expected the host {}.", host_of(&app))), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alternate_hosts_serve_only_the_api() {
    let app = TestApp::with(&[ALTERNATE]).await;
    app.connected(ACME).await;
    let key = app.api_key("connections:read").await;
    for host in ["hubspot-connect.internal:6001", "CONNECT.svc"] {
        let request = app.browser().request(Method::GET, "/api/hubspot/connections");
        let listed = app.browser().send(request.header("host", host).bearer_auth(&key)).await;
        assert_eq!(listed.status, 200, "{host}: {}", listed.body);
        for path in ["/", "/login", "/auth/hubspot/start", "/auth/hubspot/callback", "/static/app.css"] {
            let refused = app.browser().navigate(path, &[("host", host)]).await;
            assert_eq!((refused.status, problem_of(&refused).as_str()), (421, "wrong_host"), "{host}{path}");
        }
    }
    for host in ["connect.svc:6001", "hubspot-connect.internal"] {
        assert_eq!(status(&ask(&app, "GET /api/hubspot/status", host).await.0), "421", "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_requests_are_answered_like_get_without_a_body() {
    let app = TestApp::start().await;
    let host = host_of(&app);
    let fields = |head: &str| -> Vec<String> {
        let varying = ["date:", "x-request-id:", "set-cookie:", "access-control-expose-headers:"];
        let kept = head.lines().filter(|line| !varying.iter().any(|name| line.starts_with(name)));
        let mut kept: Vec<String> = kept.map(str::to_owned).collect();
        kept.sort_unstable();
        kept
    };
    for path in [
        "/",
        "/login",
        "/logout",
        "/livez",
        "/connect",
        "/static/app.css",
        "/api/docs",
        "/api/openapi.json",
        "/api/hubspot/status",
        "/api/hubspot/connections",
        "/auth/hubspot/done",
        "/nowhere",
    ] {
        let (get, body) = ask(&app, &format!("GET {path}"), host).await;
        let (head, nothing) = ask(&app, &format!("HEAD {path}"), host).await;
        assert_eq!(fields(&head), fields(&get), "{path}");
        assert!(nothing.is_empty(), "{path}: {nothing}");
        assert!(!body.is_empty() || status(&get) == "303", "{path}: {get}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_requests_start_and_finish_nothing() {
    let app = TestApp::with(&[("MARKETPLACE_INSTALLS", "on")]).await;
    for path in ["/auth/hubspot/start", "/auth/hubspot/callback?code=x&state=y", "/install/hubspot?code=x"] {
        let (head, _) = ask(&app, &format!("HEAD {path}"), host_of(&app)).await;
        assert_eq!(status(&head), "405", "{path}: {head}");
    }
    assert_eq!(app.database.count(sql::AUTH_REQUESTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_kept_for_the_configured_time() {
    let app = TestApp::with(&[("KEEP_ALIVE_SECONDS", "2")]).await;
    let request = format!("GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", host_of(&app));
    let began = std::time::Instant::now();
    let heard = send_raw(&app.base, request.as_bytes()).await;
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
    // The client's own timeout is ten seconds.
    let lasted = began.elapsed().as_secs_f64();
    assert!((1.5..9.0).contains(&lasted), "{lasted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_hosts_are_logged_with_the_expected_host_and_a_limit() {
    let (_database, variables, _hubspot, _clock) = TestApp::start().await.stopped().await;
    let service = Process::serve(&changed(&variables, "LOG_FORMAT", "json"));
    let port = service.base.rsplit(':').next().unwrap().to_owned();
    for _ in 0..300 {
        let text = "GET /login HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
        send_raw(&service.base, text.as_bytes()).await;
    }
    let log = service.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("unexpected Host header")).collect();
    assert!((10..290).contains(&lines.len()), "{}", lines.len());
    let all = log.lines().filter(|line| line.contains("/login")).count();
    assert!(all < 290, "{all} lines");
    assert!(
        lines[0].contains("evil.example") && lines[0].contains(&format!("localhost:{port}")),
        "{}",
        lines[0]
    );
}
