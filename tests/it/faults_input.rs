//! HTTP input of every kind: a clear response, nothing consumed that is not the caller's, and no damage.

use fake_hubspot::{Decision, Kind};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{ACME, HOST, approve};
use crate::harness::browser::{Answer, Browser, encode, flow_of, parameter, problem_of, send_raw};
use crate::harness::{TestApp, sql};

const CALLBACK: &str = "/auth/hubspot/callback";

/// Returns a browser just before its callback, and the URL of the callback.
async fn ready(app: &TestApp) -> (Browser, String) {
    let browser = app.browser();
    let authorize = browser.start(Some(HOST)).await;
    let back = app.hubspot.decide(&authorize, approve(ACME)).unwrap();
    (browser, back)
}

/// Returns the error that the user sees after a callback: the code on the page to which it redirects.
async fn error_code(browser: &Browser, callback: &Answer) -> String {
    if callback.status != 303 {
        return problem_of(callback);
    }
    problem_of(&browser.get(callback.location()).await)
}

async fn assert_alive(app: &TestApp) {
    assert_eq!(app.browser().get("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_and_errors_are_reported_as_such_and_no_code_is_used() {
    let app = TestApp::start().await;
    let long = "x".repeat(10 * 1024);
    for (query, code) in [
        ("error=access_denied".to_owned(), "user_denied"),
        (format!("error=access_denied&error_description={long}"), "user_denied"),
        ("error=access_denied&code=na1-stolen".to_owned(), "user_denied"),
        ("error=server_error".to_owned(), "provider_error"),
        ("error=server_error&code=na1-stolen".to_owned(), "provider_error"),
        ("error=%3Cscript%3Ealert(1)%3C/script%3E".to_owned(), "provider_error"),
        ("error=".to_owned(), "provider_error"),
    ] {
        let browser = app.browser();
        let state = parameter(&browser.start(Some(HOST)).await, "state");
        let callback = browser.get(&format!("{CALLBACK}?state={state}&{query}")).await;
        assert_eq!(callback.status, 303, "{query}");
        let done = browser.get(callback.location()).await;
        assert_eq!(problem_of(&done), code, "{query}");
        assert!(!done.body.contains("alert(1)") && !done.body.contains("xxxx"));
        let message = browser.handoff(callback.location()).await.json()["message"].clone();
        assert_eq!(message["error"]["code"], code, "{query}: {message}");
        let again = browser.connect(&app, Some(HOST), approve(ACME)).await;
        assert_eq!(again["message"]["type"], "hubspot_auth_success", "{query}");
    }
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_deny_see_it_and_can_try_again() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let done = browser.connect(&app, Some(HOST), Decision::Deny).await;
    assert_eq!(done["message"]["type"], "hubspot_auth_error");
    assert_eq!(done["message"]["error"]["code"], "user_denied");
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
    let done = browser.connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(done["message"]["type"], "hubspot_auth_success");
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_flows_are_reported_to_the_user_and_the_opener() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let begun = browser.get("/auth/hubspot/start").await;
    let kept = begun.cookies().iter().find_map(|line| {
        let age = line.split("Max-Age=").nth(1)?;
        age.split(';').next()?.parse::<u64>().ok()
    });
    assert!(
        kept.expect("the flow's cookie") > 660,
        "the cookie outlives the flow: without it the error could not be reported"
    );
    let back = app.hubspot.decide(begun.location(), approve(ACME)).unwrap();
    app.advance(660);
    let callback = browser.get(&back).await;
    assert_eq!(error_code(&browser, &callback).await, "flow_expired");
    let message = browser.handoff(callback.location()).await.json()["message"].clone();
    assert_eq!(message["error"]["code"], "flow_expired");
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 0);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
    let done = browser.connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(done["message"]["type"], "hubspot_auth_success");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_flows_are_reported_as_unknown() {
    let app = TestApp::start().await;
    let (browser, back) = ready(&app).await;
    app.advance(600 + 601);
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!(app.database.count(sql::AUTH_REQUESTS).await, 0);
    let callback = browser.get(&back).await;
    assert_eq!(error_code(&browser, &callback).await, "flow_unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_callbacks_consume_nothing() {
    let app = TestApp::start().await;
    let (browser, back) = ready(&app).await;
    let (code, state) = (parameter(&back, "code"), parameter(&back, "state"));
    let unknown = "A".repeat(43);
    let huge = "A".repeat(100 * 1024);
    let cases = [
        (String::new(), "callback_incomplete"),
        (format!("state={state}"), "callback_incomplete"),
        (format!("code={code}"), "callback_incomplete"),
        (format!("state={state}&code={}", "c".repeat(2049)), "callback_incomplete"),
        (format!("code={code}&state={unknown}"), "flow_unknown"),
        (format!("code={code}&state=A"), "flow_unknown"),
        (format!("code={code}&state="), "flow_unknown"),
        (format!("code={code}&state={state}A"), "flow_unknown"),
        (format!("code={code}&state=%ff{}", &state[1..]), "flow_unknown"),
        (format!("code={code}&state=%00{}", &state[1..]), "flow_unknown"),
        (format!("code={code}&state=%ed%a0%80"), "flow_unknown"),
        (format!("code={code}&state=%e2%80%ae{}", &state[1..]), "flow_unknown"),
        (format!("code={code}&state=%c0%af"), "flow_unknown"),
        (format!("code={code}&state={}", state.to_lowercase()), "flow_unknown"),
        (format!("code={code}&state={state}&state={state}"), "bad_request"),
        (format!("code={code}&code={code}&state={state}"), "bad_request"),
        (format!("code={code}&state={state}&state[]=x"), "bad_request"),
        (format!("code[0]={code}&state={state}"), "bad_request"),
    ];
    for (query, expected) in cases {
        let callback = browser.get(&format!("{CALLBACK}?{query}")).await;
        assert!(matches!(callback.status, 303 | 400), "{query}: {}", callback.status);
        assert_eq!(error_code(&browser, &callback).await, expected, "{query}");
    }
    let host = app.base.trim_start_matches("http://");
    let request = format!("GET {CALLBACK}?code={code}&state={huge} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let heard = send_raw(&app.base, request.as_bytes()).await;
    assert!(heard.starts_with("HTTP/1.1 3") || heard.starts_with("HTTP/1.1 4"), "{heard}");
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 0);
    let callback = browser.get(&back).await;
    let done = browser.handoff(callback.location()).await.json();
    assert_eq!(done["message"]["type"], "hubspot_auth_success", "the real one still works: {done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reloaded_callbacks_show_the_outcome_and_exchange_nothing() {
    let app = TestApp::start().await;
    let (browser, back) = ready(&app).await;
    for method in [Method::HEAD, Method::OPTIONS, Method::POST, Method::PUT, Method::DELETE] {
        let answer = browser.send(browser.request(method.clone(), &back)).await;
        assert!((400..500).contains(&answer.status), "{method}: {}", answer.status);
    }
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 0);
    let visits = [(); 20].map(|()| tokio::spawn(browser.request(Method::GET, &back).send()));
    let mut locations = Vec::new();
    for visit in visits {
        let answer = visit.await.unwrap().unwrap();
        assert_eq!(answer.status(), 303);
        locations.push(answer.headers()["location"].to_str().unwrap().to_owned());
    }
    locations.dedup();
    assert_eq!(locations.len(), 1);
    let again = browser.get(&back).await;
    assert_eq!(again.location(), locations[0]);
    let page = browser.get(again.location()).await;
    assert!(page.body.contains("data-outcome=\"success\""), "{}", page.body);
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 1);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 1);
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_starting_browser_can_finish_a_callback() {
    let app = TestApp::start().await;
    let (browser, back) = ready(&app).await;
    let (name, value) = browser.cookie("__Host-hsc_f_").or_else(|| browser.cookie("hsc_f_")).unwrap();
    let (other, _) = ready(&app).await;
    let (_, others) = other.cookie("__Host-hsc_f_").unwrap();
    let mut tampered = value.clone();
    tampered.replace_range(value.len() - 1.., if value.ends_with('A') { "B" } else { "A" });
    let lines = [
        String::new(),
        format!("{name}={others}"),
        format!("{name}={tampered}"),
        format!("{name}="),
        format!("{name}={value}; {name}={others}"),
        format!("{name}={others}; {name}={value}"),
        format!("{name}={value}; {name}={value}"),
    ];
    for line in lines {
        let visitor = app.browser();
        let callback = visitor.navigate(&back, &[("cookie", &line)]).await;
        assert_eq!(callback.status, 303, "{line}");
        assert_eq!(error_code(&visitor, &callback).await, "flow_not_yours", "{line}");
    }
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 0);
    let callback = browser.get(&back).await;
    let done = browser.handoff(callback.location()).await.json();
    assert_eq!(done["message"]["type"], "hubspot_auth_success", "its owner can still finish it");
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_and_prefetched_callbacks_are_refused() {
    let app = TestApp::start().await;
    let (browser, back) = ready(&app).await;
    for headers in [
        [("sec-fetch-dest", "image"), ("sec-fetch-mode", "no-cors")],
        [("sec-fetch-dest", "iframe"), ("sec-fetch-mode", "navigate")],
        [("sec-fetch-dest", "empty"), ("sec-fetch-mode", "cors")],
        [("sec-fetch-dest", "document"), ("purpose", "prefetch")],
        [("sec-fetch-dest", "document"), ("sec-purpose", "prefetch;prerender")],
        [("sec-fetch-dest", "document"), ("x-moz", "prefetch")],
    ] {
        let answer = browser.navigate(&back, &headers).await;
        assert_eq!(answer.status, 400, "{headers:?}");
        assert_eq!(problem_of(&answer), "not_a_navigation", "{headers:?}");
    }
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 0);
    let callback = browser.get(&back).await;
    assert_eq!(browser.handoff(callback.location()).await.json()["message"]["type"], "hubspot_auth_success");
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_for_unlisted_origins_leave_no_trace() {
    let app = TestApp::start().await;
    let long = format!("https://{}.example", "a".repeat(2048));
    for origin in [
        "https://evil.example",
        "null",
        "",
        "http://host.localhost:3000/",
        "http://host.localhost",
        "http://host.localhost.:3000",
        "http://HOST.localhost:3000",
        "http://host.localhost:3000@evil.example",
        "http://host.localhost:3000.evil.example",
        "https://host.localhost:3000",
        "https://xn--bcher-kva.example",
        "https://bücher.example",
        "http://[::1]:3000",
        "https://host.example:0",
        "*",
        "javascript:alert(1)",
        "\u{0}",
        long.as_str(),
    ] {
        let browser = app.browser();
        let answer = browser.get(&format!("/auth/hubspot/start?origin={}", encode(origin))).await;
        assert_eq!(answer.status, 400, "{origin}");
        assert_eq!(problem_of(&answer), "origin_not_allowed", "{origin}");
        assert!(browser.cookie("__Host-hsc_f_").is_none(), "{origin}");
        assert!(!answer.body.contains("evil"), "{origin}");
    }
    for query in [
        format!("origin={HOST}&origin={HOST}"),
        "origin[]=x".to_owned(),
        "portal_id=soon".to_owned(),
        "portal_id=-1".to_owned(),
        "portal_id=99999999999999999999".to_owned(),
        "portal_id=".to_owned(),
    ] {
        let answer = app.browser().get(&format!("/auth/hubspot/start?{query}")).await;
        assert_eq!((answer.status, problem_of(&answer).as_str()), (400, "bad_request"), "{query}");
    }
    assert_eq!(app.database.count(sql::AUTH_REQUESTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_cookies_are_ignored_or_refused() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let session = browser.cookie("__Host-hsc_sid").map(|(name, value)| format!("{name}={value}")).unwrap();
    let many: Vec<String> = (0..200).map(|at| format!("c{at}=v{at}")).collect();
    let flows: Vec<String> = (0..50).map(|at| format!("__Host-hsc_f_{at:08}={at}.x")).collect();
    let big = format!("big={}", "x".repeat(16 * 1024));
    for line in [
        many.join("; "),
        flows.join("; "),
        big,
        "=; ;;; ,,, \"".to_owned(),
        "__Host-hsc_sid=%ff%00; __Host-hsc_sid=x".to_owned(),
        format!("{session}; {session}"),
    ] {
        for path in ["/", "/login", "/api/hubspot/status", "/auth/hubspot/start"] {
            let answer = app.browser().navigate(path, &[("cookie", &line)]).await;
            assert!((200..500).contains(&answer.status), "{path}: {}", answer.status);
            for cookie in answer.cookies() {
                assert!(cookie.starts_with("__Host-hsc_"), "{path} touches what is not ours: {cookie}");
            }
        }
    }
    let host = app.base.trim_start_matches("http://");
    let raw = [
        b"GET /login HTTP/1.1\r\nconnection: close\r\nhost: ",
        host.as_bytes(),
        b"\r\ncookie: __Host-hsc_sid=\xff\xfe\x80\r\n\r\n",
    ]
    .concat();
    let heard = send_raw(&app.base, &raw).await;
    assert!(!heard.starts_with("HTTP/1.1 5"), "{heard}");
    assert_eq!(browser.status().await["authenticated"], true, "no session was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_request_headers_are_not_echoed() {
    let app = TestApp::start().await;
    let host = app.base.trim_start_matches("http://").to_owned();
    let hundred: String = (0..90).map(|at| format!("x-h{at}: v\r\n")).collect();
    let huge = "h".repeat(200 * 1024);
    let cases: Vec<(&str, String, &[u16])> = vec![
        ("many headers", format!("GET /login HTTP/1.1\r\nhost: {host}\r\n{hundred}\r\n"), &[200, 400, 431]),
        (
            "a huge header",
            format!("GET /login HTTP/1.1\r\nhost: {host}\r\nx-huge: {huge}\r\n\r\n"),
            &[400, 431, 0],
        ),
        ("two hosts", format!("GET /login HTTP/1.1\r\nhost: {host}\r\nhost: evil.example\r\n\r\n"), &[400]),
        ("no host", "GET /login HTTP/1.1\r\n\r\n".to_owned(), &[400]),
        ("another host", "GET /login HTTP/1.1\r\nhost: evil.example\r\n\r\n".to_owned(), &[421]),
        (
            "a whole URL",
            format!("GET http://evil.example/login HTTP/1.1\r\nhost: {host}\r\n\r\n"),
            &[200, 400, 404, 421],
        ),
        (
            "a bare line end",
            format!("GET /login HTTP/1.1\r\nhost: {host}\r\nx-a: b\nx-c: d\r\n\r\n"),
            &[200, 400],
        ),
        ("a zero", format!("GET /login HTTP/1.1\r\nhost: {host}\r\nx-a: b\0c\r\n\r\n"), &[400]),
        ("a header without a name", format!("GET /login HTTP/1.1\r\nhost: {host}\r\n: evil\r\n\r\n"), &[400]),
        (
            "two lengths",
            format!(
                "POST /logout HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"
            ),
            &[400],
        ),
        (
            "length and chunks",
            format!(
                "POST /logout HTTP/1.1\r\nhost: {host}\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            &[303, 400],
        ),
        ("no HTTP at all", "hello\r\n\r\n".to_owned(), &[400, 0]),
        ("another version", format!("GET /login HTTP/9.9\r\nhost: {host}\r\n\r\n"), &[400, 505, 0]),
    ];
    for (what, request, statuses) in cases {
        let closing = request.replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1);
        let heard = send_raw(&app.base, closing.as_bytes()).await;
        let status = heard.get(9..12).and_then(|status| status.parse::<u16>().ok()).unwrap_or(0);
        assert!(statuses.contains(&status), "{what}: {heard}");
        assert!(!heard.contains("evil"), "{what}: {heard}");
    }
    assert_alive(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarding_headers_do_not_change_the_redirect_uri() {
    let app = TestApp::start().await;
    let forwarded = [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "1"),
        ("forwarded", "host=evil.example;proto=https"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
    ];
    let answer = app.browser().navigate("/auth/hubspot/start", &forwarded).await;
    assert_eq!(answer.status, 302);
    assert_eq!(parameter(answer.location(), "redirect_uri"), format!("{}{CALLBACK}", app.base));
    assert!(!answer.location().contains("evil"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unexpected_bodies_are_refused_with_a_code() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let csrf = browser.csrf().await;
    let id = browser.status().await["connections"][0]["id"].as_str().unwrap().to_owned();
    let bodies = |field: &str, good: &str| -> Vec<(&'static str, Vec<u8>, u16)> {
        vec![
            ("empty", Vec::new(), 400),
            ("cut", b"{".to_vec(), 400),
            ("a list", b"[]".to_vec(), 400),
            ("null", b"null".to_vec(), 400),
            ("no field", b"{}".to_vec(), 400),
            ("another kind", format!("{{\"{field}\":7}}").into_bytes(), 400),
            ("no such id", format!("{{\"{field}\":\"soon\"}}").into_bytes(), 400),
            ("a field too many", format!("{{\"{field}\":\"{good}\",\"x\":1}}").into_bytes(), 400),
            ("a field twice", format!("{{\"{field}\":\"{good}\",\"{field}\":\"{good}\"}}").into_bytes(), 400),
            ("deep", "[".repeat(10_000).into_bytes(), 400),
            ("a huge number", format!("{{\"{field}\":1e400}}").into_bytes(), 400),
            ("no UTF-8", b"{\"\xff\":1}".to_vec(), 400),
            (
                "UTF-16",
                format!("{{\"{field}\":\"{good}\"}}").encode_utf16().flat_map(u16::to_le_bytes).collect(),
                400,
            ),
            ("17 kB", format!("{{\"{field}\":\"{good}\"{}}}", " ".repeat(17 * 1024)).into_bytes(), 413),
        ]
    };
    for (path, field, good) in [
        ("/api/hubspot/disconnect", "connection_id", id.as_str()),
        ("/auth/hubspot/handoff", "flow", "00000000-0000-8000-8000-000000000000"),
    ] {
        let send = async |kind: &str, body: Vec<u8>| {
            let request = browser
                .request(Method::POST, path)
                .header("sec-fetch-site", "same-origin")
                .header("hubspot-connect-csrf", &csrf)
                .header("content-type", kind)
                .body(body);
            browser.send(request).await
        };
        for (what, body, status) in bodies(field, good) {
            let is_json = body.is_empty() || serde_json::from_slice::<Value>(&body).is_ok();
            let answer = send("application/json", body).await;
            assert_eq!(answer.status, status, "{path} {what}: {}", answer.body);
            let expected = match (status, is_json) {
                (413, _) => "payload_too_large",
                (_, true) => "validation_failed",
                (_, false) => "invalid_json",
            };
            assert_problem(&answer, path, expected, what);
        }
        let right = format!("{{\"{field}\":\"{good}\"}}").into_bytes();
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
            let answer = send(kind, right.clone()).await;
            assert_eq!(answer.status, 415, "{path} {kind}: {}", answer.body);
            assert_problem(&answer, path, "unsupported_media_type", kind);
        }
    }
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 1);
    assert_eq!(browser.disconnect(&id).await.status, 200);
}

fn assert_problem(answer: &Answer, path: &str, code: &str, what: &str) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{path} {what}: {problem}");
    assert_eq!(problem["instance"], path, "{what}");
    assert_eq!(problem["status"], Value::from(answer.status), "{what}");
    assert!(problem["request_id"].is_string(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unsupported_methods_are_refused() {
    let app = TestApp::start().await;
    let host = app.base.trim_start_matches("http://");
    let long = "M".repeat(8 * 1024);
    for method in ["TRACE", "CONNECT", "PROPFIND", "get", "DELETE", "PATCH", &long] {
        for path in ["/", "/login", "/livez", "/auth/hubspot/start", "/api/hubspot/status", "/nowhere"] {
            let request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let heard = send_raw(&app.base, request.as_bytes()).await;
            let status = heard.get(9..12).unwrap_or("000");
            assert!(
                heard.is_empty() || matches!(status, "400" | "404" | "405" | "431" | "501"),
                "{} {path}: {heard}",
                &method[..method.len().min(10)]
            );
        }
    }
    assert_eq!(app.database.count(sql::AUTH_REQUESTS).await, 0);
    assert_alive(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_path_spellings_grant_no_access() {
    let app = TestApp::start().await;
    let host = app.base.trim_start_matches("http://");
    let long = format!("/{}", "p".repeat(8 * 1024));
    for path in [
        "//auth/hubspot/start",
        "/auth/../login",
        "/auth/hubspot/../../login",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/auth/hubspot/start/",
        "/auth/hubspot/start;x=1",
        "/AUTH/hubspot/start",
        "/auth%2fhubspot%2fstart",
        "/auth/hubspot/start%00",
        "/static/../Cargo.toml",
        "/static/..%2f..%2fCargo.toml",
        "/static/%2e%2e/%2e%2e/Cargo.toml",
        "/static/....//Cargo.toml",
        "/static/",
        "/static//etc/passwd",
        "/static/\\..\\Cargo.toml",
        "/readyz",
        "/metrics",
        &long,
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let heard = send_raw(&app.base, request.as_bytes()).await;
        let status = heard.get(9..12).unwrap_or("000");
        assert!(
            matches!(status, "303" | "400" | "404" | "414"),
            "{path}: {}",
            &heard[..heard.len().min(300)]
        );
        assert!(!heard.contains("[package]") && !heard.contains("root:"), "{path}");
    }
    assert_eq!(app.database.count(sql::AUTH_REQUESTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_are_handed_off_once_and_only_to_their_browser() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let callback = browser.come_back(&app, Some(HOST), approve(ACME)).await;
    let stranger = app.browser().handoff(callback.location()).await;
    assert_eq!((stranger.status, problem_of(&stranger).as_str()), (404, "flow_unknown"));
    let takes = [(); 10].map(|()| {
        let request = browser
            .request(Method::POST, "/auth/hubspot/handoff")
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/json")
            .body(json!({"flow": flow_of(callback.location())}).to_string());
        tokio::spawn(request.send())
    });
    let mut given = 0;
    for take in takes {
        let answer = take.await.unwrap().unwrap();
        assert!(matches!(answer.status().as_u16(), 200 | 410), "{}", answer.status());
        given += usize::from(answer.status() == 200);
    }
    assert_eq!(given, 1);
    let again = browser.handoff(callback.location()).await;
    assert_eq!((again.status, problem_of(&again).as_str()), (410, "already_delivered"));
}
