//! The outcome of a flow is given only to the verified page that started it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, HOST, approve};
use crate::harness::browser::{Browser, flow_of, problem_of};
use crate::harness::page::{Page, approved, assert_tells_nothing, connected, data, go_on, text};
use crate::harness::{TestApp, sql};

const EVIL: &str = "http://evil.localhost:3000";

#[tokio::test(flavor = "multi_thread")]
async fn unverified_flows_look_unfinished() {
    let app = TestApp::start().await;
    // Another page, with its own secrets, leads a user's browser to the start.
    for sender in [None, Some("null")] {
        let (attacker, victim) = (Page::new(&app.base, HOST), app.browser());
        let launch = match sender {
            None => attacker.link(&victim).await,
            Some(_) => attacker.post_unverified(&victim).await,
        };
        assert_eq!((launch.status, data(&launch, "proven").as_str()), (200, "false"), "{}", launch.body);
        assert!(launch.body.contains("Did you start this?"));

        go_on(&victim, &launch).await;
        let done = approved(&app, &victim, &data(&launch, "authorize-url")).await;

        let seen = attacker.poll().await;
        assert_eq!((seen.status, &seen.json()["status"]), (200, &json!("awaiting_user")), "{}", seen.body);
        assert_eq!(seen.json()["withheld"], true);
        assert_tells_nothing(&seen);
        // The browser itself has the connection.
        assert_eq!(victim.status().await["portal_id"], ACME);
        let flow = flow_of(done.location());
        let cancelled = attacker.cancel(&flow).await;
        assert_tells_nothing(&cancelled);
        app.advance(601);
        assert_eq!(attacker.poll().await.json()["status"], "expired");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_with_a_mismatched_origin_start_nothing() {
    let app = TestApp::start().await;
    let popup = app.browser();
    for sender in
        [EVIL, "https://host.localhost:3000", "http://host.localhost:30000", "http://localhost:3000"]
    {
        let refused = Page::new(&app.base, HOST).post(&popup, Some(sender), &[]).await;
        assert_eq!((refused.status, problem_of(&refused).as_str()), (400, "origin_not_allowed"), "{sender}");
    }
    let refused = Page::new(&app.base, EVIL).post(&popup, Some(EVIL), &[]).await;
    assert_eq!((refused.status, problem_of(&refused).as_str()), (400, "origin_not_allowed"));
    assert_eq!(app.database.count(sql::AUTH_REQUESTS).await, 0);
    assert!(popup.cookie("__Host-hsc_f_").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_opener_with_the_verifier_of_the_challenge_is_verified() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let launch = page.link(&popup).await;
    let (flow, binding) = (data(&launch, "flow"), data(&launch, "binding"));
    let show = async |browser: &Browser, key: &str, binding: Option<&str>| {
        let body = json!({"flow": flow, "opener_key": key, "binding": binding});
        browser.post_json("/auth/hubspot/launch", &body).await
    };

    for wrong in ["", &page.verifier, "the key"] {
        assert_eq!(show(&popup, wrong, Some(&binding)).await.status, 404, "{wrong}");
    }
    for wrong in [None, Some(page.verifier.as_str())] {
        assert_eq!(show(&app.browser(), &page.opener_key, wrong).await.status, 404, "another browser");
    }
    let foreign = popup
        .request(Method::POST, "/auth/hubspot/launch")
        .header("origin", HOST)
        .header("sec-fetch-site", "cross-site")
        .header("content-type", "application/json")
        .body(json!({"flow": flow, "opener_key": page.opener_key}).to_string());
    assert_eq!(popup.send(foreign).await.status, 403);
    assert_eq!(page.poll().await.json()["withheld"], true);
    assert_eq!(show(&popup, &page.opener_key, Some(&binding)).await.status, 204);

    assert_eq!(page.poll().await.json()["withheld"], false);
    approved(&app, &popup, &data(&launch, "authorize-url")).await;
    assert_eq!(page.poll().await.json()["status"], "connected");
    assert_eq!(show(&popup, &page.opener_key, None).await.status, 404, "too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_verifiers_and_wrong_or_unknown_flows_look_alike() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    connected(&app, &page, &popup).await;
    let flow = text(&page.poll().await.json()["flow"]);
    let stranger = Page::new(&app.base, HOST);
    let known = format!("/api/hubspot/status?flow={flow}");
    let unknown = "/api/hubspot/status?flow=11111111-2222-8333-8444-555555555555";

    assert_eq!(page.ask(Method::GET, &known, None, &[]).await.status, 200);
    let mut answers = vec![
        stranger.poll().await,
        stranger.ask(Method::GET, &known, None, &[]).await,
        stranger.ask(Method::GET, unknown, None, &[]).await,
        page.ask(Method::GET, unknown, None, &[]).await,
        app.browser().get(&known).await,
        stranger.cancel(&flow).await,
        stranger.redeem(&flow, "1.x").await,
    ];
    for answer in &mut answers {
        let mut body = answer.json();
        body["request_id"] = Value::Null;
        body["instance"] = Value::Null;
        assert_eq!((answer.status, &body["code"]), (404, &json!("flow_unknown")));
        assert_tells_nothing(answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_challenges_and_verifiers_are_refused_by_name() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let (short, long) = ("a".repeat(42), "a".repeat(44));
    let plus = format!("{}+", "a".repeat(42));
    for bad in ["", "x", &short, &long, &plus, "*"] {
        for field in ["challenge", "opener_challenge"] {
            let refused = page.post(&popup, Some(HOST), &[(field, bad)]).await;
            let code = problem_of(&refused);
            assert_eq!((refused.status, code.as_str()), (400, "bad_challenge"), "{field} {bad}");
        }
    }
    let endless = "a".repeat(129);
    for bad in ["", "x", &short, &endless, &plus] {
        let refused =
            page.ask(Method::GET, "/api/hubspot/status", None, &[("hubspot-connect-verifier", bad)]).await;
        assert_eq!((refused.status, problem_of(&refused).as_str()), (400, "bad_challenge"), "{bad}");
    }
    assert_eq!(app.database.count(sql::AUTH_REQUESTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_of_an_unverified_flow_do_not_reveal_its_status() {
    let app = TestApp::start().await;
    let victim = app.connected(ACME).await;
    let attacker = Page::new(&app.base, HOST);
    let path = format!("/auth/hubspot/start?{}", attacker.form(&[("portal_id", &ACME.to_string())]));
    let launch = victim.get(&path).await;
    go_on(&victim, &launch).await;
    let before = attacker.poll().await;
    app.advance(30);

    let back = app.hubspot.decide(&data(&launch, "authorize-url"), approve(GLOBEX)).expect("back");
    victim.get(&back).await;

    let after = attacker.poll().await;
    assert_eq!(app.database.pending_grants().await, 1);
    assert_eq!((before.json(), before.header("etag")), (after.json(), after.header("etag")));
    // Its deletion reveals nothing either: it is that of any other flow.
    app.advance(1200);
    assert_eq!(attacker.poll().await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn unverified_flows_hand_tokens_only_to_their_opener() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let launch = page.link(&popup).await;
    go_on(&popup, &launch).await;
    let done = approved(&app, &popup, &data(&launch, "authorize-url")).await;

    let handed = popup.handoff(done.location()).await.json();

    assert_eq!(handed["origin"], HOST);
    assert!(
        handed["message"]["access_token"].is_string() && handed["message"]["pickup_code"].is_null(),
        "{handed}"
    );

    let proven = Page::new(&app.base, HOST);
    connected(&app, &proven, &popup).await;
    let state = proven.poll().await.json();
    app.database.update(sql::AUTH_REQUESTS, "evidence = NULL").await;
    let refused = proven.redeem(&text(&state["flow"]), &text(&state["pickup_code"])).await;
    assert_eq!(
        (refused.status, problem_of(&refused).as_str()),
        (404, "flow_unknown"),
        "even for a pickup code that fits"
    );
}
