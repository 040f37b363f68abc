//! The start of a flow: allowed callers, and attacks.

use crate::harness::app::{ACME, GLOBEX, HOST, approve};
use crate::harness::browser::{Answer, encode, problem_of};
use crate::harness::page::{Page, approved};
use crate::harness::{TestApp, sql};

async fn count_auth_requests(app: &TestApp) -> i64 {
    app.database.count(sql::AUTH_REQUESTS).await
}

fn assert_refused(answer: &Answer, code: &str, what: &str) {
    assert_eq!((answer.status, problem_of(answer).as_str()), (400, code), "{what}");
    assert_eq!(answer.location(), "", "{what}");
    assert!(answer.cookies().is_empty(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn subresources_fetches_and_prefetches_start_nothing() {
    let app = TestApp::start().await;
    let browser = app.browser();
    for headers in [
        [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
        [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
        [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "frame")],
        [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "object")],
        [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
        [("sec-fetch-mode", "navigate"), ("sec-purpose", "prefetch")],
        [("sec-fetch-mode", "navigate"), ("purpose", "prefetch")],
    ] {
        let refused =
            browser.navigate(&format!("/auth/hubspot/start?origin={}", encode(HOST)), &headers).await;
        assert_refused(&refused, "not_a_navigation", &format!("{headers:?}"));
    }
    assert_eq!(count_auth_requests(&app).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cross_site_navigations_need_confirmation_on_the_launch_page() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let forced =
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];

    let page = browser.navigate(&format!("/auth/hubspot/start?portal_id={ACME}"), &forced).await;

    assert_eq!((page.status, page.location()), (200, ""));
    assert!(page.cookies().is_empty());
    assert!(page.body.contains("data-page=\"confirm\""), "{}", page.body);
    assert_eq!(count_auth_requests(&app).await, 0);
    let link = link_to_go_on(&page.body);
    let clicked = [
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-user", "?1"),
    ];
    let begun = browser.navigate(&link, &clicked).await;
    assert_eq!(begun.status, 302);
    assert!(begun.location().contains(&format!("/oauth/{ACME}/authorize")));
    assert_eq!(count_auth_requests(&app).await, 1);
}

/// Returns the URL behind the Continue button.
fn link_to_go_on(page: &str) -> String {
    let (_, rest) = page.split_once("class=\"button primary\" href=\"").expect("a button to go on");
    let link = rest.split('"').next().expect("its end");
    let link = link.replace("&amp;", "&").replace("&#x2F;", "/").replace("&#x2f;", "/");
    assert!(link.starts_with("/auth/hubspot/start"), "{link}");
    link
}

#[tokio::test(flavor = "multi_thread")]
async fn start_parameters_cannot_redirect_elsewhere() {
    let app = TestApp::start().await;
    let browser = app.browser();
    for target in [
        "https://evil.example",
        "https://evil.example/",
        "http://evil.example",
        "//evil.example",
        "///evil.example",
        "////evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "\\/evil.example",
        "https:evil.example",
        "https:/evil.example",
        "https:///evil.example",
        "https://host.localhost:3000@evil.example",
        "https://host.localhost:3000.evil.example",
        "http://host.localhost:3000%2f%2fevil.example",
        "//evil.example%2f..",
        "http://host.localhost:3000\u{3002}evil.example",
        "http://host.localhost:3000%0d%0aSet-Cookie:a=b",
        "java\tscript:alert(1)",
        "javascript:alert(1)",
        "blob:http://host.localhost:3000/7d2c0cd0-7e9f-4b1e-9a34-1f2f2b6f0c11",
        "data:text/html,<script>alert(1)</script>",
        "\thttps://evil.example",
        "ht\ntps://evil.example",
        "/",
        HOST,
        "",
    ] {
        for name in ["return_url", "return_url[]"] {
            let refused = browser.get(&format!("/auth/hubspot/start?{name}={}", encode(target))).await;
            let code = if name == "return_url" { "return_url_not_allowed" } else { "bad_request" };
            assert_refused(&refused, code, target);
        }
    }
    for ignored in ["redirect_uri", "redirect", "next", "url", "callback", "state", "client_id"] {
        let begun = browser.get(&format!("/auth/hubspot/start?{ignored}=https%3A%2F%2Fevil.example")).await;
        assert!(begun.location().starts_with(&app.hubspot.authorize_url()), "{ignored}");
        assert!(!begun.location().contains("evil.example"), "{ignored}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn portal_ids_accept_only_numbers() {
    let app = TestApp::start().await;
    let browser = app.browser();
    for junk in [
        "",
        " ",
        "abc",
        "-1",
        "1.5",
        "1e3",
        "0x10",
        " 1",
        "1 ",
        "1/../../evil",
        "1?x=",
        "1#",
        "１２３",
        "99999999999999999999",
        "1\0",
        "1%2F2",
    ] {
        let refused = browser.get(&format!("/auth/hubspot/start?portal_id={}", encode(junk))).await;
        assert_refused(&refused, "bad_request", junk);
    }
    assert_eq!(count_auth_requests(&app).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unlisted_pages_start_nothing() {
    let app = TestApp::with(&[("HOST_ORIGINS", &format!("{HOST},https://app.example.com"))]).await;
    let browser = app.browser();
    for origin in [
        "https://evil.example",
        "http://host.localhost:3000.evil.example",
        "http://host.localhost:3000@evil.example",
        "http://evil.host.localhost:3000",
        "http://evilhost.localhost:3000",
        "http://host.localhost",
        "http://host.localhost:30000",
        "https://host.localhost:3000",
        "http://host.localhost:3000/",
        "http://host.localhost:3000/path",
        "http://HOST.localhost:3000",
        "HTTP://host.localhost:3000",
        "http://host.localhost.:3000",
        "http://user@host.localhost:3000",
        " http://host.localhost:3000",
        "http://host.localhost:3000 ",
        "http://host.localhost:3000\0",
        "http://host.localhost:3000,https://evil.example",
        "https://app.example.com:443",
        "https://app.example.com.",
        "https://APP.example.com",
        "https://appxexample.com",
        "https://app.example.com.evil.example",
        "null",
        "*",
        "",
    ] {
        let refused = browser.get(&format!("/auth/hubspot/start?origin={}", encode(origin))).await;
        assert_refused(&refused, "origin_not_allowed", origin);
    }
    assert_eq!(count_auth_requests(&app).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_start_parameters_are_refused() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let host = encode(HOST);
    for query in [
        format!("origin={host}&origin={host}"),
        format!("origin={host}&origin=https%3A%2F%2Fevil.example"),
        format!("origin[]={host}"),
        format!("origin[0]={host}&origin={host}"),
        format!("origin={host}&portal_id={ACME}&portal_id={GLOBEX}"),
        format!("portal_id[]={ACME}"),
    ] {
        let refused = browser.get(&format!("/auth/hubspot/start?{query}")).await;
        assert_refused(&refused, "bad_request", &query);
    }
    assert_eq!(count_auth_requests(&app).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unnamed_openers_get_no_token_with_several_allowed_origins() {
    let app = TestApp::with(&[("HOST_ORIGINS", &format!("{HOST},https://app.example.com"))]).await;

    let done = app.browser().connect(&app, None, approve(ACME)).await;

    assert_eq!(done["origin"], app.base);
    assert!(done["message"].get("access_token").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_flows_in_one_browser_are_independent() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let first = browser.start(Some(HOST)).await;
    let second = browser.start(None).await;
    for (authorize, account) in [(first, ACME), (second, GLOBEX)] {
        let back = app.hubspot.decide(&authorize, approve(account)).expect("back");

        let done = browser.get(&back).await;

        let message = browser.handoff(done.location()).await.json()["message"].clone();
        assert_eq!(message["type"], "hubspot_auth_success", "{account}");
        assert_eq!(message["portal_id"], account);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_starts_leave_a_short_cookie_header_and_the_last_five_flows_succeed() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let mut requests = Vec::new();
    for _ in 0..30 {
        requests.push(browser.start(Some(HOST)).await);
        app.advance(1);
    }

    let cookies = browser.cookies.lock().unwrap().clone();

    let length: usize = cookies.iter().map(|(name, value)| name.len() + value.len() + "=; ".len()).sum();
    assert!(length < 2048, "{length}");
    assert_eq!(cookies.len(), 5);
    for (at, authorize) in requests[25..].iter().enumerate() {
        let back = app.hubspot.decide(authorize, approve(ACME)).expect("back");
        let done = browser.get(&back).await;
        let message = browser.handoff(done.location()).await.json()["message"].clone();
        assert_eq!(message["type"], "hubspot_auth_success", "attempt {at} of the last five");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reused_challenges_start_nothing() {
    let app = TestApp::start().await;
    let (page, popup, attacker) = (Page::new(&app.base, HOST), app.browser(), app.browser());
    let authorize = page.begin(&popup).await;
    let flow = page.poll().await.json()["flow"].clone();

    // A program may claim any origin for its form. Without scripts the popup's reload sends the form too.
    for (browser, again) in [
        (&attacker, page.post(&attacker, Some(HOST), &[]).await),
        (&attacker, page.link(&attacker).await),
        (&popup, page.post(&popup, Some(HOST), &[]).await),
    ] {
        assert_eq!((again.status, problem_of(&again).as_str()), (409, "challenge_used"), "{}", again.body);
        assert!(again.cookies().is_empty() && !again.body.contains("oauth/authorize"), "{}", again.body);
        assert_eq!(browser.cookie("__Host-hsc_f_").is_some(), std::ptr::eq(browser, &popup));
    }

    assert_eq!(count_auth_requests(&app).await, 1);
    approved(&app, &popup, &authorize).await;
    let state = page.poll().await.json();
    assert_eq!((&state["status"], &state["flow"]), (&"connected".into(), &flow), "{state}");
    // It stays taken for as long as its flow is stored.
    let late = page.post(&attacker, Some(HOST), &[]).await;
    assert_eq!((late.status, problem_of(&late).as_str()), (409, "challenge_used"));
    // Flows without one are still allowed.
    attacker.start(Some(HOST)).await;
    attacker.start(Some(HOST)).await;
    assert_eq!(count_auth_requests(&app).await, 3);
}
