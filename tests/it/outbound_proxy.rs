//! Outgoing calls through a proxy, as `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name it.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::app::ACME;
use crate::harness::http_proxy::HttpProxy;
use crate::harness::process::{Process, changed, run};
use crate::harness::{Receiver, TestApp};
use crate::journal::{ON, poll, read};
use crate::proxy::{Backend, CONTACTS};

/// `user:hunter2`
const CREDENTIALS: &str = "proxy-authorization: basic dxnlcjpodw50zxiy";

#[tokio::test(flavor = "multi_thread")]
async fn hubspot_is_called_through_the_configured_proxy() {
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        let proxy = HttpProxy::start().await;
        let backend = Backend::with(&[(name, &proxy.url()), ON]).await;
        let app = &backend.app;
        let token = format!("POST {}/oauth/", app.hubspot.base_url());
        assert!(proxy.count(&token) >= 1, "{name}: {:?}", proxy.heard());
        assert!(proxy.heard().iter().all(|head| head.to_lowercase().contains(CREDENTIALS)), "{name}");

        let before = proxy.heard().len();
        assert_eq!(poll(&app.services).await.outcome, read(0, 0));
        assert!(proxy.heard().len() > before, "{name}: the journal");

        assert_eq!(backend.get(CONTACTS).await.status, 200);
        let passed = format!("GET {}{CONTACTS} ", app.hubspot.base_url());
        assert_eq!(proxy.count(&passed), 1, "{name}: {:?}", proxy.heard());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn journal_files_are_fetched_through_the_proxy() {
    let proxy = HttpProxy::start().await;
    let app = TestApp::with(&[("HTTP_PROXY", &proxy.url()), ON]).await;
    app.connected(ACME).await;
    assert_eq!(poll(&app.services).await.outcome, read(0, 0));
    app.advance(300);
    crate::journal::uninstall(&app, ACME);
    app.advance(60);
    assert_eq!(poll(&app.services).await.outcome, read(1, 1));
    let file = format!("GET {}/journal-files/", app.hubspot.base_url());
    assert_eq!(proxy.count(&file), 1, "{:?}", proxy.heard());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_hosts_are_called_directly() {
    for name in ["NO_PROXY", "no_proxy"] {
        for hosts in ["127.0.0.1", "example.com, 127.0.0.0/8", "*"] {
            let proxy = HttpProxy::start().await;
            let app = TestApp::with(&[("ALL_PROXY", &proxy.url()), (name, hosts)]).await;
            app.connected(ACME).await;
            assert_eq!(proxy.heard(), [""; 0], "{hosts}");
        }
    }
}

/// The names of receivers may be known to the proxy alone, so they are not resolved here.
#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_sent_through_the_proxy() {
    let (proxy, receiver) = (HttpProxy::start().await, Receiver::start().await);
    let plain = format!("hooks.test:{}", receiver.port);
    let app = TestApp::with(&[
        ("ALL_PROXY", &proxy.url()),
        ("NO_PROXY", "127.0.0.1"),
        ("WEBHOOK_ALLOWED_HOSTS", &plain),
    ])
    .await;
    let key = app.api_key("webhooks").await;
    let test = |made: serde_json::Value| {
        let path = format!("/api/hubspot/webhooks/{}/test", made["id"].as_str().unwrap());
        let (app, key) = (&app, &key);
        async move { app.api(key, Method::POST, &path, None).await.json() }
    };
    let tested = test(app.webhook(&format!("http://{plain}/hooks"), "").await).await;
    assert_eq!((&tested["status"], receiver.heard().len()), (&json!("delivered"), 1), "{tested}");
    assert_eq!(proxy.count(&format!("POST http://{plain}/hooks HTTP/1.1")), 1, "{:?}", proxy.heard());

    // Nothing here speaks TLS, so the delivery fails, but behind the tunnel.
    let secure = format!("secure.test:{}", receiver.port);
    let tested = test(app.webhook(&format!("https://{secure}/hooks"), "").await).await;
    assert_eq!(tested["status"], "pending", "{tested}");
    assert_eq!(proxy.count(&format!("CONNECT {secure} HTTP/1.1")), 1, "{:?}", proxy.heard());
    assert!(receiver.connections() >= 2, "the tunnel reaches the receiver");
    assert!(proxy.heard().iter().all(|head| head.to_lowercase().contains(CREDENTIALS)));

    // A non-public address is refused before any connection.
    let body = json!({"url": format!("https://10.0.0.1:{}/", receiver.port)});
    let refused = app.api(&key, Method::POST, "/api/hubspot/webhooks", Some(body)).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn outbound_proxies_are_shown_without_credentials() {
    let proxy = HttpProxy::start().await;
    let app = TestApp::start().await;
    let direct = run(&["doctor"], &app.variables);
    assert!(direct.stdout.contains("directly") && !direct.stdout.contains("through"), "{direct:?}");
    let (_database, variables, _hubspot, _) = app.stopped().await;
    let variables = changed(&variables, "HTTP_PROXY", &proxy.url());
    let variables = changed(&variables, "https_proxy", "http://user:hunter3@proxy.example.com:3128");

    let shown = run(&["doctor"], &variables);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for through in [&proxy.address(), "http://proxy.example.com:3128"] {
        assert!(shown.stdout.contains(&format!("through {through}")), "{shown:?}");
    }
    let process = Process::serve(&variables);
    let log = process.log();
    assert!(log.contains("proxy") && log.contains("webhook"), "{log}");
    // The service calls itself directly, despite the proxy.
    let before = proxy.heard().len();
    assert_eq!(run(&["healthcheck"], &variables).code, Some(0));
    assert_eq!(proxy.heard().len(), before);
    for text in [format!("{shown:?}"), log] {
        assert!(!text.contains("hunter"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_passwords_with_special_characters_are_sent_whole_and_never_shown() {
    // `user:hunter2@^{|}`, and the same with a space.
    for (password, encoded) in
        [("hunter2@^{|}", "dXNlcjpodW50ZXIyQF57fH0="), ("hunter2 3", "dXNlcjpodW50ZXIyIDM=")]
    {
        let (proxy, receiver) = (HttpProxy::start().await, Receiver::start().await);
        let host = format!("hooks.test:{}", receiver.port);
        let address = proxy.address();
        let url = address.replace("http://", &format!("http://user:{password}@"));
        let app = TestApp::with(&[("ALL_PROXY", &url), ("WEBHOOK_ALLOWED_HOSTS", &host)]).await;
        app.webhook(&format!("http://{host}/hooks"), "").await;
        app.connected(ACME).await;
        app.deliver_due().await;
        assert_eq!(proxy.count(&format!("POST http://{host}/hooks ")), 1, "{:?}", proxy.heard());
        let credentials = format!("proxy-authorization: basic {}", encoded.to_lowercase());
        assert!(proxy.heard().iter().all(|head| head.to_lowercase().contains(&credentials)), "{password}");

        let shown = run(&["doctor"], &app.variables);
        let directly = shown.stdout.contains("directly");
        assert!(shown.stdout.contains(&format!("through {address};")) && !directly, "{shown:?}");
        assert!(shown.stdout.contains(&format!("Webhooks Journal through {address}\n")), "{shown:?}");
    }
}

/// Answers a SOCKS5 greeting, and returns the request that follows (RFC 1928).
async fn socks_request(listener: &TcpListener) -> Vec<u8> {
    let (mut caller, _) = listener.accept().await.unwrap();
    let mut greeting = [0; 2];
    caller.read_exact(&mut greeting).await.unwrap();
    caller.read_exact(&mut vec![0; greeting[1].into()]).await.unwrap();
    caller.write_all(&[5, 0]).await.unwrap();
    let mut request = vec![0; 256];
    let length = caller.read(&mut request).await.unwrap();
    request.truncate(length);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn socks_proxies_resolve_names() {
    let app = TestApp::start().await;
    for scheme in ["socks5", "socks5h", "SOCKS5"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("{scheme}://{}", listener.local_addr().unwrap());
        let variables = changed(&app.variables, "HUBSPOT_API_URL", "https://localhost");
        let variables = changed(&variables, "ALL_PROXY", &proxy);
        let doctor = tokio::task::spawn_blocking(move || run(&["doctor"], &variables));
        let request = socks_request(&listener).await;
        // The name with its length before it, not an address.
        assert_eq!(request[3..], *b"\x03\x09localhost\x01\xbb", "{scheme}");
        doctor.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_proxy_urls_are_reported_only_by_variable() {
    let app = TestApp::start().await;
    for url in [
        "http://",
        "ftp://hunter2@proxy.example.com",
        "http://user:hunter2@:3128",
        "socks4a://hunter2",
        "http://user:/hunter2@proxy.example.com",
        "http://user:#hunter2@proxy.example.com",
        "socks5://user:hunter2@%20:1080",
    ] {
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"] {
            let refused = run(&["doctor"], &changed(&app.variables, name, url));
            assert_eq!(refused.code, Some(1), "{url}");
            assert!(refused.stdout.contains(&format!("{name} must be")), "{url}: {refused:?}");
            assert!(!format!("{refused:?}").contains("hunter"), "{url}: {refused:?}");
        }
    }
}
