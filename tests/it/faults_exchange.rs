//! Faults of HubSpot in the code exchange: a clear outcome, nothing partial, and the next flow works.

use std::time::{Duration, Instant};

use fake_hubspot::{Fault, Kind, Options, Rule};
use serde_json::{Map, Value, json};
use test_support::memory_kib;

use crate::harness::app::{ACME, HOST, approve};
use crate::harness::browser::{Answer, Browser};
use crate::harness::token_endpoint_faults::{
    self, Class, TokenFault, UPSTREAM, code_refusals, grant_refusals, lacking, patch,
};
use crate::harness::{TestApp, eventually, sql};

/// Connects in a new browser with this fault in the exchange; returns the last page, and the message.
async fn connect_with(app: &TestApp, fault: Fault) -> (Browser, Answer, Value) {
    app.hubspot.script(Rule::once(Kind::Exchange, fault));
    let browser = app.browser();
    let callback = browser.come_back(app, Some(HOST), approve(ACME)).await;
    app.hubspot.clear_script();
    assert_eq!(callback.status, 303, "{}", callback.body);
    let page = browser.get(callback.location()).await;
    let message = browser.handoff(callback.location()).await.json()["message"].clone();
    (browser, page, message)
}

async fn assert_fails(app: &TestApp, case: TokenFault) {
    let TokenFault { name, fault, code, .. } = case;
    let (calls, tokens) =
        (app.hubspot.calls(Kind::Exchange).len(), app.database.count(sql::CONNECTIONS).await);
    let (browser, page, message) = connect_with(app, fault).await;
    assert_eq!(message["type"], "hubspot_auth_error", "{name}: {message}");
    assert_eq!(message["error"]["code"], code, "{name}");
    assert_eq!(page.status, 200, "{name}");
    assert!(page.body.contains(&format!("data-code=\"{code}\"")), "{name}: {}", page.body);
    assert!(!page.body.contains(UPSTREAM), "{name}: {}", page.body);
    assert!(!message.to_string().contains(UPSTREAM), "{name}: {message}");
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), calls + 1, "{name}: a code is sent once");
    assert_eq!(app.database.count(sql::CONNECTIONS).await, tokens, "{name}");
    assert_eq!(browser.status().await["authenticated"], false, "{name}");
    let again = browser.connect(app, Some(HOST), approve(ACME)).await;
    assert_eq!(again["message"]["type"], "hubspot_auth_success", "after {name}: {again}");
    app.assert_one_job_each().await;
}

async fn assert_each_fails(faults: Vec<TokenFault>) {
    let app = TestApp::start().await;
    let count: i64 = faults.len().try_into().unwrap();
    for case in faults {
        assert_fails(&app, case).await;
    }
    let failed = "status = 'failed' AND finished_at IS NOT NULL";
    assert_eq!(app.database.count_where(sql::AUTH_REQUESTS, failed).await, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn code_exchanges_with_a_lost_connection_fail_clearly_and_the_next_one_works() {
    assert_each_fails(token_endpoint_faults::lines()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_exchanges_with_an_error_status_fail_clearly_and_the_next_one_works() {
    assert_each_fails(token_endpoint_faults::statuses()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_exchanges_with_a_malformed_response_fail_clearly_and_the_next_one_works() {
    assert_each_fails(token_endpoint_faults::bodies()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_exchanges_with_unusable_tokens_fail_clearly_and_the_next_one_works() {
    assert_each_fails(token_endpoint_faults::fields()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_exchanges_with_a_redirect_fail_clearly_and_the_next_one_works() {
    assert_each_fails(token_endpoint_faults::redirects()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_exchanges_with_refused_credentials_fail_clearly_and_the_next_one_works() {
    assert_each_fails(token_endpoint_faults::refusals()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_codes_are_not_retried_and_the_user_can_try_again() {
    let app = TestApp::start().await;
    for case in code_refusals() {
        assert_fails(&app, case).await;
    }
    for case in grant_refusals() {
        assert_eq!(case.class, Class::Dead);
        let code = "code_rejected";
        assert_fails(&app, TokenFault { code, ..case }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_codes_and_redirect_uri_mismatches_have_their_own_errors() {
    let options = Options { code_seconds: 0, ..Options::default() };
    let app = TestApp::with_hubspot(&[], options).await;
    let done = app.browser().connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(done["message"]["error"]["code"], "code_rejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_hubspot_is_reported_at_once() {
    let app = TestApp::start().await;
    let app = app.restarted(&[("HUBSPOT_API_URL", "http://127.0.0.1:9")]).await;
    let began = Instant::now();
    let done = app.browser().connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(done["message"]["error"]["code"], "provider_unreachable");
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
}

/// The one test that waits for the timeout of calls to HubSpot; everything that needs it is in here, concurrently.
#[tokio::test(flavor = "multi_thread")]
async fn code_exchanges_wait_until_the_deadline_and_no_longer() {
    let app = TestApp::start().await;
    let held = [app.connected(1_001).await, app.connected(1_002).await];
    app.advance(1261);
    let jobs = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::Hang(Duration::from_secs(120))));
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::Drip));
    let began = Instant::now();
    let refreshes: Vec<_> =
        jobs.into_iter().map(|job| app.services.connections.refreshes.refresh(job)).collect();
    let faults = [Fault::Delay(Duration::from_secs(15)), Fault::Hang(Duration::from_secs(120)), Fault::Drip];
    let mut connects = Vec::new();
    for fault in faults {
        app.hubspot.script(Rule::once(Kind::Exchange, fault));
        let browser = app.browser();
        let authorize = browser.start(Some(HOST)).await;
        let back = app.hubspot.decide(&authorize, approve(ACME)).unwrap();
        let sent = app.hubspot.calls(Kind::Exchange).len() + 1;
        connects.push(tokio::spawn(async move {
            let callback = browser.get(&back).await;
            let done = browser.handoff(callback.location()).await.json();
            (began.elapsed(), done["message"].clone())
        }));
        eventually("the code is sent", || async { app.hubspot.calls(Kind::Exchange).len() == sent }).await;
    }
    assert_eq!(app.database.count_where(sql::AUTH_REQUESTS, "status = 'exchanging'").await, 3);
    let mut outcomes = Vec::new();
    for connect in connects {
        outcomes.push(connect.await.unwrap());
    }
    let deadline = Duration::from_secs(19)..Duration::from_secs(23);
    assert_eq!(outcomes[0].1["type"], "hubspot_auth_success", "{outcomes:?}");
    for (took, message) in &outcomes[1..] {
        assert_eq!(message["error"]["code"], "provider_timeout", "{message}");
        assert!(deadline.contains(took), "{took:?}");
    }
    for refresh in refreshes {
        refresh.await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(25));
    assert_eq!(app.database.connections("state = 'active' AND last_error = 'provider_timeout'").await, 2);
    app.advance(5);
    assert_eq!(app.refresh_due().await, 2);
    for browser in held {
        assert_eq!(browser.status().await["status"], "active");
    }
    assert_eq!(app.database.connections("state = 'active' AND last_error = 'provider_timeout'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_and_huge_responses_do_not_exhaust_memory() {
    let app = TestApp::start().await;
    let before = memory_kib(std::process::id(), "VmRSS").unwrap();
    for _ in 0..10 {
        connect_with(&app, Fault::Large(50 << 20)).await;
        connect_with(&app, Fault::Endless).await;
    }
    let grown = memory_kib(std::process::id(), "VmRSS").unwrap().saturating_sub(before);
    // The fake runs in this process too, so this is a rough bound: less than a single one of those responses.
    assert!(grown < 40 * 1024, "{grown} kB more");
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_without_a_refresh_token_create_no_connection() {
    let app = TestApp::start().await;
    for fault in
        [lacking("refresh_token"), patch("refresh_token", json!("")), patch("refresh_token", Value::Null)]
    {
        let (_, _, message) = connect_with(&app, fault).await;
        assert_eq!(message["error"]["code"], "no_refresh_token");
    }
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_responses_need_no_token_type_lifetime_or_content_type() {
    let app = TestApp::start().await;
    for fault in [lacking("token_type"), lacking("expires_in"), patch("token_type", json!("Bearer"))] {
        let (_, _, message) = connect_with(&app, fault.clone()).await;
        assert_eq!(message["type"], "hubspot_auth_success", "{fault:?}");
    }
    for content_type in [None, Some("text/plain"), Some("text/html"), Some("application/octet-stream")] {
        let body = json!({"access_token": "CaccessOfNobody", "refresh_token": "na1-nobodys", "hub_id": ACME});
        let fault = Fault::Body { content_type: content_type.map(str::to_owned), body: body.to_string() };
        let (_, _, message) = connect_with(&app, fault).await;
        assert_eq!(message["access_token"], "CaccessOfNobody", "{content_type:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn access_tokens_with_unusual_characters_are_unchanged() {
    let app = TestApp::start().await;
    for token in ["C\"quoted\"", "C🙂+/=&%20", "C'<b>\\u0041", &"C".repeat(4096)] {
        let (_, _, message) = connect_with(&app, patch("access_token", json!(token))).await;
        assert_eq!(message["access_token"], token);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed_with_the_client_secret() {
    let app = TestApp::start().await;
    let elsewhere = fake_hubspot::FakeHubSpot::start(Options::default()).await.unwrap();
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/oauth/2026-09/token", elsewhere.base_url());
        let (_, _, message) = connect_with(&app, Fault::Redirect { status, location }).await;
        assert_eq!(message["error"]["code"], "provider_redirected");
    }
    assert_eq!(elsewhere.journal().len(), 0);
    let itself = format!("{}/oauth/2026-09/token", app.hubspot.base_url());
    let calls = app.hubspot.journal().len();
    app.hubspot.script(Rule::always(Kind::Exchange, Fault::Redirect { status: 307, location: itself }));
    app.browser().connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(app.hubspot.journal().len(), calls + 2, "one visit, one call, no loop");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_token_responses_leave_no_partial_connection() {
    let app = TestApp::start().await;
    let (browser, _, message) = connect_with(&app, Fault::ResetAfterIssue).await;
    assert_eq!(message["error"]["code"], "provider_unreachable");
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
    assert_eq!(app.database.count(sql::REFRESH_JOBS).await, 0);
    let again = browser.connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(again["message"]["type"], "hubspot_auth_success");
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_with_unknown_account_are_identified_later() {
    let app = TestApp::start().await;
    app.hubspot.script(Rule::times(Kind::Introspect, 3, oops(500)));
    let (browser, page, message) = connect_with_rules_kept(&app, lacking("hub_id")).await;
    assert_eq!(message["type"], "hubspot_auth_success", "{message}");
    assert_eq!(message["portal_id"], Value::Null);
    assert_eq!(page.status, 200);
    assert!(message["access_token"].is_string());
    let status = browser.status().await;
    assert_eq!((&status["status"], &status["portal_id"]), (&json!("active"), &Value::Null));
    app.advance(31);
    app.services.connections.details.fetch_missing_details().await.unwrap();
    assert_eq!(browser.status().await["portal_id"], Value::Null, "HubSpot still fails");
    app.advance(301);
    app.services.connections.details.fetch_missing_details().await.unwrap();
    let status = browser.status().await;
    assert_eq!(status["portal_id"], ACME);
    assert_eq!(status["hub_domain"], "acme.example");
    assert_eq!(status["time_zone"], "US/Eastern");
    let calls = app.hubspot.calls(Kind::Introspect).len();
    app.advance(3600);
    app.services.connections.details.fetch_missing_details().await.unwrap();
    assert_eq!(app.hubspot.calls(Kind::Introspect).len(), calls, "what is known is not asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_succeed_when_the_account_lookup_fails() {
    for fault in [
        oops(500),
        oops(404),
        Fault::CloseBeforeAnswer,
        Fault::Json(json!({"active": false})),
        Fault::Json(json!([])),
    ] {
        let app = TestApp::start().await;
        app.hubspot.script(Rule::always(Kind::Introspect, fault.clone()));
        app.hubspot.script(Rule::always(Kind::AccountInfo, fault.clone()));
        let browser = app.browser();
        let done = browser.connect(&app, Some(HOST), approve(ACME)).await;
        assert_eq!(done["message"]["type"], "hubspot_auth_success", "{fault:?}");
        assert_eq!(browser.status().await["status"], "active", "{fault:?}");
        app.hubspot.clear_script();
        app.advance(31);
        app.services.connections.details.fetch_missing_details().await.unwrap();
        let status = browser.status().await;
        assert_eq!(
            (&status["status"], &status["hub_domain"]),
            (&json!("active"), &json!("acme.example")),
            "{fault:?}"
        );
        app.assert_one_job_each().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_found_to_share_an_account_are_merged() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let older = browser.status().await["connections"][0]["id"].clone();
    app.hubspot.script(Rule::times(Kind::Introspect, 2, oops(503)));
    app.hubspot.script(Rule::once(Kind::Exchange, lacking("hub_id")));
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    let status = browser.status().await;
    assert_eq!(status["connections"].as_array().unwrap().len(), 2, "not known yet: {status}");
    app.advance(31);
    app.services.connections.details.fetch_missing_details().await.unwrap();
    let status = browser.status().await;
    assert_eq!(status["connections"].as_array().unwrap().len(), 1, "{status}");
    assert_ne!(status["connections"][0]["id"], older, "the newer one has the newer grant");
    assert_eq!(status["portal_id"], ACME);
    app.assert_one_job_each().await;
    app.advance(31);
    assert_eq!(
        app.services.connections.disconnects.revoke_due().await.unwrap(),
        1,
        "the grant of the older one ends"
    );
    assert_eq!(app.hubspot.grants().len(), 1);
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn merging_connections_keeps_a_shared_grant() {
    let options = Options { share_refresh_token_per_account: true, ..Options::default() };
    let app = TestApp::with_hubspot(&[], options).await;
    let browser = app.connected(ACME).await;
    app.hubspot.script(Rule::times(Kind::Introspect, 2, oops(503)));
    app.hubspot.script(Rule::once(Kind::Exchange, lacking("hub_id")));
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    app.advance(31);
    app.services.connections.details.fetch_missing_details().await.unwrap();
    assert_eq!(browser.status().await["connections"].as_array().unwrap().len(), 1);
    app.advance(1261);
    app.services.connections.disconnects.revoke_due().await.unwrap();
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 0);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_that_finish_together_update_one_connection() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let mut tabs = Vec::new();
    for _ in 0..4 {
        let authorize = browser.start(Some(HOST)).await;
        tabs.push(app.hubspot.decide(&authorize, approve(ACME)).unwrap());
    }
    let visits: Vec<_> =
        tabs.iter().map(|back| tokio::spawn(browser.request(reqwest::Method::GET, back).send())).collect();
    for visit in visits {
        assert_eq!(visit.await.unwrap().unwrap().status(), 303);
    }
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 1);
    assert_eq!(app.database.generation().await, 5);
    app.assert_one_job_each().await;
    app.advance(31);
    app.services.connections.disconnects.revoke_due().await.unwrap();
    assert_eq!(app.hubspot.grants().len(), 1, "every replaced grant has ended, and only those");
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.database.column(sql::STATE).await, "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_reported_in_one_form() {
    let app = TestApp::with(&[("HUBSPOT_OPTIONAL_SCOPES", "tickets")]).await;
    let as_text = Fault::Patch {
        set: Map::from_iter([("scope".to_owned(), json!("oauth tickets crm.objects.contacts.read"))]),
        drop: vec!["scopes".to_owned()],
    };
    let cases = [
        (
            patch("scopes", json!(["oauth"])),
            json!(["oauth"]),
            json!(["crm.objects.contacts.read", "tickets"]),
        ),
        (
            patch(
                "scopes",
                json!(["oauth", "oauth", "more", "crm.objects.contacts.read", "tickets", "more"]),
            ),
            json!(["oauth", "more", "crm.objects.contacts.read", "tickets"]),
            json!([]),
        ),
        (as_text, json!(["oauth", "tickets", "crm.objects.contacts.read"]), json!([])),
        (lacking("scopes"), Value::Null, json!([])),
    ];
    for (fault, scopes, missing) in cases {
        app.hubspot.script(Rule::always(Kind::Introspect, oops(500)));
        let (_, _, message) = connect_with(&app, fault).await;
        assert_eq!(message["scopes"].is_null(), scopes.is_null(), "{message}");
        assert_eq!(sorted(&message["scopes"]), sorted(&scopes), "{message}");
        assert_eq!(message["missing_scopes"], missing, "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_with_missing_required_scopes_are_revoked() {
    let app = TestApp::with(&[("HUBSPOT_REQUIRE_ALL_SCOPES", "true")]).await;
    let (_, _, message) = connect_with(&app, patch("scopes", json!(["oauth"]))).await;
    assert_eq!(message["error"]["code"], "scopes_missing");
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
    assert_eq!(app.hubspot.grants().len(), 0, "it is ended at HubSpot");
}

fn sorted(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    let mut list: Vec<String> = list.map(|item| item.as_str().unwrap().to_owned()).collect();
    list.sort_unstable();
    list
}

fn oops(status: u16) -> Fault {
    Fault::Status { status, headers: Vec::new(), body: "oops".to_owned() }
}

/// Does the same, and keeps the rules for other calls.
async fn connect_with_rules_kept(app: &TestApp, fault: Fault) -> (Browser, Answer, Value) {
    app.hubspot.script(Rule::once(Kind::Exchange, fault));
    let browser = app.browser();
    let callback = browser.come_back(app, Some(HOST), approve(ACME)).await;
    let page = browser.get(callback.location()).await;
    let message = browser.handoff(callback.location()).await.json()["message"].clone();
    (browser, page, message)
}
