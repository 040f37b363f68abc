//! The list of pending installs for the host's backend.

use reqwest::Method;
use serde_json::json;

use crate::harness::app::{ACME, GLOBEX};

use super::{LIST, claim, installed, started, tokens, waiting, with_install};

#[tokio::test(flavor = "multi_thread")]
async fn installs_require_a_key_with_the_sessions_scope() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    let other = app.api_key("connections:read connections:write tokens:read proxy webhooks").await;
    assert_eq!(app.api(&other, Method::GET, LIST, None).await.status, 403);
    assert_eq!(claim(&app, &other, &install, "user_42").await.status, 403);
    let person = app.connected(GLOBEX).await;
    assert_eq!(person.get(LIST).await.status, 401);

    let path = format!("{LIST}/{}/claim", install["id"].as_str().unwrap());
    for body in [
        json!({}),
        json!({"external_user_id": ""}),
        json!({"external_user_id": "a\u{202e}b"}),
        json!({"external_user_id": "a", "extra": 1}),
        json!({"external_user_id": "a", "metadata": "text"}),
    ] {
        let answer = app.api(&key, Method::POST, &path, Some(body.clone())).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (400, Some("validation_failed")),
            "{body}"
        );
    }
    for id in ["00000000-0000-4000-8000-000000000000", "x", "..%2f"] {
        let path = format!("{LIST}/{id}/claim");
        let answer = app.api(&key, Method::POST, &path, Some(json!({"external_user_id": "a"}))).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("install_not_found")), "{id}");
    }
    for query in ["portal_id=x", "portal_id=-1", "after=x", "cursor=x", "limit=101", "other=1"] {
        let answer = app.api(&key, Method::GET, &format!("{LIST}?{query}"), None).await;
        assert_eq!(answer.status, 400, "{query}");
    }
    assert_eq!((waiting(&app).await, tokens(&app).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_are_listed_by_page_and_account() {
    let app = started().await;
    for number in 0..100 {
        installed(&app, 1000 + number).await;
    }
    let key = app.api_key("sessions:write").await;
    let sizes = async |query: &str| -> Vec<usize> {
        app.pages(&key, &format!("{LIST}{query}")).await.iter().map(Vec::len).collect()
    };
    assert_eq!(sizes("").await, [50, 50]);
    assert_eq!(sizes("?limit=30").await, [30, 30, 30, 10]);
    let one = app.pages(&key, &format!("{LIST}?portal_id=1042&limit=1")).await.concat();
    assert_eq!((&one[0]["portal_id"], one.len()), (&json!(1042), 1));
}
