//! The addresses of webhooks: never private ones, in no spelling and at no later resolution.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hubspot_connect::domain::clock::Timestamp;
use hubspot_connect::domain::proxies::Proxies;
use hubspot_connect::domain::secret::Secret;
use hubspot_connect::domain::webhook::{AllowedHosts, DeliveryError};
use hubspot_connect::webhook::{Lookup, Message, NotAllowed, Webhooks};
use reqwest::Method;
use serde_json::json;

use crate::harness::{Receiver, TestApp, sql};

use super::{PATH, path, scene};

/// A name that first resolves to a public address and later to private ones (DNS rebinding).
#[derive(Debug, Default)]
struct Rebinding(AtomicUsize);

impl Lookup for Rebinding {
    fn lookup(
        &self,
        _name: &str,
    ) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
        let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
        let found: &[&str] = if first { &["93.184.216.34"] } else { &["93.184.216.34", "127.0.0.1"] };
        let found = found.iter().map(|address| address.parse().unwrap()).collect();
        Box::pin(async move { Ok(found) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_refused_in_every_spelling() {
    let inside = Receiver::start().await;
    let app = TestApp::start().await;
    let key = app.api_key("webhooks").await;
    let port = inside.port;
    for url in [
        format!("https://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        format!("https://localhost.:{port}/"),
        format!("https://0x7f.1:{port}/"),
        format!("https://2130706433:{port}/"),
        format!("https://127.1:{port}/"),
        format!("https://127.0.0.1.:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        "https://[::ffff:169.254.169.254]/".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        format!("http://127.0.0.1:{port}/"),
        format!("https://user:pass@127.0.0.1:{port}/"),
        "https://does-not-exist.invalid/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.1/".to_owned(),
        "blob:https://example.com/".to_owned(),
        "wss://example.com/".to_owned(),
        "not a url".to_owned(),
    ] {
        let refused = app.api(&key, Method::POST, PATH, Some(json!({"url": url}))).await;
        assert_eq!(refused.status, 400, "{url}: {}", refused.body);
        let problem = refused.json();
        assert_eq!(
            (&problem["code"], &problem["pointer"]),
            (&json!("webhook_url_not_allowed"), &json!("/url"))
        );
        assert!(problem["hint"].as_str().is_some_and(|hint| hint.ends_with('.')), "{url}");
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_no_longer_allowed_receive_nothing() {
    let (app, receiver, made, key) = scene("").await;
    let app = app.restarted(&[("WEBHOOK_ALLOWED_HOSTS", "")]).await;
    // Plain http, and the same host in other spellings that a row may contain.
    for url in [
        receiver.url("/"),
        format!("https://127.0.0.1:{}/", receiver.port),
        format!("https://localhost:{}/", receiver.port),
        format!("https://0x7f.1:{}/", receiver.port),
    ] {
        app.database.update(sql::ENDPOINTS, &format!("url = '{url}'")).await;
        let tested = app.api(&key, Method::POST, &path(&made, "/test"), None).await.json();
        assert_eq!(
            (&tested["status"], &tested["last_error"]),
            (&json!("pending"), &json!("blocked")),
            "{url}"
        );
    }
    assert_eq!(receiver.connections(), 0);
    let metrics = app.browser().get(&format!("{}/metrics", app.admin)).await.body;
    assert!(metrics.contains("hubspot_connect_webhook_attempts_total{outcome=\"blocked\"} 4\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_rebinding_to_private_addresses_is_refused() {
    let inside = Receiver::start().await;
    let settings = hubspot_connect::config::Webhooks { allowed_hosts: AllowedHosts::default() };
    let lookup = Arc::new(Rebinding::default());
    let webhooks = Webhooks::with(&settings, &Proxies::none(), Arc::clone(&lookup) as Arc<dyn Lookup>);
    let url = format!("https://rebinding.example.com:{}/", inside.port);
    assert!(webhooks.check(&url).await.is_ok());
    assert_eq!(webhooks.check(&url).await.err(), Some(NotAllowed::NotPublic));
    let message = Message { id: "evt_1", at: Timestamp::from_unix_ms(0), body: "{}" };
    let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
    let attempt = webhooks.post(&url, message, &[secret], std::iter::empty()).await;
    assert_eq!((attempt.status, attempt.error), (None, Some(DeliveryError::Blocked)));
    assert_eq!(lookup.0.load(Ordering::SeqCst), 3, "one look for one delivery");
    assert_eq!(inside.connections(), 0);
}
