//! A reconnect with another account than the expected one: nothing is overwritten, the user is asked.

use fake_hubspot::{Kind, Options};
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, HOST, INITECH, approve};
use crate::harness::browser::{Answer, problem_of};
use crate::harness::page::{Page, data};
use crate::harness::{Browser, TestApp, sql};

/// Reconnects ACME and selects GLOBEX; returns the page that waits, and the page that asks.
async fn asked(app: &TestApp, browser: &Browser) -> (Page, Answer) {
    let page = Page::new(&app.base, HOST);
    let launch = page.post(browser, Some(HOST), &[("portal_id", &ACME.to_string())]).await;
    let back = app.hubspot.decide(&data(&launch, "authorize-url"), approve(GLOBEX)).expect("back");
    let done = browser.get(&back).await;
    assert_eq!(done.status, 303);
    (page, browser.get(done.location().split('#').next().unwrap()).await)
}

async fn decide(browser: &Browser, question: &Answer, decision: &str) -> Answer {
    let flow = data(question, "flow");
    browser.post_form("/auth/hubspot/decide", &[("flow", &flow), ("decision", decision)]).await
}

async fn accounts(browser: &Browser) -> Vec<u64> {
    let status = browser.status().await;
    let mut all: Vec<u64> = status["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|connection| connection["portal_id"].as_u64().unwrap())
        .collect();
    all.sort_unstable();
    all
}

/// Returns the accounts whose grants are live at HubSpot.
fn living(app: &TestApp) -> Vec<u64> {
    app.hubspot.grants().into_iter().map(|grant| grant.hub_id).collect()
}

fn status(answer: &Answer) -> Value {
    answer.json()["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_waits_for_the_users_decision_and_changes_nothing() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let before = browser.status().await;

    let (page, question) = asked(&app, &browser).await;

    assert!(question.body.contains("data-page=\"choice\""), "{}", question.body);
    assert!(question.body.contains(&GLOBEX.to_string()) && question.body.contains(&ACME.to_string()));
    assert_eq!(status(&page.poll().await), "exchanging");
    assert_eq!(browser.status().await["connections"][0]["id"], before["connections"][0]["id"]);
    assert_eq!(accounts(&browser).await, [ACME]);
    app.assert_one_job_each().await;
    let stored = String::from_utf8_lossy(&app.database.dump().await).into_owned();
    for grant in app.hubspot.grants() {
        assert!(!stored.contains(&grant.refresh_token), "a pending refresh token is stored in plaintext");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeping_both_adds_the_new_account() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let sealed = app.database.column_of(ACME, sql::REFRESH_TOKEN).await;
    let (page, question) = asked(&app, &browser).await;

    let answer = decide(&browser, &question, "keep").await;

    assert_eq!(answer.status, 303, "{}", answer.body);
    assert_eq!(app.database.column_of(ACME, sql::REFRESH_TOKEN).await, sealed, "the first one is left alone");
    assert_eq!(accounts(&browser).await, [ACME, GLOBEX]);
    let authorization = page.poll().await.json();
    assert_eq!(
        (&authorization["status"], &authorization["connection"]["portal_id"]),
        (&json!("connected"), &json!(GLOBEX))
    );
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 0);
    assert_eq!(app.database.pending_grants().await, 0);
    app.assert_one_job_each().await;
    app.advance(1700);
    assert_eq!(app.refresh_due().await, 2, "both are kept alive");
}

#[tokio::test(flavor = "multi_thread")]
async fn switching_replaces_the_old_account() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let (page, question) = asked(&app, &browser).await;

    decide(&browser, &question, "switch").await;

    assert_eq!(accounts(&browser).await, [GLOBEX]);
    assert_eq!(status(&page.poll().await), "connected");
    assert_eq!(living(&app), [GLOBEX]);
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_revokes_the_new_grant_and_notifies_the_page() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let (page, question) = asked(&app, &browser).await;

    let answer = decide(&browser, &question, "back").await;
    let shown = browser.get(answer.location().split('#').next().unwrap()).await;

    assert!(shown.body.contains("data-code=\"wrong_account\""), "{}", shown.body);
    assert_eq!(accounts(&browser).await, [ACME]);
    let authorization = page.poll().await.json();
    assert_eq!(
        (&authorization["status"], &authorization["error"]["code"]),
        (&json!("failed"), &json!("wrong_account"))
    );
    app.advance(60);
    app.services.connections.disconnects.revoke_due().await.unwrap();
    assert_eq!(living(&app), [ACME]);
}

#[tokio::test(flavor = "multi_thread")]
async fn undecided_grants_end_after_ten_minutes() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let (page, question) = asked(&app, &browser).await;

    app.advance(601);
    app.services.maintenance.sweep().await.unwrap();
    app.advance(60);
    app.services.connections.disconnects.revoke_due().await.unwrap();

    assert_eq!(page.poll().await.json()["error"]["code"], "wrong_account");
    assert_eq!(app.database.pending_grants().await, 0);
    assert_eq!(living(&app), [ACME]);
    decide(&browser, &question, "keep").await;
    assert_eq!(accounts(&browser).await, [ACME], "too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_mismatch_survives_a_restart_and_belongs_to_its_browser() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let (_, question) = asked(&app, &browser).await;
    let app = app.restarted(&[]).await;

    let stranger = app.browser();
    assert_eq!(problem_of(&decide(&stranger, &question, "keep").await), "flow_unknown");
    let forged = browser
        .request(reqwest::Method::POST, "/auth/hubspot/decide")
        .header("origin", HOST)
        .header("sec-fetch-site", "cross-site")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("flow={}&decision=switch", data(&question, "flow")));
    assert_eq!(browser.send(forged).await.status, 403);
    assert_eq!(decide(&browser, &question, "everything").await.status, 400);
    assert_eq!(accounts(&browser).await, [ACME]);

    decide(&browser, &question, "keep").await;
    assert_eq!(accounts(&browser).await, [ACME, GLOBEX]);
    decide(&browser, &question, "switch").await;
    assert_eq!(accounts(&browser).await, [ACME, GLOBEX], "the matter is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_expected_account_reconnects_without_a_question() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let page = Page::new(&app.base, HOST);
    let launch = page.post(&browser, Some(HOST), &[("portal_id", &ACME.to_string())]).await;
    let back = app.hubspot.decide(&data(&launch, "authorize-url"), approve(ACME)).expect("back");
    browser.get(&back).await;
    assert_eq!(status(&page.poll().await), "connected");
    assert_eq!(accounts(&browser).await, [ACME]);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirect_flows_ask_before_they_return() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let (page, url) = (Page::new(&app.base, HOST), format!("{HOST}/settings"));
    let more =
        [("portal_id", ACME.to_string()), ("mode", "redirect".to_owned()), ("return_url", url.clone())];
    let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let launch = page.post(&browser, Some(HOST), &more).await;
    let back = app.hubspot.decide(&data(&launch, "authorize-url"), approve(GLOBEX)).expect("back");
    let done = browser.get(&back).await;
    assert!(done.location().starts_with("/auth/hubspot/done?flow="), "{}", done.location());
    let question = browser.get(done.location().split('#').next().unwrap()).await;

    let answer = decide(&browser, &question, "keep").await;

    // A form may not lead to another site where its page's policy forbids it, so a page of the service continues from
    // here.
    assert!(answer.location().starts_with("/auth/hubspot/done?flow="), "{}", answer.location());
    let done = browser.get(answer.location().split('#').next().unwrap()).await;
    assert_eq!(data(&done, "return-link"), format!("{url}#hsc={}", data(&launch, "flow")));
    assert_eq!(data(&done, "mode"), "redirect");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_concurrent_decisions_one_counts() {
    for (one, two) in
        [("keep", "back"), ("back", "keep"), ("switch", "back"), ("keep", "keep"), ("keep", "switch")]
    {
        for _ in 0..5 {
            let app = TestApp::start().await;
            let browser = app.connected(ACME).await;
            let (page, question) = asked(&app, &browser).await;

            let both = tokio::join!(decide(&browser, &question, one), decide(&browser, &question, two));

            assert_eq!((both.0.status, both.1.status), (303, 303), "{} {}", both.0.body, both.1.body);
            app.advance(60);
            app.services.connections.disconnects.revoke_due().await.unwrap();
            let (authorization, here) = (page.poll().await.json(), accounts(&browser).await);
            let mut there = living(&app);
            there.sort_unstable();
            assert_eq!(here, there, "{one} {two}: what is connected here lives at HubSpot, and nothing else");
            let connected = here.contains(&GLOBEX);
            assert_eq!(
                authorization["status"],
                if connected { "connected" } else { "failed" },
                "{one} {two}"
            );
            assert!(connected || here == [ACME], "{one} {two}: {here:?}");
            assert_eq!(app.database.pending_grants().await, 0);
            app.assert_one_job_each().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_mismatch_stays_open_while_its_key_is_missing() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let (_, question) = asked(&app, &browser).await;
    app.database.lose_key_of_pending_grants().await;

    let refused = decide(&browser, &question, "keep").await;

    assert_eq!((refused.status, problem_of(&refused).as_str()), (500, "unknown_key"));
    assert_eq!(accounts(&browser).await, [ACME]);
    app.database.find_key_of_pending_grants().await;
    assert_eq!(decide(&browser, &question, "keep").await.status, 303);
    assert_eq!(accounts(&browser).await, [ACME, GLOBEX]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tampered_pending_grants_create_no_connection() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let (page, question) = asked(&app, &browser).await;
    app.database.damage_pending_grants().await;

    decide(&browser, &question, "keep").await;

    assert_eq!(accounts(&browser).await, [ACME]);
    assert_eq!(page.poll().await.json()["error"]["code"], "integrity_error");
    app.advance(60);
    app.services.connections.disconnects.revoke_due().await.unwrap();
    assert_eq!(living(&app), [ACME], "its refresh token is good, and ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_ends_pending_grants() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let (page, question) = asked(&app, &browser).await;

    browser.logout().await;
    app.advance(60);
    app.services.connections.disconnects.revoke_due().await.unwrap();

    assert_eq!(status(&page.poll().await), "failed");
    assert_eq!(living(&app), Vec::<u64>::new());
    decide(&browser, &question, "keep").await;
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_sign_in_later_cannot_decide_a_pending_grant() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let (_, question) = asked(&app, &browser).await;
    // The same browser, another user: the flow's cookie is still there.
    let cookies = browser.cookies.lock().unwrap().clone();
    browser.cookies.lock().unwrap().retain(|name, _| name.contains("hsc_f_"));
    browser.connect(&app, None, approve(INITECH)).await;

    let refused = decide(&browser, &question, "keep").await;

    assert_eq!((refused.status, problem_of(&refused).as_str()), (403, "flow_not_yours"));
    assert_eq!(accounts(&browser).await, [INITECH]);
    *browser.cookies.lock().unwrap() = cookies;
    decide(&browser, &question, "keep").await;
    assert_eq!(accounts(&browser).await, [ACME, GLOBEX], "its owner can still decide");
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_grants_shared_with_a_connection_survive_its_disconnect() {
    let options = Options { share_refresh_token_per_account: true, ..Options::default() };
    let app = TestApp::with_hubspot(&[], options).await;
    let (browser, colleague) = (app.connected(ACME).await, app.connected(GLOBEX).await);
    let (_, question) = asked(&app, &browser).await;

    colleague.logout().await;
    app.advance(60);
    app.services.connections.disconnects.revoke_due().await.unwrap();
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 0);

    decide(&browser, &question, "back").await;
    app.advance(60);
    app.services.connections.disconnects.revoke_due().await.unwrap();
    assert_eq!(living(&app), [ACME], "no connection has it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_that_cannot_be_revoked_do_not_block_others() {
    let app = TestApp::start().await;
    let (one, two) = (app.connected(ACME).await, app.connected(ACME).await);
    asked(&app, &one).await;
    app.database.misplace_pending_grants().await;
    app.advance(1);
    asked(&app, &two).await;

    app.advance(601);
    app.services.maintenance.sweep().await.unwrap();

    assert_eq!((app.database.misplaced_pending_grants().await, app.database.pending_grants().await), (1, 1));
    assert_eq!(app.database.count(sql::REVOCATION_JOBS).await, 1);
    one.logout().await;
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 1, "nor does it keep its connection");
}
