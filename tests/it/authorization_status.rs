//! The status of a flow for its starting page alone: by a verifier, from another site, without cookies.

use std::time::Duration;

use fake_hubspot::{Decision, Kind};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, HOST, approve};
use crate::harness::browser::problem_of;
use crate::harness::page::{Page, approved, connected, data, text};
use crate::harness::{TestApp, sql};

#[tokio::test(flavor = "multi_thread")]
async fn the_starting_page_gets_the_result_without_cookies_and_the_token_once() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let authorize = page.begin(&popup).await;

    let before = page.poll().await;
    assert_eq!((before.status, &before.json()["status"]), (200, &json!("awaiting_user")), "{}", before.body);
    approved(&app, &popup, &authorize).await;
    let after = page.poll().await;

    let state = after.json();
    assert_eq!(state["status"], "connected", "{state}");
    assert_eq!(state["connection"]["portal_id"], ACME);
    assert_eq!(after.header("access-control-allow-origin"), HOST);
    assert_eq!(after.header("access-control-allow-credentials"), "");
    assert!(after.cookies().is_empty() && !after.body.contains("access_token"));
    let (flow, code) = (text(&state["flow"]), text(&state["pickup_code"]));
    let token = page.redeem(&flow, &code).await;
    assert_eq!(token.status, 200, "{}", token.body);
    assert!(!text(&token.json()["access_token"]).is_empty());
    assert_eq!(token.json()["token_type"], "bearer");
    let again = page.redeem(&flow, &code).await;
    assert_eq!((again.status, problem_of(&again).as_str()), (410, "already_delivered"));
    assert_eq!(page.poll().await.json()["pickup_code"], Value::Null, "no pickup code for what is taken");
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_cancelled_before_the_callback_create_no_connection() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let authorize = page.begin(&popup).await;
    let flow = text(&page.poll().await.json()["flow"]);

    let cancelled = page.cancel(&flow).await;
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")));
    assert_eq!(cancelled.json()["error"]["code"], "cancelled");
    let done = approved(&app, &popup, &authorize).await;
    let page_shown = popup.get(done.location().split('#').next().unwrap()).await;

    assert!(page_shown.body.contains("data-code=\"cancelled\""), "{}", page_shown.body);
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 0);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_connected_flow_changes_nothing_and_returns_its_status() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    connected(&app, &page, &popup).await;
    let flow = text(&page.poll().await.json()["flow"]);

    let late = page.cancel(&flow).await;

    assert_eq!((late.status, &late.json()["status"]), (200, &json!("connected")), "{}", late.body);
    assert_eq!(popup.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_reach_the_page_with_documented_codes() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let authorize = page.begin(&popup).await;
    let back = app.hubspot.decide(&authorize, Decision::Deny).expect("back");
    popup.get(&back).await;
    let denied = page.poll().await.json();
    assert_eq!((&denied["status"], &denied["error"]["code"]), (&json!("failed"), &json!("user_denied")));

    let page = Page::new(&app.base, HOST);
    page.begin(&popup).await;
    app.advance(601);
    let expired = page.poll().await.json();
    assert_eq!((&expired["status"], &expired["error"]["code"]), (&json!("expired"), &json!("flow_expired")));
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_return_to_the_page_with_the_flow_and_no_secret() {
    let app = TestApp::start().await;
    let (page, browser) = (Page::new(&app.base, HOST), app.browser());
    let url = format!("{HOST}/settings?tab=crm");
    let redirect = [("mode", "redirect"), ("return_url", url.as_str())];
    let launch = page.post(&browser, Some(HOST), &redirect).await;
    let flow = data(&launch, "flow");

    let back = approved(&app, &browser, &data(&launch, "authorize-url")).await;

    assert_eq!((back.status, back.location()), (303, format!("{url}#hsc={flow}").as_str()));
    let state = page.poll().await.json();
    assert_eq!(state["status"], "connected");
    assert_eq!(page.redeem(&flow, &text(&state["pickup_code"])).await.status, 200);
    // A flow that ends without a connection redirects back as well.
    let page = Page::new(&app.base, HOST);
    let launch = page.post(&browser, Some(HOST), &redirect).await;
    let denied = app.hubspot.decide(&data(&launch, "authorize-url"), Decision::Deny).expect("back");
    let back = browser.get(&denied).await;
    assert_eq!(back.location(), format!("{url}#hsc={}", data(&launch, "flow")));
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_return_only_to_the_origin_of_the_page() {
    let app = TestApp::start().await;
    let (page, browser) = (Page::new(&app.base, HOST), app.browser());
    for bad in [
        "",
        "/",
        "//evil.localhost:3000/",
        "http:/evil.localhost:3000",
        "http://evil.localhost:3000/",
        "http://host.localhost:3000@evil.localhost:3000/",
        "http://host.localhost:3000.evil.localhost/",
        "http://host.localhost:30001/",
        "https://host.localhost:3000/",
        "http://host.localhost:3000\\@evil.localhost/",
        "http://host.localhost:3000/%2f%2fevil.localhost/",
        "http://host.localhost:3000//evil.localhost/",
        "http://host.localhost:3000/#hsc=1",
        "http://host.localhost:3000/\tx",
        "javascript:alert(1)",
        "blob:http://host.localhost:3000/7d2c0cd0-7e9f-4b1e-9a34-1f2f2b6f0c11",
        "filesystem:http://host.localhost:3000/temporary/x",
        "view-source:http://host.localhost:3000/",
        "ftp://host.localhost:3000/",
        "ws://host.localhost:3000/",
    ] {
        for mode in ["popup", "redirect"] {
            let refused = page.post(&browser, Some(HOST), &[("return_url", bad), ("mode", mode)]).await;
            let code = problem_of(&refused);
            assert_eq!((refused.status, code.as_str()), (400, "return_url_not_allowed"), "{bad}");
        }
    }
    let nowhere = page.post(&browser, Some(HOST), &[("mode", "redirect")]).await;
    assert_eq!(problem_of(&nowhere), "return_url_not_allowed");
    assert_eq!(app.database.count(sql::AUTH_REQUESTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connecting_page_can_disconnect() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    connected(&app, &page, &popup).await;
    let connection = text(&page.poll().await.json()["connection"]["id"]);
    let body = json!({"connection_id": connection});
    let stranger = Page::new(&app.base, HOST);
    let path = "/api/hubspot/disconnect";
    assert_eq!(stranger.ask(Method::POST, path, Some(body.clone()), &[]).await.status, 404);

    let ended = page.ask(Method::POST, path, Some(body), &[]).await;

    assert_eq!((ended.status, &ended.json()["revocation"]), (200, &json!("done")), "{}", ended.body);
    assert_eq!(page.poll().await.json()["error"]["code"], "disconnected");
    assert_eq!(popup.status().await["authenticated"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_by_form_leave_few_cookies() {
    let app = TestApp::start().await;
    let popup = app.browser();
    let mut last = String::new();
    for _ in 0..8 {
        let page = Page::new(&app.base, HOST);
        // Such a form comes without the cookies of the earlier flows.
        let begins = app.browser();
        last = page.begin(&begins).await;
        let (name, value) = begins.cookie("__Host-hsc_f_").expect("a flow cookie");
        popup.plant(&name, &value);
        app.advance(1);
    }
    approved(&app, &popup, &last).await;
    let cookies = popup.cookies.lock().unwrap();
    assert_eq!(cookies.keys().filter(|name| name.starts_with("__Host-hsc_f_")).count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_concurrent_cancel_and_callback_the_first_wins() {
    let app = TestApp::start().await;
    for round in 0..32_u64 {
        let (page, popup) = (Page::new(&app.base, HOST), app.browser());
        let authorize = page.begin(&popup).await;
        let flow = text(&page.poll().await.json()["flow"]);
        let exchanged = app.hubspot.calls(Kind::Exchange).len();
        let late = |micros| tokio::time::sleep(Duration::from_micros(micros));

        let (given_up, _) = tokio::join!(
            async {
                late(if round == 0 { 500_000 } else { round % 6 * 400 }).await;
                page.cancel(&flow).await
            },
            async {
                late(if round == 1 { 500_000 } else { round / 6 * 400 }).await;
                approved(&app, &popup, &authorize).await
            }
        );

        let end = text(&page.poll().await.json()["status"]);
        let exchanges = app.hubspot.calls(Kind::Exchange).len() - exchanged;
        let said = text(&given_up.json()["status"]);
        match end.as_str() {
            "cancelled" => assert_eq!((exchanges, said.as_str()), (0, "cancelled")),
            "connected" => {
                assert!(exchanges == 1 && ["exchanging", "connected"].contains(&said.as_str()), "{said}");
            }
            other => panic!("{other}"),
        }
        // The first two are far enough apart that their order is certain.
        let expected = ["connected", "cancelled"].get(usize::try_from(round).expect("few"));
        assert!(expected.is_none_or(|expected| *expected == end), "round {round}: {end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_flows_of_one_browser_finish_in_any_order() {
    let app = TestApp::start().await;
    let popup = app.browser();
    let pages = [Page::new(&app.base, HOST), Page::new(&app.base, HOST)];
    let addresses = [pages[0].begin(&popup).await, pages[1].begin(&popup).await];
    for (at, account) in [(1, GLOBEX), (0, ACME)] {
        let back = app.hubspot.decide(&addresses[at], approve(account)).expect("back");
        popup.get(&back).await;
        let authorization = pages[at].poll().await.json();
        assert_eq!(
            (&authorization["status"], &authorization["connection"]["portal_id"]),
            (&json!("connected"), &json!(account))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_end_during_a_flow_are_replaced() {
    let app = TestApp::start().await;
    let popup = app.connected(GLOBEX).await;
    let page = Page::new(&app.base, HOST);
    let authorize = page.begin(&popup).await;
    app.database.clear(sql::SESSIONS).await;
    approved(&app, &popup, &authorize).await;
    assert_eq!(page.poll().await.json()["status"], "connected");
    assert_eq!(popup.status().await["authenticated"], true);
}
