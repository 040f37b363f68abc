//! Scopes and account details come from HubSpot, by whichever of its endpoints returns them.

use fake_hubspot::{Fault, Kind, Rule};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, HOST, approve};
use crate::harness::page::{Page, data};
use crate::harness::token_endpoint_faults::{lacking, patch};
use crate::harness::{Browser, TestApp, sql};

const STRICT: (&str, &str) = ("HUBSPOT_REQUIRE_ALL_SCOPES", "true");
const MORE: &str = "crm.objects.deals.read";

fn busy(retry_after: u64) -> Fault {
    Fault::Status {
        status: 429,
        headers: vec![("Retry-After".to_owned(), retry_after.to_string())],
        body: String::new(),
    }
}

async fn come_back(app: &TestApp) -> (Browser, Value) {
    let browser = app.browser();
    let done = browser.come_back(app, Some(HOST), approve(ACME)).await;
    let message = browser.handoff(done.location()).await.json()["message"].clone();
    (browser, message)
}

async fn events(app: &TestApp) -> Vec<String> {
    let connection = app.database.column(sql::ID).await;
    let listed = app.store.webhooks.events_of(connection.parse().unwrap(), 0, 100).await.unwrap();
    listed.into_iter().map(|event| event.kind.as_str().to_owned()).collect()
}

/// Returns the scopes of an authorize URL: the required and the optional ones.
fn asked(authorize: &str) -> (Vec<String>, Vec<String>) {
    let url = url::Url::parse(authorize).expect("a URL");
    let list = |name| {
        let values = url.query_pairs().filter(|(known, _)| known == name);
        values.flat_map(|(_, list)| list.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    (list("scope"), list("optional_scope"))
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_come_from_introspection_when_the_token_response_has_none() {
    let app = TestApp::with(&[STRICT]).await;
    app.hubspot.script(Rule::always(Kind::Exchange, lacking("scopes")));
    app.hubspot.script(Rule::once(Kind::Introspect, patch("scopes", json!(["oauth"]))));

    let (_, refused) = come_back(&app).await;

    assert_eq!(refused["error"]["code"], "scopes_missing", "{refused}");
    assert_eq!(app.hubspot.grants().len(), 0, "the grant has ended");
    let (browser, message) = come_back(&app).await;
    assert_eq!(message["type"], "hubspot_auth_success", "{message}");
    assert_eq!(browser.status().await["scopes"], json!(["oauth", "crm.objects.contacts.read"]));
    assert_eq!(events(&app).await, ["connection.created"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_reports_no_change_of_scopes() {
    let app = TestApp::start().await;
    app.hubspot.script(Rule::once(Kind::Introspect, patch("scopes", json!(["oauth"]))));
    let (browser, _) = come_back(&app).await;
    assert_eq!(browser.status().await["scopes"], json!(["oauth"]));
    assert_eq!(events(&app).await, ["connection.created"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_scope_lists_count_as_missing() {
    let app = TestApp::with(&[STRICT]).await;
    app.hubspot.script(Rule::always(Kind::Exchange, patch("scopes", json!([]))));
    app.hubspot.script(Rule::once(Kind::Introspect, patch("scopes", json!(["oauth"]))));
    let (_, refused) = come_back(&app).await;
    assert_eq!(refused["error"]["code"], "scopes_missing", "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unreported_scopes_are_unknown_until_introspection() {
    let app = TestApp::start().await;
    app.hubspot.script(Rule::once(Kind::Exchange, lacking("scopes")));
    app.hubspot.script(Rule::times(Kind::Introspect, 2, busy(1)));

    let (browser, message) = come_back(&app).await;

    assert_eq!((&message["scopes"], &message["missing_scopes"]), (&Value::Null, &json!([])), "{message}");
    assert_eq!(browser.status().await["scopes"], Value::Null);
    app.advance(301);
    app.services.connections.details.fetch_missing_details().await.unwrap();
    let status = browser.status().await;
    assert_eq!(status["scopes"], json!(["oauth", "crm.objects.contacts.read"]), "{status}");
    assert_eq!(events(&app).await, ["connection.created"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_found_to_lack_required_scopes_need_reauth() {
    // Introspection fails while the connection is stored, or until the background work, or until a refresh returns
    // them.
    for failures in [1, 2, 1_000] {
        let app = TestApp::with(&[STRICT]).await;
        app.hubspot.script(Rule::once(Kind::Exchange, lacking("scopes")));
        app.hubspot.script(Rule::times(Kind::Introspect, failures, busy(1)));
        app.hubspot.script(Rule::once(Kind::Introspect, patch("scopes", json!(["oauth"]))));
        app.hubspot.script(Rule::once(Kind::Refresh, patch("scopes", json!(["oauth"]))));
        let (browser, _) = come_back(&app).await;

        app.advance(1_261);
        app.services.connections.details.fetch_missing_details().await.unwrap();
        app.refresh_due().await;

        let status = browser.status().await;
        let found = (&status["status"], &status["scopes"]);
        assert_eq!(found, (&json!("needs_reauth"), &json!(["oauth"])), "{failures}: {status}");
        assert_eq!(app.database.column(sql::LAST_ERROR).await, "scopes_missing");
        assert_eq!(app.database.count(sql::REFRESH_JOBS).await, 0);
        assert_eq!(events(&app).await, ["connection.created", "connection.needs_reauth"], "{failures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_that_a_session_makes_optional_are_not_required_later() {
    let app = TestApp::with(&[STRICT]).await;
    let key = app.api_key("sessions:write").await;
    app.hubspot.script(Rule::once(Kind::Exchange, lacking("scopes")));
    app.hubspot.script(Rule::once(Kind::Introspect, busy(1)));
    app.hubspot.script(Rule::once(Kind::Introspect, patch("scopes", json!(["oauth"]))));
    let body = json!({
        "external_user_id": "u1", "scopes": ["oauth"], "optional_scopes": ["crm.objects.contacts.read"]
    });
    let session = app.api(&key, Method::POST, "/api/hubspot/connect-sessions", Some(body)).await.json();
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let token = session["token"].as_str().unwrap();
    let launch = page.post(&popup, Some(HOST), &[("connect_session", token)]).await;
    let back = app.hubspot.decide(&data(&launch, "authorize-url"), approve(ACME)).expect("back");
    popup.get(&back).await;
    assert_eq!(app.database.column("state || ' ' || scopes").await, "active oauth");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_whose_scopes_are_named_later_reports_their_change() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    app.hubspot.script(Rule::once(Kind::Exchange, lacking("scopes")));
    app.hubspot.script(Rule::once(Kind::Introspect, busy(1)));
    app.hubspot.script(Rule::once(Kind::Introspect, patch("scopes", json!(["oauth"]))));
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    let expected = ["connection.created", "connection.reconnected", "connection.scopes_changed"];
    assert_eq!(events(&app).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oauth_scope_is_always_requested() {
    let app = TestApp::start().await;
    let key = app.api_key("sessions:write").await;
    for scopes in [json!([]), json!([MORE]), json!([MORE, "oauth"])] {
        let body = json!({"external_user_id": "u1", "scopes": scopes});
        let session = app.api(&key, Method::POST, "/api/hubspot/connect-sessions", Some(body)).await.json();
        let page = Page::new(&app.base, HOST);
        let token = session["token"].as_str().unwrap();
        let launch = page.post(&app.browser(), Some(HOST), &[("connect_session", token)]).await;
        let (required, _) = asked(&data(&launch, "authorize-url"));
        assert_eq!(required.iter().filter(|scope| *scope == "oauth").count(), 1, "{required:?}");
        assert_eq!(required.contains(&MORE.to_owned()), scopes != json!([]), "{required:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_request_the_scopes_of_the_connection() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let granted = format!("oauth crm.objects.contacts.read {MORE}");
    app.database.set_column("scopes", &granted).await;
    app.database.name_user("u1").await;
    let id = app.database.column(sql::ID).await;

    // The button of a page.
    let link = format!("/auth/hubspot/start?origin={HOST}&portal_id={ACME}");
    let by_button = browser.get(&link).await.location().to_owned();
    // A connect session for the connection, with its own scopes.
    let key = app.api_key("sessions:write").await;
    let body = json!({"connection_id": id, "scopes": ["tickets"]});
    let session = app.api(&key, Method::POST, "/api/hubspot/connect-sessions", Some(body)).await.json();
    let page = Page::new(&app.base, HOST);
    let token = session["token"].as_str().unwrap();
    let launch = page.post(&app.browser(), Some(HOST), &[("connect_session", token)]).await;
    let by_session = data(&launch, "authorize-url");
    // Once more, after another account was selected by mistake.
    let back = app.hubspot.decide(&by_button, approve(GLOBEX)).expect("back");
    let done = browser.get(&back).await;
    let question = browser.get(done.location().split('#').next().unwrap()).await;
    let flow = data(&question, "flow");
    browser.post_form("/auth/hubspot/decide", &[("flow", &flow), ("decision", "back")]).await;
    let after_choice = browser.get(&link).await.location().to_owned();

    for (authorize, also) in [(&by_button, "oauth"), (&by_session, "tickets"), (&after_choice, "oauth")] {
        let (required, optional) = asked(authorize);
        assert!(required.contains(&also.to_owned()), "{authorize}");
        for scope in ["oauth", "crm.objects.contacts.read", MORE] {
            assert!(required.iter().chain(&optional).any(|asked| asked == scope), "{scope}: {authorize}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_account_details_are_fetched_when_hubspot_allows() {
    let app = TestApp::start().await;
    app.hubspot.script(Rule::once(Kind::AccountInfo, busy(1_000)));
    let (browser, _) = come_back(&app).await;
    let before = browser.status().await;
    assert_eq!((&before["hub_domain"], &before["time_zone"]), (&json!("acme.example"), &Value::Null));
    let introspected = app.hubspot.calls(Kind::Introspect).len();

    app.advance(999);
    app.services.connections.details.fetch_missing_details().await.unwrap();
    assert_eq!(app.hubspot.calls(Kind::AccountInfo).len(), 1, "HubSpot has asked for more time");
    app.advance(2);
    app.services.connections.details.fetch_missing_details().await.unwrap();

    assert_eq!(browser.status().await["time_zone"], "US/Eastern");
    assert_eq!(app.hubspot.calls(Kind::Introspect).len(), introspected);
    assert_eq!(app.database.connections(sql::DETAILS_DUE).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_zones_survive_failed_introspection_and_are_requested_a_few_times() {
    let app = TestApp::start().await;
    app.hubspot.script(Rule::once(Kind::Introspect, busy(1)));
    come_back(&app).await;
    assert_eq!(app.database.connections("time_zone IS NOT NULL").await, 1);

    let refused = Fault::Status { status: 403, headers: Vec::new(), body: String::new() };
    app.hubspot.script(Rule::always(Kind::AccountInfo, refused));
    app.database.update(sql::CONNECTIONS, "time_zone = NULL").await;
    for _ in 0..12 {
        app.advance(301);
        app.services.connections.details.fetch_missing_details().await.unwrap();
    }
    assert!(app.hubspot.calls(Kind::AccountInfo).len() < 12);
    assert_eq!(app.database.connections(sql::DETAILS_DUE).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_override_whether_scopes_are_required() {
    for (configured, required) in [("false", true), ("true", false)] {
        let app = TestApp::with(&[("HUBSPOT_REQUIRE_ALL_SCOPES", configured)]).await;
        let key = app.api_key("sessions:write").await;
        app.hubspot.script(Rule::once(Kind::Exchange, patch("scopes", json!(["oauth"]))));
        let body = json!({"external_user_id": "u1", "require_scopes": required});
        let session = app.api(&key, Method::POST, "/api/hubspot/connect-sessions", Some(body)).await.json();
        let (page, popup) = (Page::new(&app.base, HOST), app.browser());
        let token = session["token"].as_str().unwrap();
        let launch = page.post(&popup, Some(HOST), &[("connect_session", token)]).await;
        let back = app.hubspot.decide(&data(&launch, "authorize-url"), approve(ACME)).expect("back");
        popup.get(&back).await;
        assert_eq!(app.database.count(sql::CONNECTIONS).await, i64::from(!required), "{configured}");
        let path = format!("/api/hubspot/connect-sessions/{}", session["id"].as_str().unwrap());
        let seen = app.api(&key, Method::GET, &path, None).await.json();
        let code = if required { json!("scopes_missing") } else { Value::Null };
        assert_eq!(seen["error_code"], code, "{configured}");
    }
}
