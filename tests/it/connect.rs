//! The main use: connect, show, refresh, disconnect, log out.

use serde_json::json;

use crate::harness::app::{ACME, GLOBEX, HOST, LONG_SESSIONS, approve};
use crate::harness::{TestApp, sql};
use fake_hubspot::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_connects_and_the_opener_gets_one_message_for_its_exact_origin() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let done = browser.connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(done["origin"], HOST);
    let message = &done["message"];
    assert_eq!(message["type"], "hubspot_auth_success");
    assert_eq!(message["version"], 1);
    assert_eq!(message["portal_id"], ACME);
    assert_eq!(message["hub_domain"], "acme.example");
    assert_eq!(message["scopes"], json!(["oauth", "crm.objects.contacts.read"]));
    assert_eq!(message["missing_scopes"], json!([]));
    assert_eq!(message["token_type"], "bearer");
    assert!(message["access_token"].as_str().unwrap().starts_with('C'));
    assert!(message.get("refresh_token").is_none());

    let status = browser.status().await;
    assert_eq!(status["authenticated"], true);
    assert_eq!(status["portal_id"], ACME);
    assert_eq!(status["status"], "active");
    assert_eq!(status["connections"][0]["id"], message["connection_id"]);
    assert!(status["time_zone"].is_string());
    let seconds = status["seconds_until_refresh"].as_u64().unwrap();
    assert!((990..=1260).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_refreshed_repeatedly_before_they_expire() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    for round in 1..=5 {
        app.advance(1261);
        assert_eq!(app.refresh_due().await, 1, "round {round}");
        assert_eq!(app.hubspot.calls(Kind::Refresh).len(), round);
        let status = browser.status().await;
        assert_eq!(status["status"], "active");
    }
    assert!(app.hubspot.journal().iter().all(|entry| !entry.superseded && !entry.overlapping));
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnecting_revokes_the_grant_and_deletes_the_job() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let id = browser.status().await["connections"][0]["id"].as_str().unwrap().to_owned();
    let answer = browser.disconnect(&id).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["revocation"], "done");
    assert_eq!(browser.status().await, json!({"authenticated": false, "connections": []}));
    assert_eq!(app.hubspot.current_refresh_token(ACME), None);
    assert_eq!(app.database.count(sql::REFRESH_JOBS).await, 0);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_ends_the_session_and_its_connections() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    browser.connect(&app, None, approve(GLOBEX)).await;
    assert_eq!(browser.status().await["connections"].as_array().unwrap().len(), 2);
    let answer = browser.logout().await;
    assert_eq!((answer.status, answer.location()), (303, "/login"));
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 2);
    assert_eq!(browser.get("/").await.location(), "/login");
    assert_eq!(app.database.count(sql::SESSIONS).await, 0);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnecting_an_account_updates_its_connection_and_another_account_is_added() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let first = browser.status().await["connections"][0]["id"].clone();
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    let status = browser.status().await;
    assert_eq!(status["connections"].as_array().unwrap().len(), 1);
    assert_eq!(status["connections"][0]["id"], first);
    assert_eq!(app.database.generation().await, 2);
    browser.connect(&app, Some(HOST), approve(GLOBEX)).await;
    assert_eq!(browser.status().await["connections"].as_array().unwrap().len(), 2);
    assert_eq!(app.database.count(sql::REFRESH_JOBS).await, 2);
}
