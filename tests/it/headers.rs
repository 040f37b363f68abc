//! The headers of every response: security headers, cookies, request ids; and the rules of the service's own scripts.

use reqwest::Method;
use serde_json::json;

use crate::harness::app::{ACME, HOST, approve};
use crate::harness::browser::{Answer, send_raw};
use crate::harness::{Browser, TestApp, sql};

const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'; \
    require-trusted-types-for 'script'";

fn assert_hardened(answer: &Answer, what: &str) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ] {
        assert_eq!(answer.header(name), value, "{what}: {name}");
    }
    let policy = answer.header("content-security-policy");
    let api = "default-src 'none'; frame-ancestors 'none'";
    assert!([PAGE_POLICY, api].contains(&policy), "{what}: {policy}");
    let opener = answer.header("cross-origin-opener-policy");
    assert!(!opener.is_empty(), "{what}: no opener policy");
    let resource = answer.header("cross-origin-resource-policy");
    let open = what.contains("/api/hubspot/status") || what == "/livez";
    assert_eq!(resource, if open { "cross-origin" } else { "same-origin" }, "{what}");
    let caching = answer.header("cache-control");
    let file = what.contains("/static/") && answer.status < 400;
    assert_eq!(caching, if file { "public, no-cache" } else { "no-store" }, "{what}");
    assert!(answer.header("x-request-id").len() >= 8, "{what}");
    assert_eq!((answer.header("server"), answer.header("x-powered-by")), ("", ""), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_has_the_security_headers() {
    let app = TestApp::start().await;
    let (browser, stranger) = (app.connected(ACME).await, app.browser());
    for (path, status) in [
        ("/", 200),
        ("/login", 303),
        ("/logout", 200),
        ("/livez", 200),
        ("/static/app.css", 200),
        ("/static/nothing.css", 404),
        ("/auth/hubspot/start", 302),
        ("/auth/hubspot/start?origin=https://evil.example", 400),
        ("/auth/hubspot/callback", 303),
        ("/auth/hubspot/launched", 200),
        ("/auth/hubspot/done", 200),
        ("/auth/hubspot/handoff", 405),
        ("/api/hubspot/status", 200),
        ("/api/hubspot/status?wait=soon", 400),
        ("/api/hubspot/disconnect", 405),
        ("/nowhere", 404),
        ("/api/nowhere", 404),
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert_hardened(&answer, path);
    }
    let large = json!({"flow": "x".repeat(20_000)});
    for (what, answer, status) in [
        ("anonymous /", stranger.get("/").await, 303),
        ("no session", stranger.post_json("/api/hubspot/disconnect", &json!({})).await, 400),
        ("large", browser.post_json("/auth/hubspot/handoff", &large).await, 413),
        ("logout", browser.logout().await, 303),
    ] {
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        assert_hardened(&answer, what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_during_a_database_outage_have_the_security_headers_and_no_details() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    app.database.hide(sql::CONNECTIONS).await;
    app.database.hide(sql::AUTH_REQUESTS).await;
    for path in ["/", "/api/hubspot/status", "/auth/hubspot/start"] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
        assert_eq!(answer.header("retry-after"), "5", "{path}");
        assert_hardened(&answer, path);
        for inside in ["token_gone", "auth_request", "SELECT", "INSERT", "sqlx", ".rs"] {
            assert!(!answer.body.contains(inside), "{path}: {}", answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_the_session_table_have_the_security_headers() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let app = app.restarted(&[]).await;
    app.database.hide(sql::SESSIONS).await;

    let answer = browser.get("/").await;

    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_hardened(&answer, "/");
    assert!(answer.cookies().is_empty());
    assert_eq!(browser.get("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn popup_pages_and_opening_pages_keep_their_opener_relation() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    for (path, policy) in [
        ("/", "same-origin-allow-popups"),
        ("/login", "same-origin-allow-popups"),
        ("/logout", "same-origin-allow-popups"),
        ("/auth/hubspot/start", "unsafe-none"),
        ("/auth/hubspot/callback", "unsafe-none"),
        ("/auth/hubspot/launched", "unsafe-none"),
        ("/auth/hubspot/done", "unsafe-none"),
        ("/nowhere", "same-origin"),
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.header("cross-origin-opener-policy"), policy, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hsts_is_sent_behind_https() {
    for (subdomains, policy) in [("off", "max-age=63072000"), ("on", "max-age=63072000; includesubdomains")] {
        assert_stays_secure(subdomains, policy).await;
    }
}

async fn assert_stays_secure(subdomains: &str, policy: &str) {
    let public = ("PUBLIC_URL", "https://connect.example.com");
    let app = TestApp::with(&[public, ("HSTS_INCLUDE_SUBDOMAINS", subdomains)]).await;
    let (_, address) =
        app.variables.iter().find(|(name, _)| name == "SERVER_ADDR").expect("an address").clone();
    let request =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: connect.example.com\r\nConnection: close\r\n\r\n");
    for path in ["/login", "/nowhere", "/static/app.css", "/auth/hubspot/start"] {
        let answer = send_raw(&format!("http://{address}"), request(path).as_bytes()).await;
        let answer = answer.to_lowercase();
        assert!(answer.contains(&format!("\r\nstrict-transport-security: {policy}\r\n")), "{path}: {answer}");
    }
}

/// Asserts that a cookie line is complete and has no more: host-only, not readable by scripts, only over secure
/// connections, and not sent with background requests of other sites.
fn assert_strict(line: &str) {
    let mut parts = line.split("; ");
    let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("name=value");
    let flow = name.strip_prefix("__Host-hsc_f_");
    let named = flow.is_some_and(|id| id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(named || name == "__Host-hsc_sid", "{line}");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.%+".contains(&b);
    assert!(value.bytes().all(plain), "{line}");
    let (mut others, mut rest): (Vec<_>, Vec<_>) =
        parts.partition(|part| ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"].contains(part));
    others.sort_unstable();
    assert_eq!(others, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"], "{line}");
    // A removal has both attributes.
    rest.retain(|part| !(value.is_empty() && part.starts_with("Expires=")));
    let allowed = match (flow, value) {
        (_, "") => vec!["Max-Age=0"],
        (Some(_), _) => vec!["Max-Age=1200"],
        (None, _) => vec![],
    };
    assert_eq!(rest, allowed, "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cookie_is_strict_on_every_route() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let mut lines = Vec::new();
    for _ in 0..7 {
        let path = format!("/auth/hubspot/start?origin={HOST}");
        lines.extend(browser.get(&path).await.cookies());
        app.advance(1);
    }
    let done = browser.come_back(&app, Some(HOST), approve(ACME)).await;
    lines.extend(done.cookies());
    lines.extend(browser.handoff(done.location()).await.cookies());
    lines.extend(browser.get(done.location()).await.cookies());
    lines.extend(browser.get("/").await.cookies());
    lines.extend(browser.get("/login").await.cookies());
    lines.extend(browser.get("/auth/hubspot/callback").await.cookies());

    lines.extend(browser.logout().await.cookies());

    lines.iter().for_each(|line| assert_strict(line));
    let of_session = lines.iter().filter(|line| line.contains("hsc_sid")).count();
    assert_eq!(of_session, 2, "one to set it and one to remove it: {lines:?}");
    assert!(lines.iter().any(|line| line.contains("hsc_f_") && line.contains("Max-Age=0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_start_callback_and_logout_change_cookies() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let unreadable = app.browser();
    unreadable.plant("__Host-hsc_sid", "unreadable");
    for browser in [&browser, &app.browser(), &unreadable] {
        for path in [
            "/livez",
            "/static/app.css",
            "/static/nothing",
            "/api/hubspot/status",
            "/api/nowhere",
            "/",
            "/login",
            "/logout",
            "/auth/hubspot/done",
            "/nowhere",
        ] {
            let answer = browser.get(path).await;
            assert!(answer.cookies().is_empty(), "{path}: {:?}", answer.cookies());
        }
        let path = "/api/hubspot/disconnect";
        let answer = browser.post_json(path, &json!({"connection_id": "x"})).await;
        assert!(answer.cookies().is_empty(), "{path}: {:?}", answer.cookies());
    }
    let id = browser.status().await["connections"][0]["id"].clone();
    let answer = browser.disconnect(id.as_str().unwrap()).await;
    assert_eq!((answer.status, answer.cookies().len()), (200, 0));
}

async fn request_id(browser: &Browser, given: &[u8]) -> String {
    let request = browser.request(Method::GET, "/api/nowhere").header("x-request-id", given);
    let answer = browser.send(request).await;
    let id = answer.header("x-request-id").to_owned();
    assert_eq!(answer.json()["request_id"], id);
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn harmless_request_ids_are_kept_and_others_replaced() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let harmless = "3f2504e0-4f89-11d3-9a0c-0305e82c3301";
    assert_eq!(request_id(&browser, harmless.as_bytes()).await, harmless);
    let long = "a".repeat(65);
    for odd in [
        "short",
        long.as_str(),
        "<script>alert(1)</script>",
        "abcdefgh; Path=/",
        "abcdefgh\t123",
        "abcdefgh%0d%0aSet-Cookie:x=y",
        "{\"abc\":\"defgh\"}",
        "../../../etc/passwd",
    ] {
        let id = request_id(&browser, odd.as_bytes()).await;
        assert_eq!(id.len(), 16, "{odd} -> {id}");
        assert!(id.bytes().all(|b| b.is_ascii_hexdigit()), "{odd} -> {id}");
    }
    let id = request_id(&browser, b"abcdefgh\xff\xfe").await;
    assert_eq!(id.len(), 16, "{id}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_post_to_one_named_origin_and_write_no_markup() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let mut posts = 0;
    for file in ["connect.js", "connections.js", "popup.js"] {
        let script = browser.get(&format!("/static/{file}")).await.body;
        assert!(script.len() > 100, "{file}");
        for call in script.split("postMessage(").skip(1) {
            let arguments = call.split(';').next().unwrap();
            assert!(!arguments.contains('*') && !arguments.contains("'/'"), "{file}: {arguments}");
            assert!(arguments.contains(", origin)"), "{file}: {arguments}");
            posts += 1;
        }
        for never in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "document.referrer",
            "localStorage",
            "sessionStorage",
            "document.cookie",
            "http://",
            "https://",
        ] {
            assert!(!script.contains(never), "{file} has {never}");
        }
    }
    assert_eq!(posts, 1);
    for path in ["/", "/logout", "/auth/hubspot/done", "/nowhere"] {
        let page = browser.get(path).await.body;
        for script in page.split("<script").skip(1) {
            let (attributes, rest) = script.split_once('>').unwrap();
            assert!(attributes.contains("src=\"/static/"), "{path}: {attributes}");
            assert!(rest.starts_with("</script>"), "{path}: a script inside the page");
        }
        for inline in [" onclick=", " onload=", " style=", "javascript:", "<style", "<iframe"] {
            assert!(!page.contains(inline), "{path} has {inline}");
        }
    }
}
