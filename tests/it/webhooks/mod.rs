//! Webhooks: delivered in order, retried if needed, without blocking others, and never to private addresses.

mod addresses;
mod backlog;
mod delivery;
mod endpoints;

use reqwest::Method;
use serde_json::Value;
use standardwebhooks::Webhook;

use crate::harness::app::LONG_SESSIONS;
use crate::harness::receiver::Heard;
use crate::harness::{Receiver, TestApp};

const DUE: u64 = 1261;
/// Connections outlive their sessions.
const KEEP: (&str, &str) = ("ON_SESSION_EXPIRY", "keep");
const PATH: &str = "/api/hubspot/webhooks";

async fn app_for(receivers: &[&Receiver]) -> TestApp {
    let hosts: Vec<String> = receivers.iter().map(|receiver| receiver.host()).collect();
    TestApp::with(&[LONG_SESSIONS, &[("WEBHOOK_ALLOWED_HOSTS", &hosts.join(",")), KEEP]].concat()).await
}

/// Creates an endpoint at a new receiver; returns the app, the receiver, the endpoint as created, and a key.
async fn scene(events: &str) -> (TestApp, Receiver, Value, String) {
    let receiver = Receiver::start().await;
    let app = app_for(&[&receiver]).await;
    let made = app.webhook(&receiver.url("/hooks"), events).await;
    let key = app.api_key("webhooks").await;
    (app, receiver, made, key)
}

fn path(made: &Value, rest: &str) -> String {
    format!("{PATH}/{}{rest}", made["id"].as_str().unwrap())
}

async fn deliveries(app: &TestApp, key: &str, made: &Value) -> Vec<Value> {
    let page = app.api(key, Method::GET, &path(made, "/deliveries"), None).await;
    assert_eq!(page.status, 200, "{}", page.body);
    page.json()["data"].as_array().unwrap().clone()
}

/// Returns whether the message has the signature that the official library creates with this secret.
fn is_signed(heard: &Heard, secret: &str) -> bool {
    let at = heard.header("webhook-timestamp").parse().unwrap();
    let signed = Webhook::new(secret).unwrap().sign(heard.header("webhook-id"), at, heard.body.as_bytes());
    heard.header("webhook-signature").split(' ').any(|one| one == signed.as_deref().unwrap())
}
