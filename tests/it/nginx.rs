//! The service behind nginx, as configured in docs/operating.md.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use test_support::free_port;

use crate::harness::app::{ACME, HOST};
use crate::harness::browser::problem_of;
use crate::harness::nginx::Nginx;
use crate::harness::page::{Page, approved};
use crate::harness::process::value;
use crate::harness::wire::{Upstream, Wire, values};
use crate::harness::{Browser, TestApp, eventually};
use crate::proxy::{Backend, CONTACTS, SCOPES};
use crate::waiting::waiting;

/// Starts a service that is reached through nginx alone.
async fn behind_nginx(more: &[(&str, &str)]) -> (TestApp, Nginx) {
    let port = free_port();
    let public_url = format!("http://localhost:{port}");
    let usual = [("PUBLIC_URL", public_url.as_str()), ("TRUSTED_PROXIES", "127.0.0.1")];
    let variables: Vec<_> = usual.iter().chain(more).copied().collect();
    let app = TestApp::with(&variables).await;
    let nginx = Nginx::start(port, &value(&app.variables, "SERVER_ADDR")).await;
    (app, nginx)
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_through_nginx_keeps_cookies_and_logs_no_code() {
    let (app, nginx) = behind_nginx(&[]).await;
    let browser = app.connected(ACME).await;
    assert_eq!(browser.status().await["status"], "active");
    assert_eq!(browser.get("/").await.status, 200, "the session is known");
    let log = nginx.access_log();
    assert!(log.contains("\"GET /auth/hubspot/callback\" 303"), "{log}");
    assert!(!log.contains('?') && !log.contains("code=") && !log.contains("state="), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limits_behind_nginx_count_the_client() {
    let (app, _nginx) = behind_nginx(&[("RATE_LIMIT_START_PER_MINUTE", "2")]).await;
    let from = |address: &str| Browser::at(&app.base, Some(address.parse::<IpAddr>().unwrap()));
    let (one, other) = (from("127.0.0.2"), from("127.0.0.3"));
    let path = format!("/auth/hubspot/start?origin={HOST}");
    for _ in 0..2 {
        assert_eq!(one.get(&path).await.status, 302);
    }
    assert_eq!(problem_of(&one.get(&path).await), "rate_limited");
    let forged = one.navigate(&path, &[("x-forwarded-for", "203.0.113.9")]).await;
    assert_eq!(problem_of(&forged), "rate_limited", "what the client says of itself is not believed");
    assert_eq!(other.get(&path).await.status, 302);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_polls_work_through_nginx() {
    let (app, _nginx) = behind_nginx(&[]).await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let authorize = page.begin(&popup).await;
    let tag = page.poll().await.header("etag").to_owned();
    // Without a change it waits for the maximum time.
    let started = Instant::now();
    let unchanged = page.wait(&tag, 25).await;
    assert_eq!(unchanged.status, 304);
    assert!(started.elapsed() >= Duration::from_secs(24), "{:?}", started.elapsed());

    let outcome = async {
        let mut authorization = page.wait(&tag, 25).await;
        while authorization.json()["status"] == "exchanging" {
            authorization = page.wait(authorization.header("etag"), 25).await;
        }
        authorization
    };
    let (woken, _) = tokio::join!(outcome, async {
        eventually("the page waits", || async { waiting(&app).await == 1 }).await;
        approved(&app, &popup, &authorize).await
    });
    assert_eq!(woken.json()["status"], "connected", "{}", woken.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_streamed_through_nginx_in_both_directions() {
    let mut upstream = Upstream::start().await;
    let (app, _nginx) = behind_nginx(&[SCOPES]).await;
    let backend = Backend::of(app).await.with_hubspot_at(&upstream.url).await;
    let mut wire = Wire::to(&backend.app.base).await;
    let line = format!("POST {}{CONTACTS}?q=a%2Fb", backend.proxy());
    wire.say(backend.head(&line, "connection: close\r\ncontent-length: 10\r\n")).await;
    wire.say("first").await;
    let mut call = upstream.next().await;
    let asked = call.head().await;
    assert!(asked.starts_with(&format!("POST {CONTACTS}?q=a%2Fb ")), "{asked}");
    assert_eq!(values(&asked, "x-forwarded-for"), [""; 0], "{asked}");
    call.hear("first").await;
    wire.say(" last").await;
    call.hear(" last").await;
    call.say("HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        .await;
    assert!(wire.head().await.starts_with("HTTP/1.1 200 "));
    wire.hear("first").await;
    call.say("5\r\n last\r\n0\r\n\r\n").await;
    let rest = wire.rest().await;
    assert!(rest.contains(" last") && rest.ends_with("0\r\n\r\n"), "{rest}");
}
