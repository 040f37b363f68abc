//! Requests that no browser sends: malformed queries, broken framing, other Host names, forged proxy headers; and
//! unsafe settings.

use hubspot_connect::config::{Config, Variables};
use hubspot_connect::domain::random::Random;

use tokio::task::JoinSet;

use crate::harness::app::{ACME, HOST, approve};
use crate::harness::browser::{encode, parameter, problem_of, send_raw};
use crate::harness::{TestApp, sql};

/// Returns a query of parts on which parsers are known to fail.
fn odd_query(random: &Random) -> String {
    const NAMES: [&str; 16] = [
        "origin",
        "portal_id",
        "return_url",
        "code",
        "state",
        "error",
        "error_description",
        "flow",
        "problem",
        "wait",
        "file",
        "state[]",
        "state[0][a]",
        "__proto__",
        "",
        "%00",
    ];
    const VALUES: [&str; 24] = [
        "",
        "1",
        "-1",
        "null",
        "%00",
        "%ff%fe",
        "%",
        "%2",
        "%zz",
        "%c0%af",
        "%0d%0a",
        "%F0%9F%92%A9",
        "&",
        "=",
        "==",
        "+",
        ";",
        "18446744073709551616",
        "NaN",
        "{}",
        "[]",
        "..%2f..%2f",
        "'%20OR%201=1--",
        "%3Cscript%3E",
    ];
    let pick = |count: usize| usize::from(random.bytes::<1>()[0]) % count;
    let mut query = String::new();
    for _ in 0..pick(6) {
        let repeated = if pick(8) == 0 { 400 } else { 1 };
        let (name, value) = (NAMES[pick(NAMES.len())], VALUES[pick(VALUES.len())]);
        query += &format!("{name}={}&", value.repeat(repeated));
    }
    query
}

#[tokio::test(flavor = "multi_thread")]
async fn query_strings_never_cause_server_errors() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let random = Random::seeded(22);
    let paths = [
        "/auth/hubspot/start",
        "/auth/hubspot/callback",
        "/auth/hubspot/done",
        "/api/hubspot/status",
        "/login",
        "/static/app.css",
    ];
    for at in 0..300 {
        // A wait would delay the response.
        let query = odd_query(&random).replace("wait=1", "wait=");
        let path = format!("{}?{query}", paths[at % paths.len()]);
        let answer = browser.get(&path).await;
        assert!(answer.status < 500, "{path}: {} {}", answer.status, answer.body);
    }
    assert_eq!(browser.get("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bodies_are_rejected_without_side_effects() {
    let app = TestApp::start().await;
    let browser = app.browser();
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "{",
        "{\"flow\":1}",
        "{\"flow\":\"\"}",
        "{\"flow\":\"x\",\"flow\":\"y\"}",
        "{\"flow\":\"00000000000080008000000000000000\"}",
        "{\"flow\":{\"$ne\":null}}",
        "\u{feff}{}",
        &"[".repeat(10_000),
        &format!("\"{}\"", "x".repeat(17_000)),
    ] {
        for path in ["/auth/hubspot/handoff", "/api/hubspot/disconnect"] {
            let request = browser
                .request(reqwest::Method::POST, path)
                .header("sec-fetch-site", "same-origin")
                .header("content-type", "application/json")
                .body(body.to_owned());
            let answer = browser.send(request).await;
            assert!((400..=413).contains(&answer.status), "{path} {body}: {}", answer.status);
            assert_eq!(answer.header("content-type"), "application/problem+json");
            assert_eq!(answer.json()["status"], answer.status);
        }
    }
}

fn host_of(app: &TestApp) -> String {
    app.base.replace("http://", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_hosts_reach_only_the_liveness_endpoint() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let host = host_of(&app);
    let port = host.split_once(':').expect("a port").1;
    for name in [
        "evil.test",
        "localhost",
        &format!("evil.test:{port}"),
        &format!("127.0.0.1:{port}"),
        &format!("localhost.evil.test:{port}"),
        &format!("localhost.:{port}"),
        &format!("{host}@evil.test"),
        &format!("{host}:80"),
        "localhost:1",
    ] {
        for path in ["/", "/login", "/auth/hubspot/start", "/api/hubspot/status", "/static/app.css"] {
            let answer = browser.navigate(path, &[("host", name)]).await;
            assert_eq!((answer.status, problem_of(&answer).as_str()), (421, "wrong_host"), "{name}{path}");
            assert!(answer.cookies().is_empty(), "{name}{path}");
        }
        assert_eq!(browser.navigate("/livez", &[("host", name)]).await.status, 200);
    }
    assert_eq!(app.database.count(sql::AUTH_REQUESTS).await, 0);
}

fn status_of(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("closed")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_ambiguous_length_are_rejected() {
    let app = TestApp::start().await;
    let host = host_of(&app);
    let start = "GET /auth/hubspot/start HTTP/1.1";
    let hidden = format!("{start}\r\nHost: {host}\r\n\r\n");
    let post = format!(
        "POST /logout HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n"
    );
    let length = hidden.len();
    for (what, request) in [
        (
            "length and chunks",
            format!("{post}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "chunks and length",
            format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        ("two lengths", format!("{post}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{hidden}")),
        ("a list of lengths", format!("{post}Content-Length: 0, {length}\r\n\r\n{hidden}")),
        ("a signed length", format!("{post}Content-Length: +0\r\n\r\n{hidden}")),
        ("a negative length", format!("{post}Content-Length: -1\r\n\r\n{hidden}")),
        ("a length in hexadecimal", format!("{post}Content-Length: 0x0\r\n\r\n{hidden}")),
        (
            "two encodings",
            format!(
                "{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        ("an unknown encoding", format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}")),
        (
            "an encoding in HTTP/1.0",
            format!(
                "POST /logout HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        ("a folded line", format!("{post}X-Folded: a\r\n Content-Length: {length}\r\n\r\n{hidden}")),
        ("a folded encoding", format!("{post}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{hidden}")),
        ("a space before the colon", format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}")),
        ("a lone carriage return", format!("{post}X-Odd: a\rContent-Length: {length}\r\n\r\n{hidden}")),
        ("a NUL", format!("{post}X-Odd: a\0b\r\n\r\n{hidden}")),
        ("a chunk of no size", format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n{hidden}")),
        ("two hosts", format!("{start}\r\nHost: {host}\r\nHost: evil.test\r\nConnection: close\r\n\r\n")),
        ("no host", format!("{start}\r\nConnection: close\r\n\r\n")),
        ("an empty host", format!("{start}\r\nHost:\r\nConnection: close\r\n\r\n")),
        ("a list of hosts", format!("{start}\r\nHost: {host}, evil.test\r\nConnection: close\r\n\r\n")),
    ] {
        let answer = send_raw(&app.base, request.as_bytes()).await;
        let status = status_of(&answer);
        assert!(["400", "421", "closed"].contains(&status), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), usize::from(status != "closed"), "{what}: {answer}");
    }
    assert_eq!(app.database.count(sql::AUTH_REQUESTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_host_reach_only_the_liveness_endpoint() {
    let app = TestApp::start().await;

    let start = send_raw(&app.base, b"GET /auth/hubspot/start HTTP/1.0\r\n\r\n").await;
    let live = send_raw(&app.base, b"GET /livez HTTP/1.0\r\n\r\n").await;

    assert_eq!((status_of(&start), status_of(&live)), ("400", "200"), "{start}\n{live}");
}

#[tokio::test(flavor = "multi_thread")]
async fn absolute_form_request_targets_do_not_redirect_elsewhere() {
    let app = TestApp::start().await;
    let host = host_of(&app);
    let request = format!(
        "GET http://evil.test/auth/hubspot/start HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: cross-site\r\n\
         Connection: close\r\n\r\n"
    );

    let answer = send_raw(&app.base, request.as_bytes()).await;

    assert!(!answer.contains("evil.test"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarding_headers_of_untrusted_clients_are_ignored() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let spoofed = [
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-uri", "/api/hubspot/status"),
        ("x-forwarded-prefix", "/evil"),
        ("x-original-url", "/livez"),
        ("x-rewrite-url", "/livez"),
        ("x-http-method-override", "DELETE"),
        ("forwarded", "for=1.2.3.4;host=evil.test;proto=https"),
        ("x_forwarded_host", "evil.test"),
    ];

    let begun = browser.navigate("/auth/hubspot/start", &spoofed).await;

    let redirect = parameter(begun.location(), "redirect_uri");
    assert_eq!(redirect, format!("{}/auth/hubspot/callback", app.base));
    for path in ["/login", "/nowhere", "/auth/hubspot/done"] {
        let page = browser.navigate(path, &spoofed).await;
        assert!(!page.body.contains("evil"), "{path}: {}", page.body);
        assert_eq!(page.header("strict-transport-security"), "", "{path}");
    }
}

async fn start_from(app: &TestApp, headers: &[(&str, &str)]) -> u16 {
    app.browser().navigate("/auth/hubspot/start", headers).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn untrusted_clients_are_rate_limited_by_their_peer_address() {
    let app = TestApp::with(&[("RATE_LIMIT_START_PER_MINUTE", "2")]).await;
    let mut statuses = Vec::new();
    for claim in [
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-for", "198.51.100.2"),
        ("x-forwarded-for", "198.51.100.3"),
        ("forwarded", "for=198.51.100.4"),
        ("x-real-ip", "198.51.100.5"),
        ("x_forwarded_for", "198.51.100.6"),
        ("true-client-ip", "198.51.100.7"),
    ] {
        statuses.push(start_from(&app, &[claim]).await);
    }
    assert_eq!(statuses, [302, 302, 429, 429, 429, 429, 429]);
    assert_eq!(app.database.count(sql::AUTH_REQUESTS).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_only_the_address_it_saw_counts() {
    let app =
        TestApp::with(&[("RATE_LIMIT_START_PER_MINUTE", "1"), ("TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")])
            .await;
    for (hops, status) in [
        ("198.51.100.1", 302),
        ("198.51.100.1", 429),
        ("203.0.113.9, 198.51.100.1", 429),
        ("203.0.113.10, 198.51.100.1, 10.0.0.7", 429),
        ("198.51.100.2", 302),
        ("198.51.100.1, 198.51.100.3", 302),
        ("2001:db8::1", 302),
        ("2001:db8::2", 429),
        ("2001:db8:0:1::1", 302),
    ] {
        let answered = start_from(&app, &[("x-forwarded-for", hops)]).await;
        assert_eq!(answered, status, "{hops}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_starts_are_refused_with_retry_after() {
    let app = TestApp::with(&[("RATE_LIMIT_START_PER_MINUTE", "1")]).await;
    let browser = app.browser();
    browser.start(None).await;

    let refused = browser.get("/auth/hubspot/start").await;

    assert_eq!((refused.status, problem_of(&refused).as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), "60");
    assert!(refused.cookies().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_starts_leaves_few_rows_and_does_not_block_other_clients() {
    const ASKED: i64 = 1200;
    let proxied = [("TRUSTED_PROXIES", "127.0.0.1"), ("RATE_LIMIT_START_PER_MINUTE", "6")];
    let app = TestApp::with(&proxied).await;
    let person = app.browser();
    let begun = person.navigate("/auth/hubspot/start", &[("x-forwarded-for", "198.51.100.7")]).await;
    let mut flood = JoinSet::new();
    for _ in 0..60 {
        let stranger = app.browser();
        flood.spawn(async move {
            for _ in 0..ASKED / 60 {
                stranger.cookies.lock().expect("cookies").clear();
                stranger.navigate("/auth/hubspot/start", &[("x-forwarded-for", "203.0.113.9")]).await;
            }
        });
    }

    let answer = person.navigate("/auth/hubspot/start", &[("x-forwarded-for", "198.51.100.7")]).await;

    assert_eq!(answer.status, 302, "{}", answer.body);
    flood.join_all().await;
    let rows = app.database.count(sql::AUTH_REQUESTS).await;
    // Two of the user, the burst, and those that may start in the time that this takes.
    assert!((3..ASKED / 20).contains(&rows), "{rows}");
    let back = app.hubspot.decide(begun.location(), approve(ACME)).expect("back");
    person.navigate(&back, &[("x-forwarded-for", "198.51.100.7")]).await;
    assert_eq!(person.status().await["authenticated"], true, "earlier flows finish");
    app.advance(3600);
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!(app.database.count(sql::AUTH_REQUESTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_readiness_are_not_public() {
    let app = TestApp::start().await;
    let browser = app.browser();
    for path in
        ["/metrics", "/readyz", "/debug", "/.env", "/static/../Cargo.toml", "/static/%2e%2e/src/main.rs"]
    {
        let answer = browser
            .navigate(path, &[("user-agent", "kube-probe/1.30"), ("x-forwarded-for", "127.0.0.1")])
            .await;
        assert_eq!(answer.status, 404, "{path}");
    }
    assert_eq!(browser.get(&format!("{}/metrics", app.admin)).await.status, 200);
}

fn refusal(changes: &[(&str, &str)]) -> String {
    let key = hubspot_connect::keyring::Keyring::generate();
    let good = [
        ("HUBSPOT_CLIENT_ID", "client"),
        ("HUBSPOT_CLIENT_SECRET", "hush-hush"),
        ("ENCRYPTION_KEYS", key.expose()),
        ("APP_SECRET", "an application secret that is long enough"),
    ];
    let all = good.iter().chain(changes);
    let all = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match Config::read(&Variables::from_pairs(all)) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn unsafe_settings_are_refused_by_name() {
    for (name, value) in [
        ("HOST_ORIGINS", "*"),
        ("HOST_ORIGINS", "https://*.example.com"),
        ("HOST_ORIGINS", "https://a.example.com/"),
        ("HOST_ORIGINS", "https://a.example.com/path"),
        ("HOST_ORIGINS", "https://a.example.com:443"),
        ("HOST_ORIGINS", "https://A.example.com"),
        ("HOST_ORIGINS", "https://a.example.com."),
        ("HOST_ORIGINS", "https://user@a.example.com"),
        ("HOST_ORIGINS", "http://a.example.com"),
        ("HOST_ORIGINS", "null"),
        ("HOST_ORIGINS", "a.example.com"),
        ("HOST_ORIGINS", "https://a.example.com,*"),
        ("PUBLIC_URL", "http://connect.example.com"),
        ("PUBLIC_URL", "https://connect.example.com/path"),
        ("PUBLIC_URL", "javascript:alert(1)"),
        ("HUBSPOT_REDIRECT_URI", "http://connect.example.com/callback"),
        ("HUBSPOT_API_URL", "http://api.hubapi.com"),
        ("HUBSPOT_AUTHORIZE_URL", "http://app.hubspot.com/oauth/authorize"),
        ("ENCRYPTION_KEYS", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("ENCRYPTION_KEYS", "changeme"),
        ("ENCRYPTION_KEYS", "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="),
        ("ENCRYPTION_KEYS", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        ("ENCRYPTION_KEYS", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
        ("APP_SECRET", "short"),
        ("APP_SECRET", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("APP_SECRET", "0123456789abcdef0123456789abcdef"),
        ("APP_SECRET", "change-me-change-me-change-me-change-me"),
        ("TRUSTED_PROXIES", "everyone"),
        ("HUBSPOT_PKCE", "plain"),
    ] {
        let printed = refusal(&[(name, value)]);
        assert!(printed.contains(name), "{name}={value}: {printed}");
    }
    assert_eq!(refusal(&[]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_secure_behind_https() {
    let app = TestApp::with(&[("PUBLIC_URL", "https://connect.example.com")]).await;
    let (_, address) =
        app.variables.iter().find(|(name, _)| name == "SERVER_ADDR").expect("an address").clone();
    let request = format!(
        "GET /auth/hubspot/start?origin={} HTTP/1.1\r\nHost: connect.example.com\r\nConnection: close\r\n\r\n",
        encode(HOST)
    );

    let answer = send_raw(&format!("http://{address}"), request.as_bytes()).await;

    let line = answer.lines().find(|line| line.to_lowercase().starts_with("set-cookie:")).expect("a cookie");
    assert!(line.contains("__Host-hsc_f_") && line.contains("; Secure"), "{line}");
}
