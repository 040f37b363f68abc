//! Installs that start at HubSpot's Marketplace: stored, hidden from unverified browsers, and claimed once.

mod attacks;
mod claims;
mod list;
mod shapes;
mod unclaimed;

use fake_hubspot::Kind;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::browser::{Answer, parameter};
use crate::harness::{Browser, TestApp, sql};

const ON: (&str, &str) = ("MARKETPLACE_INSTALLS", "on");
const INSTALL: &str = "/install/hubspot";
const CALLBACK: &str = "/auth/hubspot/callback";
const LIST: &str = "/api/hubspot/installs";
/// The headers of a frame inside HubSpot's pages.
const FRAME: &[(&str, &str)] =
    &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"), ("sec-fetch-site", "cross-site")];

async fn started() -> TestApp {
    TestApp::with(&[ON]).await
}

/// Returns the URL to which HubSpot wants the browser back.
fn back(app: &TestApp) -> String {
    format!("{}/marketplace/installed", app.hubspot.base_url())
}

fn with(path: &str, pairs: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{path}?{query}")
}

/// Returns a code for the install URL.
fn code(app: &TestApp, hub_id: u64) -> String {
    app.hubspot.install(&format!("{}{INSTALL}", app.base), hub_id)
}

/// Sends an install of this account from HubSpot, without a sign-in.
async fn installed(app: &TestApp, hub_id: u64) -> Answer {
    let (code, back) = (code(app, hub_id), back(app));
    app.browser().get(&with(INSTALL, &[("code", &code), ("returnUrl", &back)])).await
}

/// Returns the state of the first step.
async fn state_of(app: &TestApp, browser: &Browser) -> String {
    let answer = browser.get(&with(INSTALL, &[("step", "authorize"), ("returnUrl", &back(app))])).await;
    assert_eq!(answer.status, 302, "{}", answer.body);
    assert!(answer.location().starts_with(&format!("{}?state=", back(app))), "{}", answer.location());
    parameter(answer.location(), "state")
}

async fn finalize(app: &TestApp, path: &str, code: &str, state: &str) -> Answer {
    let back = back(app);
    let pairs = [("step", "finalize"), ("code", code), ("state", state), ("returnUrl", &back)];
    app.browser().navigate(&with(path, &pairs), FRAME).await
}

async fn waiting(app: &TestApp) -> i64 {
    app.database.waiting_installs().await
}

async fn tokens(app: &TestApp) -> i64 {
    app.database.count(sql::CONNECTIONS).await
}

fn exchanges(app: &TestApp) -> usize {
    app.hubspot.calls(Kind::Exchange).len()
}

/// Returns the accounts whose grants are live at HubSpot, each as often as it has one.
fn living(app: &TestApp) -> Vec<u64> {
    let mut all: Vec<u64> = app.hubspot.grants().into_iter().map(|grant| grant.hub_id).collect();
    all.sort_unstable();
    all
}

/// Performs the queued revocations.
async fn settle(app: &TestApp) {
    app.advance(60);
    app.services.connections.disconnects.revoke_due().await.unwrap();
}

async fn listed(app: &TestApp, key: &str) -> Vec<Value> {
    let answer = app.api(key, Method::GET, LIST, None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["data"].as_array().unwrap().clone()
}

async fn claim(app: &TestApp, key: &str, install: &Value, user: &str) -> Answer {
    let path = format!("{LIST}/{}/claim", install["id"].as_str().unwrap());
    app.api(key, Method::POST, &path, Some(json!({"external_user_id": user}))).await
}

/// Creates a pending install, and a key that may claim it.
async fn with_install(app: &TestApp, hub_id: u64) -> (String, Value) {
    assert_eq!(installed(app, hub_id).await.status, 302);
    let key = app.api_key("sessions:write").await;
    let install = listed(app, &key).await.into_iter().find(|one| one["portal_id"] == hub_id).unwrap();
    (key, install)
}
