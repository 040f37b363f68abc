//! ONE_CONNECTION_PER_USER: a second HubSpot account replaces the first.

use fake_hubspot::Kind;
use serde_json::json;

use crate::harness::app::{ACME, GLOBEX, HOST, approve};
use crate::harness::host::Host;
use crate::harness::page::{Page, data};
use crate::harness::{TestApp, sql};

const ON: &[(&str, &str)] = &[("ONE_CONNECTION_PER_USER", "on")];

async fn connect(host: &Host, user: &str, account: u64) {
    let session = host.make(json!({"external_user_id": user})).await;
    host.approve(&session, &host.page(), &host.app.browser(), approve(account)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_account_ends_only_the_first_connection_of_its_user() {
    let host = Host::new(ON).await;
    connect(&host, "user_1", ACME).await;
    connect(&host, "user_2", ACME).await;
    let own = format!("{} WHERE external_id = 'user_1'", sql::CONNECTIONS_WITH_USERS);
    let first = host.app.database.text_in(&own, "id").await;
    connect(&host, "user_1", GLOBEX).await;
    assert_eq!(host.app.database.connections(&format!("portal_id = {GLOBEX}")).await, 1);
    assert_eq!(host.app.database.connections(&format!("portal_id = {ACME}")).await, 1, "the other user's");
    let event = host.app.database.event("connection.disconnected").await["data"].clone();
    assert_eq!(
        (event["connection_id"].as_str(), &event["reason"]),
        (Some(first.as_str()), &json!("replaced"))
    );
    host.app.assert_one_job_each().await;
    host.app.advance(60);
    host.app.services.connections.disconnects.revoke_due().await.unwrap();
    assert_eq!(host.app.hubspot.calls(Kind::Revoke).len(), 1, "the first grant ends at HubSpot");
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_the_same_account_again_keeps_its_connection() {
    let host = Host::new(ON).await;
    connect(&host, "user_1", ACME).await;
    let before = host.app.database.column(sql::ID).await;
    connect(&host, "user_1", ACME).await;
    assert_eq!(host.app.database.column(sql::ID).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_connected_concurrently_by_a_user_leave_one() {
    let host = Host::new(ON).await;
    connect(&host, "user_1", 1).await;
    tokio::join!(connect(&host, "user_1", ACME), connect(&host, "user_1", GLOBEX));
    assert_eq!(host.app.database.count(sql::CONNECTIONS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_connection_per_user_both_accounts_stay() {
    let host = Host::new(&[]).await;
    connect(&host, "user_1", ACME).await;
    connect(&host, "user_1", GLOBEX).await;
    assert_eq!(host.app.database.count(sql::CONNECTIONS).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_connected_concurrently_in_a_browser_session_leave_one() {
    let app = TestApp::with(ON).await;
    let browser = app.connected(1).await;
    tokio::join!(
        browser.come_back(&app, Some(HOST), approve(ACME)),
        browser.come_back(&app, Some(HOST), approve(GLOBEX))
    );
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keeping_both_accounts_is_not_offered() {
    for (variables, offered) in [(ON, false), (&[][..], true)] {
        let app = TestApp::with(variables).await;
        let browser = app.connected(ACME).await;
        let (page, expected) = (Page::new(&app.base, HOST), ACME.to_string());
        let launch = page.post(&browser, Some(HOST), &[("portal_id", &expected)]).await;
        let back = app.hubspot.decide(&data(&launch, "authorize-url"), approve(GLOBEX)).unwrap();
        let done = browser.get(&back).await.location().to_owned();
        let question = browser.get(&done).await.body;
        assert!(question.contains("value=\"switch\""), "{question}");
        assert_eq!(question.contains("value=\"keep\""), offered);
    }
}
