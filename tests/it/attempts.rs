//! What the page that began an attempt learns of it, and nobody else: by a verifier, from another site, without cookies.

use std::time::{Duration, Instant};

use fake_hubspot::{Decision, Fault, Kind, Rule};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::TestApp;
use crate::harness::app::{ACME, GLOBEX, HOST, approve};
use crate::harness::browser::{Answer, Browser, flow_of, problem_of};
use crate::harness::page::{Page, data};
use crate::harness::process::eventually;

const EVIL: &str = "http://evil.localhost:3000";

async fn approved(app: &TestApp, popup: &Browser, authorize: &str) -> Answer {
    let back = app.hubspot.decide(authorize, approve(ACME)).expect("HubSpot sends the browser back");
    popup.get(&back).await
}

/// A connect by the page's own way, up to the answer of the callback.
async fn connected(app: &TestApp, page: &Page, popup: &Browser) -> Answer {
    let authorize = page.begin(popup).await;
    approved(app, popup, &authorize).await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn assert_tells_nothing(answer: &Answer) {
    for word in ["connection", "portal", "claim", "access_token", "acme", "1234567"] {
        assert!(!answer.body.contains(word), "{word}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_that_began_an_attempt_learns_its_outcome_without_cookies_and_takes_the_token_once() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let authorize = page.begin(&popup).await;

    let before = page.look().await;
    assert_eq!((before.status, &before.json()["status"]), (200, &json!("awaiting_user")), "{}", before.body);
    approved(&app, &popup, &authorize).await;
    let after = page.look().await;

    let state = after.json();
    assert_eq!(state["status"], "connected", "{state}");
    assert_eq!(state["connection"]["portal_id"], ACME);
    assert_eq!(after.header("access-control-allow-origin"), HOST);
    assert_eq!(after.header("access-control-allow-credentials"), "");
    assert!(after.cookies().is_empty() && !after.body.contains("access_token"));
    let (flow, claim) = (text(&state["flow"]), text(&state["claim"]));
    let token = page.redeem(&flow, &claim).await;
    assert_eq!(token.status, 200, "{}", token.body);
    assert!(!text(&token.json()["access_token"]).is_empty());
    assert_eq!(token.json()["token_type"], "bearer");
    let again = page.redeem(&flow, &claim).await;
    assert_eq!((again.status, problem_of(&again).as_str()), (410, "already_delivered"));
    assert_eq!(page.look().await.json()["claim"], Value::Null, "no claim for what is taken");
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_nobody_is_proven_to_have_begun_looks_unfinished_to_whoever_asks() {
    let app = TestApp::start().await;
    // Somebody else's page, with secrets of its own, leads a person's browser to the start.
    for sender in [None, Some("null")] {
        let (attacker, victim) = (Page::new(&app.base, HOST), app.browser());
        let launch = match sender {
            None => attacker.link(&victim).await,
            sender => attacker.post(&victim, sender, &[]).await,
        };
        assert_eq!((launch.status, data(&launch, "proven").as_str()), (200, "false"), "{}", launch.body);
        assert!(launch.body.contains("Did you start this?"));

        let done = approved(&app, &victim, &data(&launch, "authorize-url")).await;

        let seen = attacker.look().await;
        assert_eq!((seen.status, &seen.json()["status"]), (200, &json!("awaiting_user")), "{}", seen.body);
        assert_eq!(seen.json()["withheld"], true);
        assert_tells_nothing(&seen);
        // The browser in which it happened has it.
        assert_eq!(victim.status().await["portal_id"], ACME);
        let flow = flow_of(done.location());
        let cancelled = attacker.cancel(&flow).await;
        assert_tells_nothing(&cancelled);
        app.advance(601);
        assert_eq!(attacker.look().await.json()["status"], "expired");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_from_another_page_than_it_says_begins_nothing() {
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
    assert_eq!(app.database.number("SELECT COUNT(*) FROM auth_request").await, 0);
    assert!(popup.cookie("__Host-hsc_f_").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opener_that_shows_the_key_of_its_challenge_has_begun_the_attempt_and_no_other_has() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let launch = page.link(&popup).await;
    let flow = data(&launch, "flow");
    let show = async |browser: &Browser, key: &str| {
        browser.post_json("/auth/hubspot/launch", &json!({"flow": flow, "opener_key": key})).await
    };

    for wrong in ["", &page.verifier, "the key"] {
        assert_eq!(show(&popup, wrong).await.status, 404, "{wrong}");
    }
    assert_eq!(show(&app.browser(), &page.opener_key).await.status, 404, "another browser");
    let foreign = popup
        .request(Method::POST, "/auth/hubspot/launch")
        .header("origin", HOST)
        .header("sec-fetch-site", "cross-site")
        .header("content-type", "application/json")
        .body(json!({"flow": flow, "opener_key": page.opener_key}).to_string());
    assert_eq!(popup.send(foreign).await.status, 403);
    assert_eq!(page.look().await.json()["withheld"], true);
    assert_eq!(show(&popup, &page.opener_key).await.status, 204);

    assert_eq!(page.look().await.json()["withheld"], Value::Null);
    approved(&app, &popup, &data(&launch, "authorize-url")).await;
    assert_eq!(page.look().await.json()["status"], "connected");
    assert_eq!(show(&popup, &page.opener_key).await.status, 404, "too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_verifier_a_wrong_flow_and_an_unknown_one_look_alike() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    connected(&app, &page, &popup).await;
    let flow = text(&page.look().await.json()["flow"]);
    let stranger = Page::new(&app.base, HOST);
    let known = format!("/api/hubspot/status?flow={flow}");
    let unknown = "/api/hubspot/status?flow=11111111-2222-8333-8444-555555555555";

    assert_eq!(page.ask(Method::GET, &known, None, &[]).await.status, 200);
    let mut answers = vec![
        stranger.look().await,
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
async fn a_challenge_or_a_verifier_that_is_none_is_refused_by_name() {
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
        let refused = page.ask(Method::GET, "/api/hubspot/status", None, &[("x-hsc-verifier", bad)]).await;
        assert_eq!((refused.status, problem_of(&refused).as_str()), (400, "bad_challenge"), "{bad}");
    }
    assert_eq!(app.database.number("SELECT COUNT(*) FROM auth_request").await, 0);
}

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
async fn an_attempt_given_up_before_the_person_comes_back_leads_to_nothing() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let authorize = page.begin(&popup).await;
    let flow = text(&page.look().await.json()["flow"]);

    let cancelled = page.cancel(&flow).await;
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")));
    assert_eq!(cancelled.json()["error"]["code"], "cancelled");
    let done = approved(&app, &popup, &authorize).await;
    let page_shown = popup.get(done.location().split('#').next().unwrap()).await;

    assert!(page_shown.body.contains("data-code=\"cancelled\""), "{}", page_shown.body);
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 0);
    assert_eq!(app.database.number("SELECT COUNT(*) FROM token").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn giving_up_what_is_connected_already_changes_nothing_and_says_so() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    connected(&app, &page, &popup).await;
    let flow = text(&page.look().await.json()["flow"]);

    let late = page.cancel(&flow).await;

    assert_eq!((late.status, &late.json()["status"]), (200, &json!("connected")), "{}", late.body);
    assert_eq!(popup.status().await["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_reach_the_page_with_the_codes_of_the_table() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let authorize = page.begin(&popup).await;
    let back = app.hubspot.decide(&authorize, Decision::Deny).expect("back");
    popup.get(&back).await;
    let denied = page.look().await.json();
    assert_eq!((&denied["status"], &denied["error"]["code"]), (&json!("failed"), &json!("user_denied")));

    let page = Page::new(&app.base, HOST);
    page.begin(&popup).await;
    app.advance(601);
    let expired = page.look().await.json();
    assert_eq!((&expired["status"], &expired["error"]["code"]), (&json!("expired"), &json!("flow_expired")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_page_is_answered_as_soon_as_the_outcome_is_stored() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let authorize = page.begin(&popup).await;
    let tag = page.look().await.header("etag").to_owned();
    let started = Instant::now();

    let (woken, _) = tokio::join!(page.wait(&tag, 25), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        approved(&app, &popup, &authorize).await
    });

    assert_eq!(woken.json()["status"], "connected", "{}", woken.body);
    assert!(started.elapsed() < Duration::from_secs(20), "woken, not timed out: {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_told_of_its_connection_when_it_is_known_whose_it_is() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let authorize = page.begin(&popup).await;
    app.hubspot.script(Rule::once(Kind::Introspect, Fault::Delay(Duration::from_millis(1500))));
    let callback = approved(&app, &popup, &authorize);
    let look = async {
        while app.database.number("SELECT COUNT(*) FROM token").await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let early = page.look().await;
        (early.json(), page.wait(early.header("etag"), 25).await.json())
    };

    let (_, (early, late)) = tokio::join!(callback, look);

    assert_eq!((&early["status"], &early["connection"]), (&json!("exchanging"), &Value::Null));
    assert_eq!(
        (&late["status"], &late["connection"]["hub_domain"]),
        (&json!("connected"), &json!("acme.example"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_told_of_its_connection_although_nobody_can_say_whose_it_is() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    app.hubspot.script(Rule::once(Kind::Introspect, Fault::HalfBody));
    connected(&app, &page, &popup).await;
    let told = page.look().await.json();
    assert_eq!((&told["status"], &told["connection"]["portal_id"]), (&json!("connected"), &json!(ACME)));
    // Nor is a page kept waiting when the process has died before it could ask.
    app.database.execute("UPDATE token SET details_attempts = 0").await;
    assert_eq!(page.look().await.json()["status"], "exchanging");
    app.advance(120);
    assert_eq!(page.look().await.json()["status"], "connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_has_its_connection_keeps_it_while_another_renews_it() {
    let app = TestApp::start().await;
    let (first, second, popup) = (Page::new(&app.base, HOST), Page::new(&app.base, HOST), app.browser());
    connected(&app, &first, &popup).await;
    app.advance(1);
    let authorize = second.begin(&popup).await;
    app.hubspot.script(Rule::once(Kind::Introspect, Fault::Delay(Duration::from_millis(1500))));
    let look = async {
        while app.database.number("SELECT MAX(generation) FROM token").await == 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (first.look().await.json(), second.look().await.json())
    };

    let (_, (first, second)) = tokio::join!(approved(&app, &popup, &authorize), look);

    assert_eq!((&first["status"], &second["status"]), (&json!("connected"), &json!("exchanging")));
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_an_unproven_attempt_is_open_says_nothing_of_how_it_fares() {
    let app = TestApp::start().await;
    let victim = app.connected(ACME).await;
    let attacker = Page::new(&app.base, HOST);
    let path = format!("/auth/hubspot/start?{}", attacker.form(&[("hub_id", &ACME.to_string())]));
    let launch = victim.get(&path).await;
    let before = attacker.look().await;
    app.advance(30);

    let back = app.hubspot.decide(&data(&launch, "authorize-url"), approve(GLOBEX)).expect("back");
    victim.get(&back).await;

    let after = attacker.look().await;
    assert_eq!(app.database.number("SELECT COUNT(*) FROM parked_grant").await, 1);
    assert_eq!((before.json(), before.header("etag")), (after.json(), after.header("etag")));
    // Nor does when it is forgotten: as any other is.
    app.advance(1200);
    assert_eq!(attacker.look().await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unproven_attempt_gives_its_token_to_its_opener_and_to_no_claim() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let launch = page.link(&popup).await;
    let done = approved(&app, &popup, &data(&launch, "authorize-url")).await;

    let handed = popup.handoff(done.location()).await.json();

    assert_eq!(handed["origin"], HOST);
    assert!(
        handed["message"]["access_token"].is_string() && handed["message"]["claim"].is_null(),
        "{handed}"
    );

    let proven = Page::new(&app.base, HOST);
    connected(&app, &proven, &popup).await;
    let state = proven.look().await.json();
    app.database.execute("UPDATE auth_request SET evidence = NULL").await;
    let refused = proven.redeem(&text(&state["flow"]), &text(&state["claim"])).await;
    assert_eq!(
        (refused.status, problem_of(&refused).as_str()),
        (404, "flow_unknown"),
        "even for a claim that fits"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_page_is_told_that_nothing_has_changed_when_its_time_is_up() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    page.begin(&popup).await;
    let tag = page.look().await.header("etag").to_owned();
    assert_eq!(page.wait(&tag, 1).await.status, 304);
    assert_eq!(page.wait("\"another\"", 25).await.status, 200);
    assert_eq!(page.wait(&tag, 0).await.status, 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_waits_at_one_replica_is_woken_by_what_another_has_stored() {
    let app = TestApp::start().await;
    if app.database.is_sqlite() {
        return; // One process has the file for itself.
    }
    let replica = app.replica(app.clock.clone()).await;
    let address = format!("http://{}", replica.address());
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(replica.run(stop.clone(), true));
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let authorize = page.begin(&popup).await;
    let host = app.base.trim_start_matches("http://").to_owned();
    let there = format!("{address}/api/hubspot/status?wait=25");
    let seen = page.ask(Method::GET, &there, None, &[("host", &host)]).await;
    let tag = seen.header("etag").to_owned();
    let headers = [("host", host.as_str()), ("if-none-match", tag.as_str())];
    let started = Instant::now();

    let (woken, _) = tokio::join!(page.ask(Method::GET, &there, None, &headers), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        approved(&app, &popup, &authorize).await
    });

    assert_eq!(woken.json()["status"], "connected", "{}", woken.body);
    assert!(started.elapsed() < Duration::from_secs(20), "woken, not timed out: {:?}", started.elapsed());
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_pages_do_not_hold_a_stop_up() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    page.begin(&popup).await;
    let tag = page.look().await.header("etag").to_owned();
    let waiting = tokio::spawn(async move { page.wait(&tag, 25).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();

    let _ = app.stopped().await;

    assert_eq!(waiting.await.unwrap().status, 304);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_popup_the_browser_goes_back_to_the_page_with_the_flow_and_no_secret() {
    let app = TestApp::start().await;
    let (page, browser) = (Page::new(&app.base, HOST), app.browser());
    let url = format!("{HOST}/settings?tab=crm");
    let redirect = [("mode", "redirect"), ("return_url", url.as_str())];
    let launch = page.post(&browser, Some(HOST), &redirect).await;
    let flow = data(&launch, "flow");

    let back = approved(&app, &browser, &data(&launch, "authorize-url")).await;

    assert_eq!((back.status, back.location()), (303, format!("{url}#hsc={flow}").as_str()));
    let state = page.look().await.json();
    assert_eq!(state["status"], "connected");
    assert_eq!(page.redeem(&flow, &text(&state["claim"])).await.status, 200);
    // An end without a connection leads back as well.
    let page = Page::new(&app.base, HOST);
    let launch = page.post(&browser, Some(HOST), &redirect).await;
    let denied = app.hubspot.decide(&data(&launch, "authorize-url"), Decision::Deny).expect("back");
    let back = browser.get(&denied).await;
    assert_eq!(back.location(), format!("{url}#hsc={}", data(&launch, "flow")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_back_to_another_origin_than_the_page_s_own() {
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
    ] {
        for mode in ["popup", "redirect"] {
            let refused = page.post(&browser, Some(HOST), &[("return_url", bad), ("mode", mode)]).await;
            let code = problem_of(&refused);
            assert_eq!((refused.status, code.as_str()), (400, "return_url_not_allowed"), "{bad}");
        }
    }
    let nowhere = page.post(&browser, Some(HOST), &[("mode", "redirect")]).await;
    assert_eq!(problem_of(&nowhere), "return_url_not_allowed");
    assert_eq!(app.database.number("SELECT COUNT(*) FROM auth_request").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_that_connected_an_account_can_end_it() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    connected(&app, &page, &popup).await;
    let connection = text(&page.look().await.json()["connection"]["id"]);
    let body = json!({"connection_id": connection});
    let stranger = Page::new(&app.base, HOST);
    let path = "/api/hubspot/disconnect";
    assert_eq!(stranger.ask(Method::POST, path, Some(body.clone()), &[]).await.status, 404);

    let ended = page.ask(Method::POST, path, Some(body), &[]).await;

    assert_eq!((ended.status, &ended.json()["revoked"]), (200, &json!(true)), "{}", ended.body);
    assert_eq!(page.look().await.json()["error"]["code"], "disconnected");
    assert_eq!(popup.status().await["authenticated"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_twice_is_followed_in_its_newest_attempt() {
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    page.begin(&popup).await;
    app.advance(1);
    let authorize = page.begin(&popup).await;
    approved(&app, &popup, &authorize).await;
    assert_eq!(page.look().await.json()["status"], "connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_begun_by_forms_do_not_fill_the_browser_with_cookies() {
    let app = TestApp::start().await;
    let popup = app.browser();
    let mut last = String::new();
    for _ in 0..8 {
        let page = Page::new(&app.base, HOST);
        // Such a form comes without the cookies of the attempts before it.
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

#[tokio::test(flavor = "multi_thread")]
async fn of_giving_up_and_coming_back_at_once_the_first_counts() {
    let app = TestApp::start().await;
    for round in 0..32_u64 {
        let (page, popup) = (Page::new(&app.base, HOST), app.browser());
        let authorize = page.begin(&popup).await;
        let flow = text(&page.look().await.json()["flow"]);
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

        let end = text(&page.look().await.json()["status"]);
        let exchanges = app.hubspot.calls(Kind::Exchange).len() - exchanged;
        let said = text(&given_up.json()["status"]);
        match end.as_str() {
            "cancelled" => assert_eq!((exchanges, said.as_str()), (0, "cancelled")),
            "connected" => {
                assert!(exchanges == 1 && ["exchanging", "connected"].contains(&said.as_str()), "{said}");
            }
            other => panic!("{other}"),
        }
        // The first two are so far apart that it is known who is first.
        let expected = ["connected", "cancelled"].get(usize::try_from(round).expect("few"));
        assert!(expected.is_none_or(|expected| *expected == end), "round {round}: {end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_attempts_of_one_browser_end_in_whichever_order_the_person_likes() {
    let app = TestApp::start().await;
    let popup = app.browser();
    let pages = [Page::new(&app.base, HOST), Page::new(&app.base, HOST)];
    let addresses = [pages[0].begin(&popup).await, pages[1].begin(&popup).await];
    for (at, account) in [(1, GLOBEX), (0, ACME)] {
        let back = app.hubspot.decide(&addresses[at], approve(account)).expect("back");
        popup.get(&back).await;
        let told = pages[at].look().await.json();
        assert_eq!(
            (&told["status"], &told["connection"]["portal_id"]),
            (&json!("connected"), &json!(account))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_while_the_person_is_at_hubspot_is_followed_by_a_new_one() {
    let app = TestApp::start().await;
    let popup = app.connected(GLOBEX).await;
    let page = Page::new(&app.base, HOST);
    let authorize = page.begin(&popup).await;
    app.database.execute("DELETE FROM session").await;
    approved(&app, &popup, &authorize).await;
    assert_eq!(page.look().await.json()["status"], "connected");
    assert_eq!(popup.status().await["authenticated"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_have_gone_wait_no_longer_than_they_asked_to() {
    const PAGES: usize = 30;
    let app = TestApp::start().await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    page.begin(&popup).await;
    let tag = page.look().await.header("etag").to_owned();
    let waiting = async || {
        let figures = app.browser().get(&format!("{}/metrics", app.admin)).await.body;
        let line = figures.lines().find_map(|line| line.strip_prefix("hubspot_connect_waiting "));
        line.expect("it is told").parse::<usize>().expect("a number")
    };
    let mut pages: Vec<_> = Vec::new();
    for _ in 0..PAGES {
        let (other, tag) = (page.again(), tag.clone());
        pages.push(tokio::spawn(async move { other.wait(&tag, 12).await }));
    }
    eventually("all wait", || async { waiting().await == PAGES }).await;
    pages.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("nobody waits", || async { waiting().await == 0 }).await;
}
