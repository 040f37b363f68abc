//! The requests that other sites can cause in a user's browser, and the responses that their scripts can read.

use fake_hubspot::Kind;
use reqwest::Method;
use serde_json::json;

use crate::harness::app::{ACME, HOST, approve};
use crate::harness::browser::{Answer, flow_of, problem_of};
use crate::harness::{Browser, TestApp};

/// Returns headers that a browser sends when a request does not come from the service's own pages.
fn foreign(app: &TestApp) -> Vec<Vec<(&'static str, String)>> {
    let own = app.base.clone();
    vec![
        vec![("sec-fetch-site", "cross-site".to_owned())],
        vec![("sec-fetch-site", "same-site".to_owned())],
        vec![("sec-fetch-site", "cross-site".to_owned()), ("origin", own.clone())],
        vec![("sec-fetch-site", "same-site".to_owned()), ("origin", own)],
        vec![("sec-fetch-site", "none".to_owned()), ("origin", "null".to_owned())],
        vec![("sec-fetch-site", "same-origin".to_owned()), ("origin", HOST.to_owned())],
        vec![("origin", HOST.to_owned())],
        vec![("origin", "null".to_owned())],
        vec![("origin", "https://evil.example".to_owned())],
        vec![("origin", format!("{}.evil.example", app.base))],
        vec![("origin", format!("{}/", app.base))],
        vec![],
    ]
}

async fn post(
    browser: &Browser,
    path: &str,
    kind: &str,
    headers: &[(&'static str, String)],
    body: String,
) -> Answer {
    let request = browser.request(Method::POST, path);
    let request = if kind.is_empty() { request } else { request.header("content-type", kind) };
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
    browser.send(request.body(body)).await
}

async fn still_connected(app: &TestApp, browser: &Browser) {
    assert_eq!(browser.status().await["status"], "active");
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 0);
}

async fn connection_of(browser: &Browser) -> String {
    browser.status().await["connections"][0]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn cross_site_requests_cannot_disconnect_even_with_a_form_token() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let (id, token) = (connection_of(&browser).await, browser.csrf().await);
    for mut headers in foreign(&app) {
        headers.push(("hubspot-connect-csrf", token.clone()));
        let body = json!({"connection_id": id}).to_string();

        let refused = post(&browser, "/api/hubspot/disconnect", "application/json", &headers, body).await;

        assert_eq!((refused.status, problem_of(&refused).as_str()), (403, "csrf_rejected"), "{headers:?}");
    }
    still_connected(&app, &browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cross_site_requests_cannot_log_out() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let token = browser.csrf().await;
    for headers in foreign(&app) {
        let refused =
            post(&browser, "/logout", "application/x-www-form-urlencoded", &headers, format!("csrf={token}"))
                .await;
        assert_eq!((refused.status, problem_of(&refused).as_str()), (403, "csrf_rejected"), "{headers:?}");
    }
    still_connected(&app, &browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_of_the_logout_page_does_not_log_out() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let token = browser.csrf().await;

    let asked = browser
        .navigate(
            &format!("/logout?csrf={token}"),
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
        )
        .await;

    assert_eq!(asked.status, 200);
    assert!(asked.cookies().is_empty());
    still_connected(&app, &browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn form_tokens_are_bound_to_their_session() {
    let app = TestApp::start().await;
    let (browser, other) = (app.connected(ACME).await, app.connected(ACME).await);
    let (id, of_other) = (connection_of(&browser).await, other.csrf().await);
    let own = [("sec-fetch-site", "same-origin".to_owned())];
    for token in [of_other.as_str(), "", "A", &"A".repeat(43)] {
        let mut headers = own.to_vec();
        headers.push(("hubspot-connect-csrf", token.to_owned()));
        let body = json!({"connection_id": id}).to_string();
        let refused = post(&browser, "/api/hubspot/disconnect", "application/json", &headers, body).await;
        assert_eq!(problem_of(&refused), "csrf_rejected", "{token}");
        let form = format!("csrf={token}");
        let refused = post(&browser, "/logout", "application/x-www-form-urlencoded", &own, form).await;
        assert_eq!(problem_of(&refused), "csrf_rejected", "{token}");
    }
    let body = json!({"connection_id": id}).to_string();
    let refused = post(&browser, "/api/hubspot/disconnect", "application/json", &own, body).await;
    assert_eq!(problem_of(&refused), "csrf_rejected", "no token");
    still_connected(&app, &browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn form_tokens_expire_with_the_next_connection() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let (id, before) = (connection_of(&browser).await, browser.csrf().await);
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    let headers = [("sec-fetch-site", "same-origin".to_owned()), ("hubspot-connect-csrf", before)];
    let body = json!({"connection_id": id}).to_string();

    let refused = post(&browser, "/api/hubspot/disconnect", "application/json", &headers, body).await;

    assert_eq!(problem_of(&refused), "csrf_rejected");
    still_connected(&app, &browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn form_content_types_are_not_accepted_as_json() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let headers =
        [("sec-fetch-site", "same-origin".to_owned()), ("hubspot-connect-csrf", browser.csrf().await)];
    let body = json!({"connection_id": connection_of(&browser).await}).to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", ""] {
        let refused = post(&browser, "/api/hubspot/disconnect", kind, &headers, body.clone()).await;
        assert!([400, 415].contains(&refused.status), "{kind}: {}", refused.status);
    }
    still_connected(&app, &browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_opener_message_is_given_only_to_the_popup_page() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let done = browser.come_back(&app, Some(HOST), approve(ACME)).await;
    let body = json!({"flow": flow_of(done.location())}).to_string();
    for headers in foreign(&app) {
        let refused =
            post(&browser, "/auth/hubspot/handoff", "application/json", &headers, body.clone()).await;
        assert_eq!((refused.status, problem_of(&refused).as_str()), (403, "csrf_rejected"), "{headers:?}");
    }
    assert_eq!(browser.handoff(done.location()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_to_post_do_not_redirect_the_post() {
    let app = TestApp::start().await;
    let (browser, stranger) = (app.connected(ACME).await, app.browser());
    let mut answers = vec![stranger.post_form("/logout", &[("csrf", "x")]).await, browser.logout().await];
    for path in [
        "/",
        "/login",
        "/auth/hubspot/start",
        "/auth/hubspot/callback",
        "/auth/hubspot/done",
        "/auth/hubspot/handoff",
        "/api/hubspot/status",
        "/api/hubspot/disconnect",
        "/livez",
        "/static/app.css",
        "/nowhere",
    ] {
        answers.push(browser.post_form(path, &[("a", "b")]).await);
        answers.push(browser.post_json(path, &json!({"a": "b"})).await);
    }
    for answer in &answers {
        assert!(![301, 302, 307, 308].contains(&answer.status), "{answer:?}");
        assert!(answer.status == 303 || answer.location().is_empty(), "{answer:?}");
    }
}

/// Origins that are not the listed one, however similar.
const STRANGERS: [&str; 8] = [
    "null",
    "https://evil.example",
    "http://host.localhost:3000.evil.example",
    "http://sub.host.localhost:3000",
    "https://host.localhost:3000",
    "http://host.localhost",
    "http://HOST.localhost:3000",
    "http://host.localhost:3000, https://evil.example",
];

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_origins_read_the_status_and_without_cookies() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;

    let listed = browser.navigate("/api/hubspot/status", &[("origin", HOST)]).await;

    assert_eq!(listed.header("access-control-allow-origin"), HOST);
    assert_eq!(listed.header("access-control-allow-credentials"), "");
    for origin in STRANGERS {
        let answer = browser.navigate("/api/hubspot/status", &[("origin", origin)]).await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        assert_eq!(answer.header("access-control-allow-credentials"), "", "{origin}");
        assert!(varies_by_origin(&answer), "{origin}");
    }
    assert!(varies_by_origin(&listed));
    assert!(varies_by_origin(&browser.get("/api/hubspot/status").await));
}

fn varies_by_origin(answer: &Answer) -> bool {
    let vary = answer.header("vary").to_lowercase();
    vary.split(',').any(|name| name.trim() == "origin")
}

async fn preflight(browser: &Browser, path: &str, origin: &str, method: &str, header: &str) -> Answer {
    let request = browser
        .request(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", header);
    browser.send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_permit_only_reads_by_allowed_origins() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let status = "/api/hubspot/status";

    let permitted = preflight(&browser, status, HOST, "GET", "hubspot-connect-verifier").await;

    assert_eq!(permitted.status, 200);
    assert_eq!(permitted.header("access-control-allow-origin"), HOST);
    assert_eq!(permitted.header("access-control-allow-methods"), "GET");
    assert_eq!(permitted.header("access-control-allow-credentials"), "");
    assert!(varies_by_origin(&permitted));
    for origin in STRANGERS {
        let refused = preflight(&browser, status, origin, "GET", "hubspot-connect-verifier").await;
        assert_eq!(refused.header("access-control-allow-origin"), "", "{origin}");
    }
    for (method, header) in [("DELETE", "content-type"), ("GET", "hubspot-connect-csrf")] {
        let refused = preflight(&browser, status, HOST, method, header).await;
        assert_eq!(refused.header("access-control-allow-origin"), "", "{method} {header}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_sdk_endpoints_allow_cross_origin_requests() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    for path in [
        "/",
        "/login",
        "/logout",
        "/auth/hubspot/start",
        "/auth/hubspot/callback",
        "/auth/hubspot/done",
        "/auth/hubspot/handoff",
        "/auth/hubspot/launch",
        "/static/popup.js",
    ] {
        let answers = [
            browser.navigate(path, &[("origin", HOST)]).await,
            preflight(&browser, path, HOST, "POST", "content-type,hubspot-connect-csrf").await,
        ];
        for answer in answers {
            assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
            assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{path}");
        }
    }
}
