//! Callbacks from another browser, repeated, late or forged.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fake_hubspot::{Decision, Kind};
use reqwest::Method;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use crate::harness::app::{ACME, GLOBEX, HOST, approve};
use crate::harness::browser::{encode, flow_of, parameter, problem_of};
use crate::harness::{Browser, TestApp, sql};

/// Starts a flow and consents; returns the callback URL.
async fn approved(app: &TestApp, browser: &Browser, hub_id: u64) -> String {
    let authorize = browser.start(Some(HOST)).await;
    app.hubspot.decide(&authorize, approve(hub_id)).expect("HubSpot sends the browser back")
}

async fn nothing_came_of_it(app: &TestApp) {
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 0);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_in_another_browser_are_refused_and_the_flow_stays_open() {
    let app = TestApp::start().await;
    let (owner, other) = (app.browser(), app.browser());
    let back = approved(&app, &owner, ACME).await;
    other.start(Some(HOST)).await;

    let refused = other.get(&back).await;

    assert_eq!((refused.status, problem_of(&refused).as_str()), (303, "flow_not_yours"));
    nothing_came_of_it(&app).await;
    assert_eq!(other.status().await["authenticated"], false);
    let done = owner.get(&back).await;
    let message = owner.handoff(done.location()).await.json()["message"].clone();
    assert_eq!(message["type"], "hubspot_auth_success");
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_without_cookies_are_refused() {
    let app = TestApp::start().await;
    let back = approved(&app, &app.browser(), ACME).await;

    let other = app.browser();
    let refused = other.get(&back).await;

    assert_eq!(problem_of(&refused), "flow_not_yours");
    nothing_came_of_it(&app).await;
    let page = other.get(refused.location()).await.body;
    assert!(page.contains("Safari"), "a browser may keep no cookies of http://localhost: {page}");
    other.start(Some(HOST)).await;
    let page = other.get(refused.location()).await.body;
    assert!(!page.contains("Safari"), "this one keeps them: {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_authorize_urls_give_the_sender_no_access() {
    let app = TestApp::start().await;
    let (attacker, victim) = (app.browser(), app.browser());
    let authorize = attacker.start(Some(HOST)).await;
    let back = app.hubspot.decide(&authorize, approve(ACME)).expect("back");

    let refused = victim.get(&back).await;

    assert_eq!(problem_of(&refused), "flow_not_yours");
    nothing_came_of_it(&app).await;
    assert_eq!(attacker.status().await["authenticated"], false);
    let own = app.hubspot.decide(&authorize, approve(GLOBEX)).expect("back");
    let done = attacker.get(&own).await;
    let message = attacker.handoff(done.location()).await.json()["message"].clone();
    assert_eq!(message["portal_id"], GLOBEX);
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_flow_cookies_are_all_ignored() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let back = approved(&app, &browser, ACME).await;
    let (name, value) = browser.cookie("__Host-hsc_f_").expect("a flow cookie");
    let twice = format!("{name}=1.planted; {name}={value}");

    let refused = app.browser().navigate(&back, &[("cookie", &twice)]).await;

    assert_eq!(problem_of(&refused), "flow_not_yours");
    nothing_came_of_it(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subresource_and_prefetch_callbacks_consume_nothing() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let back = approved(&app, &browser, ACME).await;
    for (name, value) in [
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-dest", "image"),
        ("sec-fetch-dest", "iframe"),
        ("sec-purpose", "prefetch;prerender"),
    ] {
        let refused = browser.navigate(&back, &[(name, value)]).await;
        assert_eq!(
            (refused.status, problem_of(&refused).as_str()),
            (400, "not_a_navigation"),
            "{name}: {value}"
        );
    }
    nothing_came_of_it(&app).await;
    let done = browser.get(&back).await;
    assert!(done.location().contains("flow="), "{}", done.location());
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_callbacks_exchange_the_code_once_and_show_the_same_outcome() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let back = approved(&app, &browser, ACME).await;
    let first = browser.get(&back).await;

    let second = browser.get(&back).await;

    assert_eq!((second.status, second.location()), (303, first.location()));
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 1);
    let page = browser.get(second.location()).await;
    assert!(page.body.contains("data-outcome=\"success\""), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_callbacks_exchange_the_code_once() {
    let app = TestApp::start().await;
    let browser = Arc::new(app.browser());
    let back = approved(&app, &browser, ACME).await;
    let mut callbacks = JoinSet::new();
    for _ in 0..20 {
        let (browser, back) = (Arc::clone(&browser), back.clone());
        callbacks.spawn(async move { browser.get(&back).await });
    }

    let answers = callbacks.join_all().await;

    for answer in &answers {
        assert_eq!((answer.status, answer.location()), (303, answers[0].location()));
    }
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 1);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 1);
    assert_eq!(browser.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_callbacks_exchange_nothing_and_report_expiry() {
    let app = TestApp::with(&[("FLOW_TTL_SECONDS", "60")]).await;
    let browser = app.browser();
    let back = approved(&app, &browser, ACME).await;
    app.advance(60);

    let late = browser.get(&back).await;

    nothing_came_of_it(&app).await;
    let message = browser.handoff(late.location()).await.json()["message"].clone();
    assert_eq!(message["error"]["code"], "flow_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_is_exchanged_with_a_private_pkce_verifier() {
    let app = TestApp::with(&[("HUBSPOT_PKCE", "s256")]).await;
    let browser = app.browser();
    let authorize = browser.start(Some(HOST)).await;
    let back = app.hubspot.decide(&authorize, approve(ACME)).expect("back");

    browser.get(&back).await;

    let challenge = parameter(&authorize, "code_challenge");
    assert_eq!(challenge.len(), 43);
    assert_eq!(parameter(&authorize, "code_challenge_method"), "S256");
    let calls = app.hubspot.calls(Kind::Exchange);
    let verifier = &calls[0].form["code_verifier"];
    assert!((43..=128).contains(&verifier.len()), "{}", verifier.len());
    assert_eq!(URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)), challenge);
    assert_eq!(calls[0].status, Some(200));
    assert_eq!(browser.status().await["authenticated"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_of_one_app_are_not_finished_by_another_app() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let back = approved(&app, &browser, ACME).await;
    let app = app.restarted(&[("HUBSPOT_CLIENT_ID", "another-app")]).await;
    app.hubspot.options(|options| options.client_id = "another-app".to_owned());

    let refused = browser.get(&back).await;

    assert_eq!(problem_of(&refused), "flow_not_yours");
    nothing_came_of_it(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn states_with_one_changed_character_are_unknown() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let back = approved(&app, &browser, ACME).await;
    let state = parameter(&back, "state");
    for at in [0, 21, 42] {
        let mut tampered = state.clone().into_bytes();
        tampered[at] = if tampered[at] == b'A' { b'B' } else { b'A' };
        let tampered = String::from_utf8(tampered).unwrap();

        let refused = browser.get(&back.replace(&state, &tampered)).await;

        assert_eq!(problem_of(&refused), "flow_unknown", "character {at}");
        let page = browser.get(refused.location()).await;
        assert!(!page.body.contains(&tampered));
    }
    nothing_came_of_it(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_with_unknown_state_are_refused() {
    let app = TestApp::start().await;
    let state = "A".repeat(43);
    for query in [
        "code=made-up".to_owned(),
        "code=made-up&state=".to_owned(),
        format!("code=made-up&state={state}"),
        format!("error=access_denied&state={state}"),
    ] {
        let refused = app.browser().get(&format!("/auth/hubspot/callback?{query}")).await;
        let code = problem_of(&refused);
        assert!(["flow_unknown", "callback_incomplete"].contains(&code.as_str()), "{query}: {code}");
        assert!(refused.cookies().is_empty(), "{query}");
    }
    nothing_came_of_it(&app).await;
}

/// Returns all queries that HubSpot, or an attacker, may send to the callback.
fn variants(code: &str, state: &str) -> Vec<String> {
    let unknown = "A".repeat(43);
    vec![
        format!("code={code}&state={state}"),
        String::new(),
        format!("state={state}"),
        format!("code={code}"),
        format!("code={code}&state=short"),
        format!("code={code}&state={unknown}"),
        format!("code=&state={state}"),
        format!("error=access_denied&state={state}"),
        format!("error=server_error&error_description=canary-text&state={state}"),
        format!("error=server_error&code={code}&state={state}"),
        format!("error=canary-text&error_description=canary-text&code={code}"),
        format!("code={code}&state={unknown}&state={state}"),
        format!("code={code}&code={code}&state={state}"),
        format!("code={code}&state[]={state}"),
        format!("code={}&state={state}", "c".repeat(10_000)),
        format!("code={code}&state={state}&response_mode=fragment&token=canary-text"),
        format!("code={code}&state={state}%0d%0aLocation:canary-text"),
        format!("code={code}&state=%ff%fe{state}"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_redirect_to_a_url_without_code_state_or_error_text() {
    let app = TestApp::start().await;
    for at in 0..variants("", "").len() {
        let browser = app.browser();
        let back = approved(&app, &browser, ACME).await;
        let (code, state) = (parameter(&back, "code"), parameter(&back, "state"));
        let query = variants(&code, &state).swap_remove(at);

        let answer = browser.get(&format!("/auth/hubspot/callback?{query}")).await;

        let location = answer.location();
        assert_eq!(answer.status, 303, "{query}");
        assert!(
            location.starts_with("/auth/hubspot/done?") && location.ends_with("#_"),
            "{query} -> {location}"
        );
        for secret in [code.as_str(), state.as_str(), "canary-text", "cccccccc"] {
            assert!(!location.contains(secret), "{query} -> {location}");
            assert!(!answer.body.contains(secret), "{query} -> {}", answer.body);
        }
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_callback_parameters_are_refused() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let back = approved(&app, &browser, ACME).await;
    let (code, state) = (encode(&parameter(&back, "code")), encode(&parameter(&back, "state")));
    for query in [
        format!("code={code}&state={state}&state={state}"),
        format!("code=other&code={code}&state={state}"),
        format!("code={code}&state[]={state}"),
        format!("code[0]={code}&state={state}"),
        format!("code={code}&state={state}&error=a&error=b"),
    ] {
        let refused = browser.get(&format!("/auth/hubspot/callback?{query}")).await;
        assert_eq!(problem_of(&refused), "bad_request", "{query}");
    }
    nothing_came_of_it(&app).await;
    let done = browser.get(&back).await;
    assert!(done.location().contains("flow="), "{}", done.location());
}

#[tokio::test(flavor = "multi_thread")]
async fn error_texts_of_callbacks_are_never_echoed() {
    let app = TestApp::start().await;
    for said in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "canary\r\nSet-Cookie: canary=1",
        "canary\u{1b}[31m\u{202e}yranac",
        "canary\0canary",
        "{{ canary }}{% raw %}",
        &"canary ".repeat(1500),
    ] {
        let browser = app.browser();
        let state = parameter(&browser.start(Some(HOST)).await, "state");
        let said = encode(said);
        let path = format!("/auth/hubspot/callback?error={said}&error_description={said}&state={state}");

        let answer = browser.get(&path).await;
        let page = browser.get(answer.location()).await;

        assert_eq!((answer.status, page.status), (303, 200), "{said}");
        assert!(answer.cookies().is_empty(), "{said}: {:?}", answer.cookies());
        let message = browser.handoff(answer.location()).await;
        assert_eq!(message.json()["message"]["error"]["code"], "provider_error");
        for text in [answer.location(), &page.body, &message.body] {
            assert!(!text.contains("canary") && !text.contains("alert(1)"), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_the_result_page_are_never_echoed() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let made_up = encode("\"><script>alert(1)</script>");
    for query in
        [format!("problem={made_up}"), format!("flow={made_up}"), format!("flow={made_up}&problem={made_up}")]
    {
        let page = browser.get(&format!("/auth/hubspot/done?{query}")).await;
        assert_eq!(page.status, 200, "{query}");
        assert!(!page.body.contains("alert(1)"), "{}", page.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_with_fewer_scopes_are_reported_as_such() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let less = Decision::Approve { hub_id: ACME, scopes: Some(vec!["oauth".to_owned()]) };

    let done = browser.connect(&app, Some(HOST), less).await;

    let missing = json!(["crm.objects.contacts.read"]);
    assert_eq!(done["message"]["missing_scopes"], missing);
    assert_eq!(browser.status().await["missing_scopes"], missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_scopes_are_required_smaller_grants_are_revoked() {
    let app = TestApp::with(&[("HUBSPOT_REQUIRE_ALL_SCOPES", "true")]).await;
    let browser = app.browser();
    let less = Decision::Approve { hub_id: ACME, scopes: Some(vec!["oauth".to_owned()]) };

    let done = browser.connect(&app, Some(HOST), less).await;

    assert_eq!(done["message"]["error"]["code"], "scopes_missing");
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 1);
    assert!(app.hubspot.grants().is_empty());
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
    assert_eq!(browser.status().await["authenticated"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_message_is_handed_off_once() {
    let app = TestApp::start().await;
    let browser = Arc::new(app.browser());
    let done = browser.come_back(&app, Some(HOST), approve(ACME)).await;
    let mut asks = JoinSet::new();
    for _ in 0..8 {
        // With the cookie, which the first response removes.
        let request = browser
            .request(Method::POST, "/auth/hubspot/handoff")
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/json")
            .body(json!({"flow": flow_of(done.location())}).to_string());
        let browser = Arc::clone(&browser);
        asks.spawn(async move { browser.send(request).await });
    }

    let answers = asks.join_all().await;

    let given = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(given, 1);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, problem_of(refused).as_str()), (410, "already_delivered"));
        assert!(!refused.body.contains("access_token"));
    }
    let page = browser.get(done.location()).await;
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(!page.body.contains("access_token"));
}
