//! Read tokens: a page shows the connections of one user of the host, on any site and without cookies.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{ACME, HOST, approve};
use crate::harness::browser::{Answer, problem_of};
use crate::harness::host::Host;
use crate::harness::{TestApp, sql};

const READ_TOKENS: &str = "/api/hubspot/read-tokens";
const STATUS: &str = "/api/hubspot/status";

async fn create(app: &TestApp, body: Value) -> Answer {
    let key = app.api_key("connections:read").await;
    app.api(&key, Method::POST, READ_TOKENS, Some(body)).await
}

async fn token_of(app: &TestApp, user: &str) -> String {
    let answer = create(app, json!({"external_user_id": user})).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()["token"].as_str().unwrap().to_owned()
}

/// Reads with a token like a page of the host, from another origin and without cookies.
async fn read(app: &TestApp, token: &str, path: &str, tag: &str) -> Answer {
    let page = app.browser();
    let request = page.request(Method::GET, path).header("origin", HOST);
    page.send(request.header("hubspot-connect-read-token", token).header("if-none-match", tag)).await
}

/// Returns a host with one user, `user_42`, who has connected an account.
async fn connected() -> Host {
    let host = Host::new(&[]).await;
    let session = host.make(json!({"external_user_id": "user_42"})).await;
    host.approve(&session, &host.page(), &host.app.browser(), approve(ACME)).await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn read_tokens_show_only_the_connections_of_their_user() {
    let Host { app, .. } = connected().await;
    let answer = read(&app, &token_of(&app, "user_42").await, STATUS, "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("access-control-allow-origin"), HOST);
    let status = answer.json();
    assert_eq!(status["authenticated"], true);
    assert_eq!(status["external_user_id"], "user_42");
    assert_eq!(status["portal_id"], ACME);
    assert_eq!(status["connections"][0]["id"], app.database.column(sql::ID).await.as_str());
    for missing in ["user_id", "session_expires_at", "access_token", "pickup_code"] {
        assert!(status.get(missing).is_none(), "{missing}: {status}");
    }
    let other = read(&app, &token_of(&app, "user_43").await, STATUS, "").await;
    assert_eq!(other.json(), json!({"authenticated": false, "connections": []}));
    assert_eq!(app.database.count(sql::EXTERNAL_USERS).await, 1, "a read token creates no user");
}

#[tokio::test(flavor = "multi_thread")]
async fn read_tokens_wait_for_changes_of_their_users_connections() {
    let Host { app, .. } = connected().await;
    let token = token_of(&app, "user_42").await;
    let tag = read(&app, &token, STATUS, "").await.header("etag").to_owned();
    let id = app.database.column(sql::ID).await;
    let key = app.api_key("connections:write").await;
    let path = format!("/api/hubspot/connections/{id}");
    let waiting = format!("{STATUS}?wait=20");
    let (answer, ended) =
        tokio::join!(read(&app, &token, &waiting, &tag), app.api(&key, Method::DELETE, &path, None));
    assert_eq!(ended.status, 200, "{}", ended.body);
    assert_eq!(answer.json()["authenticated"], false, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn read_tokens_expire() {
    let Host { app, .. } = connected().await;
    let answer = create(&app, json!({"external_user_id": "user_42", "expires_in": 60})).await;
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(read(&app, &token, STATUS, "").await.status, 200);
    app.advance(60);
    let answer = read(&app, &token, STATUS, "").await;
    assert_eq!((answer.status, problem_of(&answer).as_str()), (401, "read_token_invalid"));
    assert_eq!(answer.header("access-control-allow-origin"), HOST, "the page reads why");
}

#[tokio::test(flavor = "multi_thread")]
async fn read_tokens_are_accepted_only_for_the_status() {
    let Host { app, .. } = connected().await;
    let token = token_of(&app, "user_42").await;
    let answer = app.api(&token, Method::GET, "/api/hubspot/connections", None).await;
    assert_eq!((answer.status, problem_of(&answer).as_str()), (401, "api_key_invalid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn read_tokens_require_a_key_that_may_read_connections() {
    let app = TestApp::start().await;
    for scope in ["sessions:write", "tokens:read"] {
        let key = app.api_key(scope).await;
        let body = json!({"external_user_id": "user_42"});
        let answer = app.api(&key, Method::POST, READ_TOKENS, Some(body)).await;
        assert_eq!((answer.status, problem_of(&answer).as_str()), (403, "api_key_scope_missing"), "{scope}");
    }
    for (field, value) in
        [("expires_in", json!(59)), ("expires_in", json!(86_401)), ("external_user_id", json!(""))]
    {
        let mut body = json!({"external_user_id": "user_42"});
        body[field] = value;
        let answer = create(&app, body).await;
        assert_eq!((answer.status, problem_of(&answer).as_str()), (400, "validation_failed"), "{field}");
    }
}
