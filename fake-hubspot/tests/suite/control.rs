//! The HTTP control, as browser tests use it.

use serde_json::json;

use crate::http::*;

#[tokio::test]
async fn faults_and_calls_are_controlled_over_http() {
    let fake = start(|_| {}).await;
    let token = connected(&fake, ACME);
    let order = |rule: &str| request(&fake, "POST", "/__script", "", rule);
    assert_eq!(order(r#"{"on": "refresh", "times": 1, "fault": {"status": {"status": 503}}}"#).status, 204);
    assert_eq!(order(r#"{"on": "refresh", "times": 1, "fault": {"delay": 10}}"#).status, 204);
    assert_eq!(order(r#"{"on": "refresh", "fault": "close_before_answer"}"#).status, 204);
    let wrong = order(r#"{"on": "refresh", "fault": "explode"}"#);
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("explode"), "{}", wrong.body);
    assert_eq!(refresh(&fake, &token).status, 503);
    assert_eq!(request(&fake, "DELETE", "/__script", "", "").status, 204);
    assert_eq!(refresh(&fake, &token).status, 200);

    let journal = get(&fake, "/__journal").json();
    let kinds: Vec<_> = journal.as_array().into_iter().flatten().map(|it| it["kind"].clone()).collect();
    assert_eq!(kinds, ["authorize", "exchange", "refresh", "refresh"]);
    assert_eq!(journal[2]["fault"], "status");
    assert_eq!(request(&fake, "DELETE", "/__journal", "", "").status, 204);
    assert_eq!(get(&fake, "/__journal").json(), json!([]));
}

#[tokio::test]
async fn options_are_merged() {
    let fake = start(|_| {}).await;
    let change = |json: &str| request(&fake, "POST", "/__options", "", json).status;
    assert_eq!(change(r#"{"access_token_seconds": 5, "auto_consent": "deny"}"#), 204);
    assert_eq!(change(r#"{"latency": 3, "coop": "same-origin"}"#), 204);
    assert_eq!(change(r#"{"no_such_switch": 3}"#), 400);
    assert_eq!(change(r#"{"auto_consent": {"approve": {"hub_id": 7}}}"#), 204);
    let options = get(&fake, "/__options").json();
    assert_eq!((&options["access_token_seconds"], &options["latency"]), (&json!(5), &json!(3)));
    assert_eq!(options["auto_consent"], json!({ "approve": { "hub_id": 7, "scopes": null } }));
}

#[tokio::test]
async fn grants_are_listed_until_uninstall() {
    let fake = start(|_| {}).await;
    let token = connected(&fake, ACME);
    let grants = get(&fake, "/__grants").json();
    assert_eq!((&grants[0]["hub_id"], &grants[0]["refresh_token"]), (&json!(ACME), &json!(token)));
    let uninstall = || request(&fake, "POST", "/__uninstall", "", &json!({ "hub_id": ACME }).to_string());
    let answer = uninstall();
    assert_eq!((answer.status, answer.body.lines().count()), (200, 1), "{}", answer.body);
    assert_eq!(answer.json(), json!({ "hub_id": ACME, "uninstalled": true, "grants_ended": 1 }));
    assert_eq!(uninstall().json(), json!({ "hub_id": ACME, "uninstalled": false, "grants_ended": 0 }));
    assert_eq!(get(&fake, "/__grants").json(), json!([]));
}
