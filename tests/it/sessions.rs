//! Browser sessions: their owner, their lifetime, and the access of an old or a foreign one.

use std::time::{Duration, Instant};

use fake_hubspot::Kind;
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, HOST, approve};
use crate::harness::browser::{encode, flow_of, problem_of};
use crate::harness::{Browser, TestApp, sql};

const SESSION: &str = "__Host-hsc_sid";
const FLOW: &str = "__Host-hsc_f_";

/// Returns a browser with one cookie only.
fn with_cookie(app: &TestApp, name: &str, value: &str) -> Browser {
    let browser = app.browser();
    browser.plant(name, value);
    browser
}

async fn assert_anonymous(browser: &Browser) {
    assert_eq!(browser.status().await, json!({"authenticated": false, "connections": []}));
    assert_eq!(browser.get("/").await.location(), "/login");
}

fn session_of(browser: &Browser) -> String {
    browser.cookie(SESSION).expect("a session").1
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_rotates_the_session_key() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let before = session_of(&browser);

    browser.connect(&app, Some(HOST), approve(GLOBEX)).await;

    assert_ne!(session_of(&browser), before);
    assert_anonymous(&with_cookie(&app, SESSION, &before)).await;
    assert_eq!(browser.status().await["connections"].as_array().unwrap().len(), 2);
    assert_eq!(app.database.count(sql::SESSIONS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn session_keys_set_by_clients_are_never_adopted() {
    let app = TestApp::start().await;
    let ended = app.connected(ACME).await;
    let once_good = session_of(&ended);
    ended.logout().await;
    for planted in ["self-made", "", &"A".repeat(64), once_good.as_str()] {
        let browser = with_cookie(&app, SESSION, planted);
        assert_anonymous(&browser).await;

        browser.connect(&app, Some(HOST), approve(GLOBEX)).await;

        assert_ne!(session_of(&browser), planted);
        assert_anonymous(&with_cookie(&app, SESSION, planted)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_signed_with_another_secret_are_ignored() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let app = app.restarted(&[("APP_SECRET", "another application secret, just as long")]).await;

    assert_anonymous(&browser).await;

    assert_eq!(app.database.count(sql::CONNECTIONS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_bound_to_their_purpose() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let authorize = browser.start(Some(HOST)).await;
    let back = app.hubspot.decide(&authorize, approve(GLOBEX)).expect("back");
    let cookies = browser.cookies.lock().unwrap().clone();
    let session = &cookies[SESSION];
    for (name, value) in cookies.iter().filter(|(name, _)| name.starts_with(FLOW)) {
        let (_, secret) = value.split_once('.').unwrap();
        assert_anonymous(&with_cookie(&app, SESSION, value)).await;
        assert_anonymous(&with_cookie(&app, SESSION, secret)).await;

        let refused = with_cookie(&app, name, &format!("1.{session}")).get(&back).await;

        assert_eq!(problem_of(&refused), "flow_not_yours");
    }
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_with_a_wrong_secret_look_unknown() {
    let app = TestApp::start().await;
    let owner = app.browser();
    let done = owner.come_back(&app, Some(HOST), approve(ACME)).await;
    let (name, _) = owner.cookie(FLOW).expect("a flow cookie");
    let wrong = with_cookie(&app, &name, &format!("1.{}", "A".repeat(43)));
    let without = app.browser();
    let unknown = "/auth/hubspot/done?flow=00000000-0000-8000-8000-000000000000#_";
    let mut answers = Vec::new();
    for (browser, address) in [(&wrong, done.location()), (&without, done.location()), (&owner, unknown)] {
        let mut answer = browser.handoff(address).await.json();
        answer["request_id"].take();
        answers.push(answer);
        let page = browser.get(address).await;
        assert!(!page.body.contains(&flow_of(done.location())), "{}", page.body);
        assert!(page.body.contains("data-outcome=\"over\""), "{}", page.body);
    }

    assert_eq!((&answers[0], &answers[1]), (&answers[2], &answers[2]));
    assert_eq!((&answers[0]["status"], &answers[0]["code"]), (&json!(404), &json!("flow_unknown")));
    let message = owner.handoff(done.location()).await.json()["message"].clone();
    assert_eq!(message["type"], "hubspot_auth_success");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_one_account_see_only_their_own_connection() {
    let app = TestApp::start().await;
    let (first, second) = (app.connected(ACME).await, app.connected(ACME).await);
    let id = |status: &Value| status["connections"][0]["id"].as_str().unwrap().to_owned();
    let (of_first, of_second) = (id(&first.status().await), id(&second.status().await));
    assert_ne!(of_first, of_second);
    assert_eq!(second.status().await["connections"].as_array().unwrap().len(), 1);
    assert!(!second.get("/").await.body.contains(&of_first));

    let refused = second.disconnect(&of_first).await;

    let unknown = second.disconnect("00000000-0000-4000-8000-000000000000").await;
    assert_eq!((refused.status, problem_of(&refused).as_str()), (404, "connection_not_found"));
    assert_eq!((unknown.status, problem_of(&unknown).as_str()), (404, "connection_not_found"));
    assert_eq!(id(&first.status().await), of_first);
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn logged_out_sessions_cannot_be_replayed() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let before = session_of(&browser);
    let form_token = browser.csrf().await;
    browser.logout().await;
    assert!(browser.cookie(SESSION).is_none());

    let replayed = with_cookie(&app, SESSION, &before);

    assert_anonymous(&replayed).await;
    let request = replayed
        .request(reqwest::Method::POST, "/api/hubspot/disconnect")
        .header("sec-fetch-site", "same-origin")
        .header("hubspot-connect-csrf", form_token)
        .header("content-type", "application/json")
        .body(json!({"connection_id": "00000000-0000-4000-8000-000000000000"}).to_string());
    let refused = replayed.send(request).await;
    assert_eq!((refused.status, problem_of(&refused).as_str()), (401, "not_authenticated"));
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_sessions_end_with_their_connections() {
    let app = TestApp::with(&[("SESSION_IDLE_SECONDS", "300")]).await;
    let browser = app.connected(ACME).await;
    for _ in 0..3 {
        app.advance(200);
        assert_eq!(browser.get("/").await.status, 200);
    }

    app.advance(301);

    assert_anonymous(&browser).await;
    app.services.maintenance.sweep().await.unwrap();
    app.advance(60);
    app.services.connections.disconnects.revoke_due().await.unwrap();
    assert_eq!(app.database.count(sql::SESSIONS).await, 0);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_do_not_extend_a_session_and_report_its_end() {
    let app = TestApp::with(&[("SESSION_IDLE_SECONDS", "300")]).await;
    let browser = app.connected(ACME).await;
    let ends = |status: &Value| status["session_expires_at"].as_str().expect("a moment").to_owned();
    let first = browser.get("/api/hubspot/status").await;
    let end = ends(&first.json());
    assert_eq!(end, app.clock.now().plus(Duration::from_secs(300)).rfc3339());
    assert!(browser.get("/").await.body.contains(&format!("datetime=\"{end}\"")));
    // An open page polls every thirty seconds, without a change.
    for _ in 0..9 {
        app.advance(30);
        let poll = browser.request(reqwest::Method::GET, "/api/hubspot/status");
        let polled = browser.send(poll.header("if-none-match", first.header("etag"))).await;
        assert_eq!(polled.status, 304, "{}", polled.body);
    }

    // Actions of the user extend it: opening a page, sending a form.
    browser.get("/").await;
    let moved = browser.get("/api/hubspot/status").await;
    assert_ne!(moved.header("etag"), first.header("etag"));
    assert_eq!(ends(&moved.json()), app.clock.now().plus(Duration::from_secs(300)).rfc3339());
    app.advance(200);
    let none = "00000000-0000-4000-8000-000000000000";
    assert_eq!(browser.disconnect(none).await.status, 404);
    assert_eq!(ends(&browser.status().await), app.clock.now().plus(Duration::from_secs(300)).rfc3339());

    for _ in 0..10 {
        assert_eq!(browser.status().await["authenticated"], true);
        app.advance(30);
    }

    assert_anonymous(&browser).await;
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_report_their_absolute_end() {
    let app = TestApp::with(&[("SESSION_IDLE_SECONDS", "300"), ("SESSION_MAX_SECONDS", "400")]).await;
    let browser = app.connected(ACME).await;
    let last = app.clock.now().plus(Duration::from_secs(400)).rfc3339();
    app.advance(200);
    browser.get("/").await;
    assert_eq!(browser.status().await["session_expires_at"], last);
    // Connecting again rotates its key, and keeps its end.
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(browser.status().await["session_expires_at"], last);
    let kept = app.database.count_where(sql::SESSIONS, "state LIKE '%ends_at%'").await;
    assert_eq!(kept, 0, "the end is the row's");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_status_requests_return_when_the_session_ends() {
    let app = TestApp::with(&[("SESSION_IDLE_SECONDS", "300")]).await;
    let browser = app.connected(ACME).await;
    let tag = browser.get("/api/hubspot/status").await.header("etag").to_owned();
    app.advance(299);
    let began = Instant::now();
    let wait = |tag: &str| {
        let poll = browser.request(reqwest::Method::GET, "/api/hubspot/status?wait=25");
        browser.send(poll.header("if-none-match", tag.to_owned()))
    };

    let answer = wait(&tag).await;

    assert_eq!(answer.status, 304, "it may have been extended in the meantime");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    app.advance(1);
    let answer = wait(&tag).await;
    assert_eq!((answer.status, &answer.json()["authenticated"]), (200, &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_explains_what_happens_to_connections_when_the_session_ends() {
    for (what, words) in [
        ("revoke", "access is revoked at HubSpot"),
        ("forget", "The app stays installed at HubSpot"),
        ("keep", "stay connected"),
    ] {
        let app = TestApp::with(&[("ON_SESSION_EXPIRY", what)]).await;
        let page = app.connected(ACME).await.get("/").await.body;
        assert_eq!(page.matches(words).count(), 2, "{what}: before it ends, and after");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_at_their_absolute_limit() {
    let app = TestApp::with(&[("SESSION_IDLE_SECONDS", "300"), ("SESSION_MAX_SECONDS", "1000")]).await;
    let browser = app.connected(ACME).await;
    for _ in 0..4 {
        app.advance(200);
        browser.connect(&app, Some(HOST), approve(ACME)).await;
        assert_eq!(browser.status().await["authenticated"], true);
    }

    app.advance(200);

    assert_anonymous(&browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_during_a_flow_does_not_restore_the_old_session() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let before = session_of(&browser);
    let authorize = browser.start(Some(HOST)).await;
    browser.logout().await;
    let back = app.hubspot.decide(&authorize, approve(GLOBEX)).expect("back");

    browser.get(&back).await;

    assert_anonymous(&with_cookie(&app, SESSION, &before)).await;
    let status = browser.status().await;
    assert_eq!(status["connections"].as_array().unwrap().len(), 1);
    assert_eq!(status["portal_id"], GLOBEX);
}

#[tokio::test(flavor = "multi_thread")]
async fn user_ids_claimed_by_requests_grant_no_access() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let user = browser.status().await["user_id"].as_str().unwrap().to_owned();
    let stranger = app.browser();
    for query in [format!("user_id={user}"), format!("user={}", encode(&user))] {
        let status = stranger.get(&format!("/api/hubspot/status?{query}")).await;
        assert_eq!((status.status, problem_of(&status).as_str()), (400, "bad_request"), "{query}");
    }
    let claimed = stranger
        .navigate(
            "/api/hubspot/status",
            &[("x-user-id", &user), ("authorization", &format!("Bearer {user}"))],
        )
        .await;
    assert_eq!(claimed.json()["authenticated"], false);
}
