//! API keys: shown once, stored as a hash, limited to their scopes, and refused once revoked.

use reqwest::Method;

use crate::harness::app::secret_of;
use crate::harness::process::run;
use crate::harness::{TestApp, eventually, sql};

const KEY: &str = "/api/hubspot/api-key";

#[tokio::test(flavor = "multi_thread")]
async fn api_keys_grant_their_scopes_and_are_stored_as_hashes() {
    let app = TestApp::start().await;
    let key = app.api_key("tokens:read connections:read").await;
    let answer = app.api(&key, Method::GET, KEY, None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let shown = answer.json();
    assert_eq!(shown["scopes"], serde_json::json!(["tokens:read", "connections:read"]));
    assert!(key.starts_with(shown["prefix"].as_str().unwrap()));
    assert!(!answer.body.contains(&key));
    let dump = app.database.dump().await;
    assert!(!String::from_utf8_lossy(&dump).contains(secret_of(&key)));
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_api_keys_get_401_with_www_authenticate() {
    let app = TestApp::start().await;
    let key = app.api_key("proxy").await;
    let (other, short) = (format!("{key}x"), &key[..key.len() - 1]);
    let person = app.connected(crate::harness::app::ACME).await;
    let bare = person.get(KEY).await;
    assert_eq!((bare.status, bare.json()["code"].as_str()), (401, Some("api_key_missing")));
    assert!(bare.header("www-authenticate").starts_with("Bearer"));
    for wrong in [other.as_str(), short, "hsc_key_", "nonsense", &"a".repeat(5000)] {
        let answer = app.api(wrong, Method::GET, KEY, None).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("api_key_invalid")));
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    }
    let backend = app.browser();
    for line in [format!("Basic {key}"), key.clone(), format!("Bearer {key} {key}"), "Bearer".to_owned()] {
        let answer = backend.navigate(KEY, &[("authorization", &line)]).await;
        assert_eq!(answer.status, 401, "{line}");
    }
    let twice = backend.request(Method::GET, KEY).bearer_auth(&key).bearer_auth(&key);
    assert_eq!(backend.send(twice).await.status, 401, "two keys are invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_api_keys_are_refused_within_a_second() {
    let app = TestApp::start().await;
    let key = app.api_key("proxy").await;
    let shown = app.api(&key, Method::GET, KEY, None).await.json();
    let id = shown["id"].as_str().unwrap().parse().unwrap();
    assert!(app.store.platform.revoke_api_key(id, app.clock.now()).await.unwrap());
    assert!(!app.store.platform.revoke_api_key(id, app.clock.now()).await.unwrap(), "it is revoked once");
    app.advance(1);
    assert_eq!(app.api(&key, Method::GET, KEY, None).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn api_keys_are_managed_on_the_command_line_while_the_service_runs() {
    let app = TestApp::start().await;
    let make = ["api-keys", "create", "backend", "--scope", "tokens:read,proxy", "--scope", "proxy"];
    let first = run(&make, &app.variables);
    assert_eq!(first.code, Some(0), "{first:?}");
    let key = first.stdout.trim();
    assert_eq!(
        app.api(key, Method::GET, KEY, None).await.json()["scopes"],
        serde_json::json!(["proxy", "tokens:read"])
    );
    assert_eq!(run(&make, &app.variables).code, Some(0), "a second one, to change over");
    let third = run(&make, &app.variables);
    assert_eq!(third.code, Some(1));
    assert!(third.stderr.contains("revoke one"), "{third:?}");
    let unknown = run(&["api-keys", "create", "other", "--scope", "tokens"], &app.variables);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("tokens"), "{unknown:?}");
    let list = run(&["api-keys", "list"], &app.variables);
    assert!(!list.stdout.contains(key), "{list:?}");
    let (id, prefix) = (list.stdout.split_whitespace().next().unwrap(), &key[..16]);
    assert!(list.stdout.contains(prefix) && list.stdout.contains("backend"), "{list:?}");
    assert_eq!(run(&["api-keys", "revoke", id], &app.variables).code, Some(0));
    assert_eq!(run(&["api-keys", "revoke", id], &app.variables).code, Some(1));
    assert!(run(&["api-keys", "list"], &app.variables).stdout.contains("revoked"));
    assert_eq!(run(&make, &app.variables).code, Some(0), "there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_a_key_is_recorded_about_once_a_minute() {
    let app = TestApp::start().await;
    let key = app.api_key("proxy").await;
    for _ in 0..3 {
        assert_eq!(app.api(&key, Method::GET, KEY, None).await.status, 200);
    }
    let first = app.clock.now().unix_ms();
    eventually("the use is noted", async || {
        app.database.count_where(sql::API_KEYS, "last_used_at IS NOT NULL").await == 1
    })
    .await;
    app.advance(30);
    assert_eq!(app.api(&key, Method::GET, KEY, None).await.status, 200);
    assert_eq!(app.database.number_in(sql::API_KEYS, "last_used_at").await, first);
    app.advance(31);
    assert_eq!(app.api(&key, Method::GET, KEY, None).await.status, 200);
    eventually("the later use is noted", async || {
        app.database.number_in(sql::API_KEYS, "last_used_at").await > first
    })
    .await;
}
