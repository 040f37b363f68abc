//! Invalid input to the API: the response is always a problem with a stable code that names the part of the body.

use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::harness::browser::{Answer, send_raw};
use crate::harness::{TestApp, sql};

const SESSIONS: &str = "/api/hubspot/connect-sessions";
const SOME_ID: &str = "0197f3c2-5b1e-4a44-9d0c-3f6b2f1f7a10";

/// Asserts the members of a problem (RFC 9457), and no others.
fn assert_problem(answer: &Answer, status: u16, code: &str, what: &str) -> Value {
    assert_eq!(answer.status, status, "{what}: {}", answer.body);
    assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{what}: {problem}");
    assert_eq!(problem["status"], status, "{what}");
    assert_eq!(problem["type"], format!("urn:hubspot-connect:problem:{code}"), "{what}");
    assert_eq!(problem["request_id"], answer.header("x-request-id"), "{what}");
    for member in ["title", "detail", "instance"] {
        assert!(!problem[member].as_str().unwrap_or_default().is_empty(), "{what}: {member}");
    }
    let known = [
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "request_id",
        "retryable",
        "hint",
        "pointer",
    ];
    for member in problem.as_object().unwrap().keys() {
        assert!(known.contains(&member.as_str()), "{what}: {member}");
    }
    problem
}

async fn post(app: &TestApp, key: &str, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
    let mut request = app.browser().request(Method::POST, SESSIONS).bearer_auth(key).body(body);
    if !kind.is_empty() {
        request = request.header("content-type", kind);
    }
    app.browser().send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn request_bodies_are_objects_and_not_arrays() {
    let app = TestApp::start().await;
    let browser = app.browser();
    for (path, list) in [
        ("/api/hubspot/cancel", "[null]".to_owned()),
        ("/api/hubspot/token", format!("[\"{SOME_ID}\", \"claim\"]")),
        ("/api/hubspot/disconnect", format!("[\"{SOME_ID}\"]")),
        ("/auth/hubspot/handoff", format!("[\"{SOME_ID}\"]")),
        ("/auth/hubspot/launch", format!("[\"{SOME_ID}\", \"key\"]")),
        ("/auth/hubspot/link", "[\"token\"]".to_owned()),
        ("/auth/hubspot/link/open", "[\"token\"]".to_owned()),
    ] {
        let request = browser.request(Method::POST, path).header("content-type", "application/json");
        let request = request
            .header("sec-fetch-site", "same-origin")
            .header("hubspot-connect-verifier", "v".repeat(43));
        assert_problem(&browser.send(request.body(list)).await, 400, "validation_failed", path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_bodies_are_reported_with_their_location() {
    let app = TestApp::start().await;
    let key = app.api_key("sessions:write").await;
    let cases: &[(&str, Vec<u8>, Option<&str>)] = &[
        ("wrong type", br#"{"external_user_id": 1}"#.into(), Some("/external_user_id")),
        (
            "wrong type inside",
            br#"{"external_user_id": "u", "scopes": ["oauth", 7]}"#.into(),
            Some("/scopes/1"),
        ),
        ("an unknown field", br#"{"external_user_id": "u", "surprise": 1}"#.into(), Some("/surprise")),
        (
            "a doubled key",
            br#"{"external_user_id": "u", "external_user_id": "v"}"#.into(),
            Some("/external_user_id"),
        ),
        (
            "a number beyond all",
            br#"{"external_user_id": "u", "expires_in": 1e400}"#.into(),
            Some("/expires_in"),
        ),
        ("a broken number", br#"{"external_user_id": "u", "expires_in": 1.5}"#.into(), Some("/expires_in")),
        ("a negative number", br#"{"external_user_id": "u", "portal_id": -1}"#.into(), Some("/portal_id")),
        (
            "a number too large",
            br#"{"external_user_id": "u", "portal_id": 9007199254740992}"#.into(),
            Some("/portal_id"),
        ),
        ("an unknown value", br#"{"external_user_id": "u", "confirm": "maybe"}"#.into(), Some("/confirm")),
        ("a lone surrogate", br#"{"external_user_id": "\ud800"}"#.into(), Some("/external_user_id")),
        ("a zero character", br#"{"external_user_id": "a\u0000b"}"#.into(), Some("/external_user_id")),
        ("a direction override", "{\"external_user_id\": \"a\u{202e}b\"}".into(), Some("/external_user_id")),
        ("an array", b"[]".into(), None),
        ("a text", b"\"external_user_id\"".into(), None),
        ("null", b"null".into(), None),
        ("cut off", br#"{"external_user_id": "#.into(), None),
        ("two of them", b"{} {}".into(), None),
        ("not JSON", b"external_user_id=u".into(), None),
        ("deep arrays", "[".repeat(8_000).into(), None),
        ("deep objects", r#"{"metadata":"#.repeat(1_000).into(), None),
        (
            "deep metadata",
            format!(
                r#"{{"external_user_id": "u", "metadata": {}{}}}"#,
                r#"{"a":"#.repeat(500),
                "}".repeat(500)
            )
            .into(),
            None,
        ),
        (
            "UTF-16",
            "\u{feff}{\"external_user_id\": \"u\"}".encode_utf16().flat_map(u16::to_le_bytes).collect(),
            None,
        ),
        ("a byte order mark", "\u{feff}{\"external_user_id\": \"u\"}".into(), None),
        ("a broken character", b"{\"external_user_id\": \"\xff\xfe\"}".into(), None),
        ("an overlong character", b"{\"external_user_id\": \"\xc0\xaf\"}".into(), None),
        ("half a surrogate in bytes", b"{\"external_user_id\": \"\xed\xa0\x80\"}".into(), None),
    ];
    for (what, body, pointer) in cases {
        let answer = post(&app, &key, "application/json", body.clone()).await;
        let is_json = serde_json::from_slice::<Value>(body).is_ok();
        let code = if is_json { "validation_failed" } else { "invalid_json" };
        let problem = assert_problem(&answer, 400, code, what);
        if let Some(pointer) = pointer {
            assert_eq!(problem["pointer"], *pointer, "{what}: {problem}");
        }
    }
    assert_eq!(app.database.count(sql::CONNECT_SESSIONS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_fields_are_reported_with_the_expected_value() {
    let app = TestApp::start().await;
    let key = app.api_key("sessions:write webhooks connections:write").await;
    let connection = format!("/api/hubspot/connections/{SOME_ID}/uninstall");
    for (path, body, hint) in [
        (SESSIONS, r#"{"confirm": "maybe"}"#, "`confirm` must be `none` or `backend`."),
        (SESSIONS, r#"{"scopes": ["oauth", 7]}"#, "`scopes[1]` must be a string."),
        (SESSIONS, r#"{"external_user_id": "u", "scopes": ["a b"]}"#, "`scopes[0]` is not a valid scope."),
        (SESSIONS, "{}", "`external_user_id` is required without `connection_id`."),
        (SESSIONS, r#"{"expires_in": 1.5}"#, "`expires_in` must be a whole number, 0 or more."),
        (
            SESSIONS,
            r#"{"external_user_id": "u", "expires_in": 5}"#,
            "`expires_in` must be a number of seconds from 60 to 604800.",
        ),
        ("/api/hubspot/webhooks", "{}", "`url` is required."),
        (
            "/api/hubspot/webhooks",
            r#"{"url": "https://a.example", "headers": {"host": "b"}}"#,
            "`headers.host` is not a header field that can be set.",
        ),
        (
            connection.as_str(),
            r#"{"confirm": true, "force": 1}"#,
            "`force` is not a field of this request; the fields are `confirm`.",
        ),
        (connection.as_str(), r#"{"confirm": 1}"#, "`confirm` must be `true` or `false`."),
        (
            "/api/hubspot/connections/0197f3c2-5b1e-4a44-9d0c-3f6b2f1f7a10/refresh",
            r#"{"force": true}"#,
            "The body must have no fields in this request.",
        ),
    ] {
        let request = app.browser().request(Method::POST, path).bearer_auth(&key).body(body);
        let answer = app.browser().send(request.header("content-type", "application/json")).await;
        let problem = assert_problem(&answer, 400, "validation_failed", path);
        assert_eq!(problem["hint"], hint, "{path} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_with_an_extra_slash_get_the_correct_path() {
    let app = TestApp::start().await;
    let key = app.api_key("sessions:write connections:read").await;
    for path in [
        "/api/hubspot/connections",
        "/api/hubspot/connect-sessions",
        "/api/hubspot/connections/0197f3c2-5b1e-4a44-9d0c-3f6b2f1f7a10/token",
        "/api/hubspot/installs",
        "/api/hubspot/status",
        "/api/openapi.json",
    ] {
        let answer = app.api(&key, Method::GET, &format!("{path}/"), None).await;
        let problem = assert_problem(&answer, 404, "not_found", path);
        assert_eq!(problem["hint"], format!("The path is `{path}`, without a trailing slash."), "{path}");
    }
    let nowhere = app.api(&key, Method::GET, "/api/hubspot/nothing/", None).await;
    assert!(assert_problem(&nowhere, 404, "not_found", "nothing").get("hint").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_wrong_type_or_size_are_refused_as_such() {
    let app = TestApp::start().await;
    let key = app.api_key("sessions:write").await;
    let good = r#"{"external_user_id": "u"}"#;
    for kind in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/jsonx",
        "application",
        "*/*",
    ] {
        assert_problem(&post(&app, &key, kind, good).await, 415, "unsupported_media_type", kind);
    }
    for kind in ["application/json", "APPLICATION/JSON", "application/json; charset=UTF-8"] {
        assert_eq!(post(&app, &key, kind, good).await.status, 201, "{kind}");
    }
    let large = format!(r#"{{"external_user_id": "{}"}}"#, "x".repeat(16 * 1024));
    assert_problem(&post(&app, &key, "application/json", large).await, 413, "payload_too_large", "large");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_methods_and_queries_return_problem_documents() {
    let app = TestApp::start().await;
    let key = app.api_key("sessions:write connections:read").await;
    for path in [
        "/api",
        "/api/",
        "/api/hubspot",
        "/api/hubspot/",
        "/api/hubspot/nothing",
        "/api/hubspot/connect-sessions/",
        "/api/hubspot/connect-sessions/not-an-id",
        "/api/hubspot/connect-sessions/0197F3C25B1E4A449D0C3F6B2F1F7A10",
        "/api/hubspot/connect-sessions/%00",
        "/api/hubspot/connect-sessions/%ff",
        "/api/hubspot/connect-sessions/..%2f..%2flivez",
        "/api/hubspot/connect-sessions/0197f3c2-5b1e-4a44-9d0c-3f6b2f1f7a10/nothing",
        "/api/openapi.json/more",
    ] {
        let answer = app.api(&key, Method::GET, path, None).await;
        if path == "/api" {
            // Outside of the API the response is a page.
            assert_eq!(answer.status, 404);
            continue;
        }
        let is_session = path.strip_prefix("/api/hubspot/connect-sessions/");
        let is_session = is_session.is_some_and(|id| !id.is_empty() && !id.contains('/'));
        let code = if is_session { "connect_session_not_found" } else { "not_found" };
        assert_problem(&answer, 404, code, path);
    }
    for (method, path, allowed) in [
        (Method::PUT, SESSIONS.to_owned(), "GET, HEAD, POST"),
        (Method::GET, "/api/hubspot/read-tokens".to_owned(), "POST"),
        (Method::PATCH, format!("{SESSIONS}/{SOME_ID}"), "DELETE, GET, HEAD"),
        (Method::POST, "/api/openapi.json".to_owned(), "GET, HEAD"),
        (Method::TRACE, "/api/hubspot/api-key".to_owned(), "GET, HEAD"),
        (Method::from_bytes(b"BREW").unwrap(), "/api/hubspot/api-key".to_owned(), "GET, HEAD"),
        (Method::DELETE, "/api/hubspot/status".to_owned(), "GET, HEAD"),
        (Method::GET, "/api/hubspot/token".to_owned(), "POST"),
    ] {
        let answer = app.api(&key, method.clone(), &path, None).await;
        assert_problem(&answer, 405, "method_not_allowed", &format!("{method} {path}"));
        let mut named: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
        named.sort_unstable();
        assert_eq!(named.join(", "), allowed, "{method} {path}");
    }
    for query in ["wait=soon", "wait=-1", "wait=1e3", "wait=1&wait=2", "wait=99999999999999999999"] {
        let answer = app.browser().get(&format!("/api/hubspot/status?{query}")).await;
        assert_problem(&answer, 400, "bad_request", query);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_api_keys_are_refused_with_the_reason() {
    let app = TestApp::start().await;
    let weak = app.api_key("proxy").await;
    let with = async |line: Option<&[u8]>| {
        let mut request = app.browser().request(Method::POST, SESSIONS).body("{}");
        request = request.header("content-type", "application/json");
        if let Some(line) = line {
            let name = HeaderName::from_static("authorization");
            request = request.header(name, HeaderValue::from_bytes(line).unwrap());
        }
        app.browser().send(request).await
    };
    assert_problem(&with(None).await, 401, "api_key_missing", "none");
    let weak = format!("Bearer {weak}");
    for (line, status, code) in [
        (&b""[..], 401, "api_key_invalid"),
        (b"Bearer", 401, "api_key_invalid"),
        (b"Bearer ", 401, "api_key_invalid"),
        (b"Basic dTpw", 401, "api_key_invalid"),
        (b"Bearer \xff\xfe", 401, "api_key_invalid"),
        (b"Bearer hsc_key_00000000_wrong", 401, "api_key_invalid"),
        (weak.as_bytes(), 403, "api_key_scope_missing"),
    ] {
        let what = String::from_utf8_lossy(line);
        let answer = with(Some(line)).await;
        assert_problem(&answer, status, code, &what);
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_no_framework_error_page() {
    let app = TestApp::start().await;
    let host = app.base.trim_start_matches("http://");
    for (what, raw) in [
        (
            "a broken length",
            format!("POST {SESSIONS} HTTP/1.1\r\nHost: {host}\r\nContent-Length: many\r\n\r\n"),
        ),
        (
            "two lengths",
            format!(
                "POST {SESSIONS} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
        ),
        ("a broken header", format!("GET {SESSIONS} HTTP/1.1\r\nHost: {host}\r\nbroken\r\n\r\n")),
        ("no version", format!("GET {SESSIONS}\r\n\r\n")),
    ] {
        let answer = send_raw(&app.base, raw.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") || answer.is_empty(), "{what}: {answer}");
        for word in ["actix", "panicked", "src/", "serde"] {
            assert!(!answer.contains(word), "{what}: {answer}");
        }
    }
}
