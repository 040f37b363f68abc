//! The access token of an attempt goes to its page, once, whichever way it goes.

use reqwest::Method;
use serde_json::json;

use crate::harness::TestApp;
use crate::harness::app::{GLOBEX, HOST, approve};
use crate::harness::browser::problem_of;
use crate::harness::page::{Page, connected, text};

const EVIL: &str = "http://evil.localhost:3000";

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_taken_from_its_page_in_its_minute_alone() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    connected(&app, &page, &popup).await;
    let state = page.look().await.json();
    let (flow, claim) = (text(&state["flow"]), text(&state["claim"]));
    let other = Page::new(&app.base, HOST);
    connected(&app, &other, &popup).await;
    let others = text(&other.look().await.json()["claim"]);
    let body = json!({"flow": flow, "claim": claim});

    for bad in ["", "1", &others, &format!("{claim}x")] {
        let refused = page.redeem(&flow, bad).await;
        assert_eq!((refused.status, problem_of(&refused).as_str()), (403, "claim_rejected"), "{bad}");
    }
    for origin in [EVIL, "null", ""] {
        let headers = [("origin", origin)];
        let refused = page.ask(Method::POST, "/api/hubspot/token", Some(body.clone()), &headers).await;
        assert_eq!(refused.status, 404, "{origin}");
        assert_eq!(refused.header("access-control-allow-origin"), "", "{origin}");
    }
    app.advance(61);
    assert_eq!(problem_of(&page.redeem(&flow, &claim).await), "claim_rejected");
    let fresh = text(&page.look().await.json()["claim"]);
    assert_eq!(page.redeem(&flow, &fresh).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_carries_the_token_is_as_configured_and_it_is_given_once_whatever_the_ways() {
    // Mode, the message to the SDK, the message to a hand-written listener, a claim in the status.
    for (mode, sdk, plain, claim) in [
        ("auto", "claim", "access_token", true),
        ("access_token", "access_token", "access_token", false),
        ("claim", "claim", "", true),
        ("handle", "", "", false),
    ] {
        let app = TestApp::with(&[("TOKEN_DELIVERY", mode)]).await;
        let (page, popup) = (Page::new(&app.base, HOST), app.browser());
        let done = connected(&app, &page, &popup).await;
        let message = popup.handoff(done.location()).await.json()["message"].clone();
        for part in ["claim", "access_token"] {
            assert_eq!(!message[part].is_null(), part == sdk, "{mode}: {message}");
        }
        let state = page.look().await.json();
        assert_eq!(!state["claim"].is_null(), claim, "{mode}: {state}");
        if let Some(claim) = message["claim"].as_str() {
            let flow = text(&message["flow"]);
            assert_eq!(page.redeem(&flow, claim).await.status, 200, "{mode}");
            assert_eq!(page.redeem(&flow, &text(&state["claim"])).await.status, 410, "{mode}");
        }
        let message = app.browser().connect(&app, Some(HOST), approve(GLOBEX)).await["message"].clone();
        for part in ["claim", "access_token"] {
            assert_eq!(!message[part].is_null(), part == plain, "{mode}: {message}");
        }
        assert!(!message.to_string().contains("refresh"), "{mode}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_claimed_is_not_in_the_message_that_comes_later() {
    let app = TestApp::with(&[("TOKEN_DELIVERY", "access_token")]).await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let done = connected(&app, &page, &popup).await;
    let state = page.look().await.json();
    assert_eq!(page.redeem(&text(&state["flow"]), &text(&state["claim"])).await.status, 200);

    let message = popup.handoff(done.location()).await.json()["message"].clone();

    assert_eq!(message["type"], "hubspot_auth_success");
    assert!(message["access_token"].is_null() && message["claim"].is_null(), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_message_and_a_claim_at_once_one_carries_the_token() {
    let app = TestApp::with(&[("TOKEN_DELIVERY", "access_token")]).await;
    let popup = app.browser();
    for _ in 0..20 {
        let page = Page::new(&app.base, HOST);
        let done = connected(&app, &page, &popup).await;
        let state = page.look().await.json();
        let (flow, claim) = (text(&state["flow"]), text(&state["claim"]));

        let (message, one, two) = tokio::join!(
            popup.handoff(done.location()),
            page.redeem(&flow, &claim),
            page.redeem(&flow, &claim)
        );

        let told = message.json();
        assert_eq!((message.status, &told["message"]["type"]), (200, &json!("hubspot_auth_success")));
        let by_message = told["message"]["access_token"].is_string();
        let by_claim = [&one, &two].map(|answer| answer.status == 200);
        let ways = [by_message, by_claim[0], by_claim[1]];
        assert_eq!(ways.into_iter().filter(|way| *way).count(), 1, "{ways:?}");
        for late in [&one, &two].into_iter().filter(|answer| answer.status != 200) {
            assert_eq!((late.status, problem_of(late).as_str()), (410, "already_delivered"));
        }
    }
}
