//! The cookie of an authorization request: what it recovers and for how long, when it is set, and when it is removed.

use fake_hubspot::Kind;
use serde_json::json;

use crate::harness::app::{ACME, GLOBEX, HOST, approve};
use crate::harness::browser::{Answer, parameter, problem_of};
use crate::harness::page::{Page, connected, data, go_on};
use crate::harness::{Browser, TestApp, sql};

const SESSION: &str = "__Host-hsc_sid";
const FLOW: &str = "__Host-hsc_f_";

/// Closes the browser: session cookies are deleted; those of authorization requests have their own lifetime.
fn close(browser: &Browser) {
    browser.cookies.lock().unwrap().remove(SESSION);
}

async fn accounts(browser: &Browser) -> Vec<u64> {
    let status = browser.status().await;
    let connections = status["connections"].as_array().expect("a list");
    let mut accounts: Vec<u64> =
        connections.iter().map(|connection| connection["portal_id"].as_u64().expect("an account")).collect();
    accounts.sort_unstable();
    accounts
}

/// Starts a flow and consents at HubSpot; returns the callback URL.
async fn approved(app: &TestApp, browser: &Browser, account: u64) -> String {
    let authorize = browser.start(Some(HOST)).await;
    app.hubspot.decide(&authorize, approve(account)).expect("HubSpot sends the browser back")
}

fn assert_calm(page: &Answer) {
    assert_eq!(page.status, 200);
    assert!(page.body.contains("data-outcome=\"over\""), "{}", page.body);
    assert_eq!(problem_of(page), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_callback_responses_are_recovered_within_a_minute() {
    for (seconds, repaired) in [(0, true), (59, true), (61, false), (1_000, false)] {
        for by_callback in [false, true] {
            let app = TestApp::start().await;
            let browser = app.browser();
            let back = approved(&app, &browser, ACME).await;
            let done = browser.get(&back).await.location().to_owned();
            close(&browser);
            app.advance(seconds);

            browser.get(if by_callback { &back } else { &done }).await;

            let expected: &[u64] = if repaired { &[ACME] } else { &[] };
            assert_eq!(accounts(&browser).await, expected, "{seconds} s, by the callback: {by_callback}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_already_used_are_never_restored() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let back = approved(&app, &browser, ACME).await;
    let done = browser.get(&back).await.location().to_owned();
    browser.get(&done).await;
    close(&browser);

    for address in [&done, &back] {
        browser.get(address).await;
        assert_eq!(browser.status().await, json!({"authenticated": false, "connections": []}), "{address}");
    }

    assert!(browser.cookie(FLOW).is_some(), "its cookie is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_handed_off_within_a_minute_of_the_outcome() {
    let app = TestApp::start().await;
    for by_page in [false, true] {
        let (browser, page) = (app.browser(), Page::new(&app.base, HOST));
        let done = match by_page {
            true => connected(&app, &page, &browser).await,
            false => browser.come_back(&app, Some(HOST), approve(ACME)).await,
        };
        app.advance(61);

        let message = browser.handoff(done.location()).await.json()["message"].clone();

        assert_eq!(message["type"], "hubspot_auth_success", "{message}");
        assert!(message.get("access_token").is_none() && message.get("pickup_code").is_none(), "{message}");
        if by_page {
            // The starting page has its own secret, and polls for itself.
            assert!(page.poll().await.json()["pickup_code"].is_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_finished_without_their_session_grant_no_older_connection() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let before = browser.status().await["user_id"].clone();
    let back = approved(&app, &browser, GLOBEX).await;
    close(&browser);

    browser.get(&back).await;

    assert_eq!(accounts(&browser).await, [GLOBEX]);
    assert_ne!(browser.status().await["user_id"], before);
    assert_eq!(app.database.number_in(sql::CONNECTIONS, "COUNT(DISTINCT user_id)").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_during_a_session_key_change_keep_their_user() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    browser.status().await;
    let (one, two) = (approved(&app, &browser, GLOBEX).await, approved(&app, &browser, ACME).await);
    // The response with the new key has not arrived when the second window comes back with the old one.
    browser.request(reqwest::Method::GET, &one).send().await.expect("an answer");

    browser.get(&two).await;

    assert_eq!(accounts(&browser).await, [ACME, GLOBEX]);
}

#[tokio::test(flavor = "multi_thread")]
async fn account_mismatch_decisions_require_the_session() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let page = Page::new(&app.base, HOST);
    let launch = page.post(&browser, Some(HOST), &[("portal_id", &ACME.to_string())]).await;
    let back = app.hubspot.decide(&data(&launch, "authorize-url"), approve(GLOBEX)).expect("back");
    let done = browser.get(&back).await;
    let question = browser.get(done.location()).await;
    let flow = data(&question, "flow");
    let session = browser.cookie(SESSION).expect("a session").1;
    close(&browser);

    for decision in ["keep", "switch", "back"] {
        let form = [("flow", flow.as_str()), ("decision", decision)];
        let refused = browser.post_form("/auth/hubspot/decide", &form).await;
        assert_eq!((refused.status, problem_of(&refused).as_str()), (403, "flow_not_yours"), "{decision}");
    }

    assert_eq!(accounts(&browser).await, [0; 0]);
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 0);
    browser.plant(SESSION, &session);
    browser.post_form("/auth/hubspot/decide", &[("flow", &flow), ("decision", "switch")]).await;
    assert_eq!(accounts(&browser).await, [GLOBEX], "the user who is asked can still decide");
}

#[tokio::test(flavor = "multi_thread")]
async fn account_mismatch_decisions_start_a_new_hand_off_window() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let start = format!("/auth/hubspot/start?origin={HOST}&portal_id={ACME}");
    let back = app.hubspot.decide(browser.get(&start).await.location(), approve(GLOBEX)).expect("back");
    let done = browser.get(&back).await;
    let flow = data(&browser.get(done.location()).await, "flow");
    app.advance(300);

    let decided = browser.post_form("/auth/hubspot/decide", &[("flow", &flow), ("decision", "keep")]).await;

    let message = browser.handoff(decided.location()).await.json()["message"].clone();
    assert!(message["access_token"].is_string(), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hand_off_removes_the_cookie_and_a_reload_shows_no_error() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let back = approved(&app, &browser, ACME).await;
    let done = browser.get(&back).await.location().to_owned();
    browser.get(&done).await;

    let handed = browser.handoff(&done).await;

    let removed = handed.cookies();
    assert!(
        removed.len() == 1 && removed[0].starts_with(FLOW) && removed[0].contains("Max-Age=0"),
        "{removed:?}"
    );
    assert!(browser.cookie(FLOW).is_none());
    assert_calm(&browser.get(&done).await);
    let again = browser.get(&back).await;
    assert_eq!((again.status, again.location()), (303, done.as_str()));
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 1);
    assert_eq!(accounts(&browser).await, [ACME], "the session goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_is_removed_when_nothing_is_left_to_hand_off() {
    let app = TestApp::start().await;
    // The response to the hand-off was lost, and with it the removal.
    let browser = app.browser();
    let done = browser.come_back(&app, Some(HOST), approve(ACME)).await.location().to_owned();
    let (name, value) = browser.cookie(FLOW).expect("a cookie");
    browser.handoff(&done).await;
    browser.plant(&name, &value);
    assert!(browser.get(&done).await.body.contains("data-outcome=\"success\""));
    assert!(browser.cookie(FLOW).is_none(), "handed off");
    assert_calm(&browser.get(&done).await);

    // A minute has passed.
    let browser = app.browser();
    let done = browser.come_back(&app, Some(HOST), approve(ACME)).await.location().to_owned();
    app.advance(61);
    browser.get(&done).await;
    assert!(browser.cookie(FLOW).is_none(), "a minute later");

    // The window returns to the host's page.
    let browser = app.browser();
    let url = format!("{HOST}/settings");
    let more = [("mode", "redirect"), ("return_url", &url)];
    let launch = Page::new(&app.base, HOST).post(&browser, Some(HOST), &more).await;
    let back = app.hubspot.decide(&data(&launch, "authorize-url"), approve(ACME)).expect("back");
    let leaves = browser.get(&back).await;
    assert!(leaves.location().starts_with(&url), "{}", leaves.location());
    assert!(browser.cookie(FLOW).is_none(), "redirected");
    assert_eq!(accounts(&browser).await, [ACME]);
}

fn jar(browser: &Browser) -> Vec<String> {
    browser.cookies.lock().unwrap().keys().cloned().collect()
}

fn flow_cookies(browser: &Browser) -> usize {
    jar(browser).iter().filter(|name| name.starts_with(FLOW)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn unverified_forms_get_a_cookie_only_from_the_launch_page() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let before = jar(&browser);
    let mut launches = Vec::new();
    for _ in 0..50 {
        let page = Page::new(&app.base, HOST);
        let launch = page.post_unverified(&browser).await;
        assert_eq!((launch.status, launch.cookies()), (200, Vec::new()), "{}", launch.body);
        launches.push((page, launch));
        app.advance(1);
    }
    assert_eq!(jar(&browser), before);

    for (at, (page, launch)) in launches.iter().enumerate() {
        let bound = if at % 2 == 0 {
            go_on(&browser, launch).await
        } else {
            let shown = json!({
                "flow": data(launch, "flow"), "opener_key": page.opener_key, "binding": data(launch, "binding"),
            });
            browser.post_json("/auth/hubspot/launch", &shown).await
        };
        assert_eq!(bound.status, if at % 2 == 0 { 200 } else { 204 }, "{}", bound.body);
        assert!(flow_cookies(&browser) <= 5, "{:?}", jar(&browser));
        assert_eq!(page.poll().await.json()["withheld"] == true, at % 2 == 0);
        app.advance(1);
    }

    assert_eq!(accounts(&browser).await, [ACME]);
    let (_, last) = &launches[49];
    let back = app.hubspot.decide(&data(last, "authorize-url"), approve(GLOBEX)).expect("back");
    browser.get(&back).await;
    assert_eq!(accounts(&browser).await, [ACME, GLOBEX]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cross_site_links_leave_at_most_five_cookies_and_keep_the_session() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let headers = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-user", "?1"),
    ];
    for at in 0..50 {
        let path = format!("/auth/hubspot/start?origin={HOST}&portal_id={}", ACME + at);
        assert_eq!(browser.navigate(&path, &headers).await.status, 302);
        app.advance(1);
        assert!(flow_cookies(&browser) <= 5, "{:?}", jar(&browser));
    }
    let size: usize =
        browser.cookies.lock().unwrap().iter().map(|(name, value)| name.len() + value.len() + 3).sum();
    assert!(size < 1_024, "{size}");
    assert_eq!(accounts(&browser).await, [ACME]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cross_site_navigations_change_no_cookie() {
    let app = TestApp::start().await;
    let browser = app.browser();
    browser.navigate(&format!("/auth/hubspot/start?origin={HOST}"), &[]).await;
    let pending = jar(&browser);
    let forced =
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];

    let named = browser.navigate(&format!("/auth/hubspot/start?origin={HOST}"), &forced).await;
    let page = Page::new(&app.base, HOST);
    let asked = browser.navigate(&format!("/auth/hubspot/start?{}", page.form(&[])), &forced).await;
    let stranger = browser.navigate("/auth/hubspot/start?origin=https://evil.example", &forced).await;

    assert!(named.body.contains("data-page=\"confirm\"") && named.body.contains(HOST), "{}", named.body);
    assert_eq!((asked.status, data(&asked, "proven").as_str()), (200, "false"));
    assert_eq!((stranger.status, problem_of(&stranger).as_str()), (400, "origin_not_allowed"));
    assert_eq!(jar(&browser), pending);
    go_on(&browser, &asked).await;
    assert_eq!(flow_cookies(&browser), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_launch_page_continues_only_for_its_own_form_and_secrets() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let launch = page.post_unverified(&popup).await;
    let state = parameter(&data(&launch, "authorize-url"), "state");
    let binding = data(&launch, "binding");
    let other = page.post_unverified(&popup).await;
    let (of_other, unknown) = (data(&other, "binding"), "A".repeat(43));

    for (state, binding) in [(&state, &of_other), (&unknown, &binding), (&state, &state)] {
        let form = [("state", state.as_str()), ("binding", binding.as_str())];
        let refused = popup.post_form("/auth/hubspot/continue", &form).await;
        assert_eq!((refused.status, problem_of(&refused).as_str()), (404, "flow_unknown"));
        assert!(refused.cookies().is_empty());
    }
    for headers in [
        [("origin", HOST), ("sec-fetch-site", "cross-site")],
        [("origin", "null"), ("sec-fetch-site", "same-site")],
    ] {
        let request = popup
            .request(reqwest::Method::POST, "/auth/hubspot/continue")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("state={state}&binding={binding}"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let refused = popup.send(request).await;
        assert_eq!((refused.status, problem_of(&refused).as_str()), (403, "csrf_rejected"));
        assert!(refused.cookies().is_empty());
    }

    let goes_on = go_on(&popup, &launch).await;
    assert_eq!(data(&goes_on, "authorize-url"), data(&launch, "authorize-url"));
    assert_eq!(data(&goes_on, "proven"), "true");
    assert!(
        goes_on.body.contains("http-equiv=\"refresh\""),
        "without a script it goes on too: {}",
        goes_on.body
    );
    app.advance(601);
    assert_eq!(problem_of(&go_on(&popup, &launch).await), "flow_unknown", "too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_launch_page_continues_with_the_same_pkce_challenge() {
    let app = TestApp::with(&[("HUBSPOT_PKCE", "s256")]).await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let launch = page.post_unverified(&popup).await;

    let goes_on = go_on(&popup, &launch).await;

    assert_eq!(data(&goes_on, "authorize-url"), data(&launch, "authorize-url"));
    let back = app.hubspot.decide(&data(&goes_on, "authorize-url"), approve(ACME)).expect("back");
    popup.get(&back).await;
    assert_eq!(accounts(&popup).await, [ACME]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unverified_forms_have_a_separate_rate_limit() {
    let app = TestApp::with(&[("RATE_LIMIT_UNVERIFIED_START_PER_MINUTE", "2")]).await;
    let (page, popup) = (|| Page::new(&app.base, HOST), app.browser());
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(page().post_unverified(&popup).await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
    page().begin(&popup).await;
    popup.start(Some(HOST)).await;
    assert_eq!(app.database.count(sql::AUTH_REQUESTS).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn cross_site_forms_get_no_cookie() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let body = Page::new(&app.base, HOST).form(&[]);
    for path in [
        "/",
        "/login",
        "/logout",
        "/connect",
        "/auth/hubspot/start",
        "/auth/hubspot/launch",
        "/auth/hubspot/continue",
        "/auth/hubspot/callback",
        "/auth/hubspot/done",
        "/auth/hubspot/decide",
        "/auth/hubspot/handoff",
        "/auth/hubspot/link",
        "/api/hubspot/disconnect",
    ] {
        // A browser sends such a form without the service's cookies.
        for sender in ["null", "https://evil.example"] {
            let request = app
                .browser()
                .request(reqwest::Method::POST, path)
                .header("origin", sender)
                .header("sec-fetch-site", "cross-site")
                .header("sec-fetch-mode", "navigate")
                .header("sec-fetch-dest", "document")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body.clone());
            let answer = browser.send(request).await;
            assert_eq!(answer.cookies(), Vec::<String>::new(), "{path} {sender}");
        }
    }
    assert_eq!(accounts(&browser).await, [ACME]);
}
