//! Access tokens for the host's backend over HTTP: with the requested lifetime, or with a warning.

use std::time::Duration;

use fake_hubspot::{Fault, Kind, Options, Rule};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::app::{ACME, GLOBEX, LONG_SESSIONS};
use crate::harness::browser::Answer;
use crate::harness::{TestApp, eventually, sql};

fn strict() -> Options {
    Options { rotate_refresh_tokens: true, reject_reused_refresh_tokens: true, ..Options::default() }
}

/// A backend with a key and one connection.
struct Backend<'a> {
    app: &'a TestApp,
    key: String,
    id: String,
}

impl<'a> Backend<'a> {
    async fn of(app: &'a TestApp) -> Self {
        let id = app.database.text_in(sql::NEWEST_CONNECTION, sql::ID).await;
        Self { app, key: app.api_key("tokens:read").await, id }
    }

    async fn access_token(&self, min_ttl: u64) -> Answer {
        let path = format!("/api/hubspot/connections/{}/token?min_ttl={min_ttl}", self.id);
        self.app.api(&self.key, Method::GET, &path, None).await
    }

    async fn access_token_unless(&self, tag: &str, min_ttl: u64) -> Answer {
        let path = format!("/api/hubspot/connections/{}/token?min_ttl={min_ttl}", self.id);
        let backend = self.app.browser();
        let request = backend.request(Method::GET, &path).bearer_auth(&self.key);
        backend.send(request.header("if-none-match", tag)).await
    }
}

fn warned(token_body: &Value) -> Vec<&str> {
    let warnings = token_body["warnings"].as_array().unwrap();
    warnings.iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

fn max_age(answer: &Answer) -> u64 {
    answer.header("cache-control").strip_prefix("private, max-age=").unwrap().parse().unwrap()
}

/// Sends a request and disconnects without waiting for the response.
fn send_and_hang_up(app: &TestApp, method: &str, path: &str, key: &str) {
    use std::io::Write;
    let host = app.base.trim_start_matches("http://").to_owned();
    let mut line = std::net::TcpStream::connect(host.replace("localhost", "127.0.0.1")).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\r\n");
    line.write_all(head.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnects_complete_when_the_caller_disconnects() {
    let app = TestApp::start().await;
    let key = app.api_key("tokens:read connections:write").await;
    for _ in 0..20 {
        app.connected(ACME).await;
        let id = app.database.column(sql::ID).await;
        let path = format!("/api/hubspot/connections/{id}");
        let token = format!("{path}/token");
        // It is cached from here on, where caching is possible.
        assert_eq!(app.api(&key, Method::GET, &token, None).await.status, 200);
        send_and_hang_up(&app, "DELETE", &path, &key);
        eventually("it is gone", async || app.database.count(sql::CONNECTIONS).await == 0).await;
        eventually("no token is returned", async || {
            app.api(&key, Method::GET, &token, None).await.status == 404
        })
        .await;
        eventually("HubSpot gets the revocation", async || app.hubspot.current_refresh_token(ACME).is_none())
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_get_an_access_token_that_hubspot_accepts() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    let backend = Backend::of(&app).await;
    let answer = backend.access_token(60).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut token_body = answer.json();
    let token = token_body["access_token"].take();
    let url = format!("{}/account-info/2026-09/details", app.hubspot.base_url());
    let call = reqwest::Client::new().get(url).bearer_auth(token.as_str().unwrap()).send().await.unwrap();
    assert_eq!(call.status(), 200);
    let expected = json!({
        "connection_id": backend.id,
        "access_token": null,
        "token_type": "bearer",
        "expires_at": app.clock.now().plus(Duration::from_secs(1800)).rfc3339(),
        "expires_in": 1800,
        "generation": 1,
        "scopes": ["oauth", "crm.objects.contacts.read"],
        "warnings": [],
    });
    assert_eq!(token_body, expected);
    assert_eq!(max_age(&answer), 1740);
    assert_eq!(answer.header("vary"), "authorization");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_with_the_current_token_get_304_while_it_lives_long_enough() {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    app.connected(ACME).await;
    let backend = Backend::of(&app).await;
    let tag = backend.access_token(60).await.header("etag").to_owned();
    app.advance(1000);
    let known = backend.access_token_unless(&format!("\"other\", {tag}"), 60).await;
    assert_eq!((known.status, known.body.as_str(), known.header("etag")), (304, "", tag.as_str()));
    assert_eq!(max_age(&known), 740, "the cache lifetime ends with the token");
    assert_eq!(backend.access_token_unless("\"other\"", 60).await.status, 200);
    assert_eq!(backend.access_token_unless("*", 60).await.status, 304);
    app.advance(740);
    let renewed = backend.access_token_unless(&tag, 60).await;
    assert_eq!((renewed.status, renewed.json()["generation"].as_i64()), (200, Some(2)));
    assert_ne!(renewed.header("etag"), tag);
    app.advance(1790);
    app.hubspot.script(Rule::always(Kind::Refresh, Fault::CloseBeforeAnswer));
    let short = backend.access_token(60).await;
    let again = backend.access_token_unless(short.header("etag"), 60).await;
    assert_eq!(
        (short.status, again.status),
        (200, 200),
        "a token with a short lifetime is returned each time"
    );
    assert_eq!(max_age(&again), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requested_lifetime_is_met_or_warned_of() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    let backend = Backend::of(&app).await;
    let life = |seconds: u64| {
        let set = serde_json::from_value(json!({"expires_in": seconds})).unwrap();
        Rule::always(Kind::Refresh, Fault::Patch { set, drop: Vec::new() })
    };
    let (mut warned_of, mut kept) = (0, 0);
    for round in 0_u64..60 {
        app.hubspot.clear_script();
        match round % 5 {
            0 => app.hubspot.script(Rule::always(Kind::Refresh, Fault::CloseBeforeAnswer)),
            1 => app.hubspot.script(life(40 + round * 7)),
            2 => app.hubspot.script(life(900)),
            _ => {}
        }
        app.advance(round * 37 % 700);
        let min_ttl = [0, 1, 60, 300, 899, 900][usize::try_from(round * 7 % 6).unwrap()];
        let answer = backend.access_token(min_ttl).await;
        if answer.status == 503 {
            continue;
        }
        let token_body = answer.json();
        let is_short = token_body["expires_in"].as_u64().unwrap() < min_ttl;
        assert_eq!(warned(&token_body).contains(&"expires_soon"), is_short, "round {round}: {token_body}");
        assert!(token_body["expires_in"].as_u64().unwrap() > 0, "an expired token is never returned");
        if is_short { warned_of += 1 } else { kept += 1 }
    }
    assert!(warned_of > 5 && kept > 20, "{warned_of} and {kept}: both happen");
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_get_tokens_during_an_outage_and_then_retry_after() {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    app.connected(ACME).await;
    let backend = Backend::of(&app).await;
    app.hubspot.script(Rule::always(Kind::Refresh, Fault::CloseBeforeAnswer));
    app.advance(1790);
    let token_body = backend.access_token(60).await.json();
    assert_eq!((token_body["expires_in"].as_u64(), token_body["generation"].as_i64()), (Some(10), Some(1)));
    assert_eq!(warned(&token_body), ["expires_soon", "refresh_failing"]);
    let sentence = token_body["warnings"][1]["message"].as_str().unwrap();
    assert!(sentence.contains("provider_unreachable") && sentence.contains("since 20"), "{sentence}");
    app.advance(10);
    let none = backend.access_token(0).await;
    assert_eq!((none.status, none.json()["code"].as_str()), (503, Some("token_unavailable")));
    assert!(none.json()["hint"].as_str().unwrap().contains("provider_unreachable"));
    let pause: u64 = none.header("retry-after").parse().unwrap();
    assert!((1..=300).contains(&pause), "{pause}");
    app.hubspot.clear_script();
    app.advance(pause);
    let token_body = backend.access_token(60).await.json();
    assert_eq!((warned(&token_body), token_body["generation"].as_i64()), (Vec::new(), Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_access_tokens_are_reported_with_reason_and_remedy() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let person = app.connected(ACME).await;
    let backend = Backend::of(&app).await;
    assert_eq!(backend.access_token(60).await.status, 200);
    app.hubspot.uninstall(ACME);
    app.advance(1801);
    assert_eq!(backend.access_token(60).await.status, 503, "HubSpot is asked a second time first");
    app.advance(60);
    let ended = backend.access_token(60).await;
    assert_eq!((ended.status, ended.json()["code"].as_str()), (409, Some("needs_reauth")));
    assert!(ended.json()["hint"].as_str().unwrap().contains("connect"), "{}", ended.body);
    app.database.set_column(sql::STATE, "integrity_error").await;
    let frozen = backend.access_token(60).await;
    assert_eq!((frozen.status, frozen.json()["code"].as_str()), (500, Some("integrity_error")));
    person.disconnect(&backend.id).await;
    assert_eq!(backend.access_token(60).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_access_tokens_are_not_returned() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    // It can be decrypted, but it is another secret of another kind.
    app.database.update(sql::CONNECTIONS, "access_sealed = refresh_sealed").await;
    let backend = Backend::of(&app).await;
    let answer = backend.access_token(60).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("integrity_error")));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_scopes_and_unknown_accounts_are_warned_of() {
    let app = TestApp::with(&[("HUBSPOT_OPTIONAL_SCOPES", "automation")]).await;
    app.connected(GLOBEX).await;
    app.database.update(sql::CONNECTIONS, "portal_id = NULL").await;
    let backend = Backend::of(&app).await;
    let token_body = backend.access_token(60).await.json();
    assert_eq!(warned(&token_body), ["scopes_missing", "portal_unknown"], "{token_body}");
    assert!(token_body["warnings"][0]["message"].as_str().unwrap().contains("automation"), "{token_body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_malformed_ids_look_alike_and_invalid_lifetimes_are_refused() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    let mut backend = Backend::of(&app).await;
    let own = backend.id.clone();
    let unknown = "00000000-0000-4000-8000-000000000000";
    for id in [unknown, "1", "me", "null", "%00", &own.to_uppercase()[..35], &format!("{{{own}}}")] {
        id.clone_into(&mut backend.id);
        let answer = backend.access_token(60).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (404, Some("connection_not_found")),
            "{id}"
        );
    }
    own.clone_into(&mut backend.id);
    let refused = backend.access_token(901).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("bad_request")));
}

#[tokio::test(flavor = "multi_thread")]
async fn access_tokens_require_a_key_with_the_token_scope() {
    let app = TestApp::start().await;
    let person = app.connected(ACME).await;
    let backend = Backend::of(&app).await;
    let path = format!("/api/hubspot/connections/{}/token", backend.id);
    assert_eq!(person.get(&path).await.status, 401, "the user's own cookie does not count");
    let other = app.api_key("connections:read connections:write sessions:write proxy webhooks").await;
    let answer = app.api(&other, Method::GET, &path, None).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("api_key_scope_missing")));
    assert_eq!(app.api(&backend.key, Method::GET, &path, None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_rows_are_dropped_with_every_change() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let person = app.connected(ACME).await;
    let backend = Backend::of(&app).await;
    assert_eq!(backend.access_token(60).await.json()["generation"], 1);
    app.advance(1300);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(backend.access_token(60).await.json()["generation"], 2);
    person.connect(&app, None, crate::harness::app::approve(ACME)).await;
    let again = backend.access_token(60).await.json();
    assert_eq!((again["generation"].as_i64(), again["expires_in"].as_u64()), (Some(3), Some(1800)));
}

/// Fifty backends ask concurrently, on PostgreSQL three processes in turn.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_token_requests_on_several_replicas_refresh_once() {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    app.connected(ACME).await;
    let backend = Backend::of(&app).await;
    let mut bases = vec![app.base.clone()];
    let (stop, mut running) = (CancellationToken::new(), Vec::new());
    if !app.database.is_sqlite() {
        for _ in 0..2 {
            let replica = app.replica(app.clock.clone()).await;
            bases.push(format!("http://{}", replica.address()));
            running.push(tokio::spawn(replica.run(stop.clone(), true)));
        }
    }
    let host = app.base.strip_prefix("http://").unwrap().to_owned();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for round in 1..=3_u64 {
        app.advance(1801);
        let delay = Fault::DelayAfterIssue(Duration::from_millis(40 * round));
        app.hubspot.script(Rule::once(Kind::Refresh, delay));
        let asked: Vec<_> = (0..50)
            .map(|number| {
                let url =
                    format!("{}/api/hubspot/connections/{}/token", bases[number % bases.len()], backend.id);
                let request = client.get(url).header("host", &host).bearer_auth(&backend.key);
                // Opening many connections to a database concurrently may take longer than a busy machine allows: a
                // backend with such an error retries.
                tokio::spawn(async move {
                    loop {
                        let answer = request.try_clone().unwrap().send().await.unwrap().text().await.unwrap();
                        let token_body: Value = serde_json::from_str(&answer).unwrap();
                        if token_body["code"] != "storage_unavailable" {
                            return token_body;
                        }
                    }
                })
            })
            .collect();
        for one in asked {
            let token_body = one.await.unwrap();
            assert_eq!(token_body["generation"].as_u64(), Some(round + 1), "{token_body}");
        }
        assert_eq!(app.hubspot.calls(Kind::Refresh).len(), usize::try_from(round).unwrap());
    }
    assert!(app.hubspot.journal().iter().all(|call| !call.superseded && !call.overlapping));
    stop.cancel();
    for one in running {
        one.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_reads_are_counted_per_key_and_outcome() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    let (one, other) = (Backend::of(&app).await, Backend::of(&app).await);
    let tag = one.access_token(0).await.header("etag").to_owned();
    assert_eq!(one.access_token(0).await.status, 200);
    assert_eq!(one.access_token_unless(&tag, 0).await.status, 304);
    assert_eq!(other.access_token(0).await.status, 200);
    assert_eq!(other.access_token(901).await.status, 400);
    let proxy = app.api_key("proxy").await;
    let path = format!("/api/hubspot/connections/{}/token", one.id);
    assert_eq!(app.api(&proxy, Method::GET, &path, None).await.status, 403);

    let metrics = app.browser().get(&format!("{}/metrics", app.admin)).await.body;
    let counted: Vec<_> =
        metrics.lines().filter_map(|line| line.strip_prefix("hubspot_connect_token_reads_total")).collect();
    for (key, outcome, count) in
        [(&one.key, "ok", 2), (&one.key, "not_modified", 1), (&other.key, "ok", 1), (&other.key, "failed", 1)]
    {
        // A key starts with the first digits of its id.
        let start = format!("{{key=\"{}-", key.split('_').nth(2).expect("an id"));
        let end = format!(",outcome=\"{outcome}\"}} {count}");
        let series = counted.iter().filter(|line| line.starts_with(&start) && line.ends_with(&end));
        assert_eq!(series.count(), 1, "{start}{end}: {counted:?}");
    }
    assert_eq!(counted.len(), 4, "a key that may not read tokens has no series: {counted:?}");
    assert!(!metrics.contains("hsc_key_"), "no key is in the metrics");
}
