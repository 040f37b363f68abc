//! The access token of a flow goes to its page, once, by every way of delivery.

use reqwest::Method;
use serde_json::json;

use crate::harness::TestApp;
use crate::harness::app::{GLOBEX, HOST, approve};
use crate::harness::browser::problem_of;
use crate::harness::page::{Page, connected, text};

const EVIL: &str = "http://evil.localhost:3000";

#[tokio::test(flavor = "multi_thread")]
async fn pickup_codes_are_valid_for_their_page_and_one_minute() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    connected(&app, &page, &popup).await;
    let state = page.poll().await.json();
    let (flow, code) = (text(&state["flow"]), text(&state["pickup_code"]));
    let other = Page::new(&app.base, HOST);
    connected(&app, &other, &popup).await;
    let others = text(&other.poll().await.json()["pickup_code"]);
    let body = json!({"flow": flow, "pickup_code": code});

    for bad in ["", "1", &others, &format!("{code}x")] {
        let refused = page.redeem(&flow, bad).await;
        assert_eq!((refused.status, problem_of(&refused).as_str()), (403, "pickup_code_rejected"), "{bad}");
    }
    for origin in [EVIL, "null", ""] {
        let headers = [("origin", origin)];
        let refused = page.ask(Method::POST, "/api/hubspot/token", Some(body.clone()), &headers).await;
        assert_eq!(refused.status, 404, "{origin}");
        assert_eq!(refused.header("access-control-allow-origin"), "", "{origin}");
    }
    app.advance(61);
    assert_eq!(problem_of(&page.redeem(&flow, &code).await), "pickup_code_rejected");
    let fresh = text(&page.poll().await.json()["pickup_code"]);
    assert_eq!(page.redeem(&flow, &fresh).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_handed_off_once_in_the_configured_way() {
    // Mode, the message to the SDK, the message to a hand-written listener, a pickup code in the status.
    for (mode, sdk, plain, code) in [
        ("auto", "pickup_code", "access_token", true),
        ("access_token", "access_token", "access_token", false),
        ("pickup_code", "pickup_code", "", true),
        ("handle", "", "", false),
    ] {
        let app = TestApp::with(&[("TOKEN_DELIVERY", mode)]).await;
        let (page, popup) = (Page::new(&app.base, HOST), app.browser());
        let done = connected(&app, &page, &popup).await;
        let message = popup.handoff(done.location()).await.json()["message"].clone();
        for part in ["pickup_code", "access_token"] {
            assert_eq!(!message[part].is_null(), part == sdk, "{mode}: {message}");
        }
        let state = page.poll().await.json();
        assert_eq!(!state["pickup_code"].is_null(), code, "{mode}: {state}");
        if let Some(code) = message["pickup_code"].as_str() {
            let flow = text(&message["flow"]);
            assert_eq!(page.redeem(&flow, code).await.status, 200, "{mode}");
            assert_eq!(page.redeem(&flow, &text(&state["pickup_code"])).await.status, 410, "{mode}");
        }
        let message = app.browser().connect(&app, Some(HOST), approve(GLOBEX)).await["message"].clone();
        for part in ["pickup_code", "access_token"] {
            assert_eq!(!message[part].is_null(), part == plain, "{mode}: {message}");
        }
        assert!(!message.to_string().contains("refresh"), "{mode}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_picked_up_are_not_in_the_later_message() {
    let app = TestApp::with(&[("TOKEN_DELIVERY", "access_token")]).await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let done = connected(&app, &page, &popup).await;
    let state = page.poll().await.json();
    assert_eq!(page.redeem(&text(&state["flow"]), &text(&state["pickup_code"])).await.status, 200);

    let message = popup.handoff(done.location()).await.json()["message"].clone();

    assert_eq!(message["type"], "hubspot_auth_success");
    assert!(message["access_token"].is_null() && message["pickup_code"].is_null(), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concurrent_message_and_pickup_code_carry_the_token_once() {
    let app = TestApp::with(&[("TOKEN_DELIVERY", "access_token")]).await;
    let popup = app.browser();
    for _ in 0..20 {
        let page = Page::new(&app.base, HOST);
        let done = connected(&app, &page, &popup).await;
        let state = page.poll().await.json();
        let (flow, code) = (text(&state["flow"]), text(&state["pickup_code"]));

        let (message, one, two) = tokio::join!(
            popup.handoff(done.location()),
            page.redeem(&flow, &code),
            page.redeem(&flow, &code)
        );

        let body = message.json();
        assert_eq!((message.status, &body["message"]["type"]), (200, &json!("hubspot_auth_success")));
        let by_message = body["message"]["access_token"].is_string();
        let by_code = [&one, &two].map(|answer| answer.status == 200);
        let ways = [by_message, by_code[0], by_code[1]];
        assert_eq!(ways.into_iter().filter(|way| *way).count(), 1, "{ways:?}");
        for late in [&one, &two].into_iter().filter(|answer| answer.status != 200) {
            assert_eq!((late.status, problem_of(late).as_str()), (410, "already_delivered"));
        }
    }
}
