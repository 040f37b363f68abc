//! No setting turns opener verification off: with every value of every setting, a callback is valid only in the browser
//! that started its flow, and the outcome of an unverified flow is given to no page.

use std::collections::BTreeSet;

use fake_hubspot::{FakeHubSpot, Kind, Options};
use hubspot_connect::config::{Config, Variables, example_env};
use reqwest::Method;
use serde_json::json;
use test_support::free_port;

use crate::harness::app::{ACME, HOST, approve, settle};
use crate::harness::browser::{Answer, encode, parameter, problem_of};
use crate::harness::database::TestDatabase;
use crate::harness::page::{Page, assert_tells_nothing, data};
use crate::harness::process::value;
use crate::harness::{Browser, TestApp, sql};

const EVIL: &str = "http://evil.localhost:3000";

/// Values that users write to turn something off, to allow everything, or as a minimum or maximum.
const EXTREMES: [&str; 21] = [
    "",
    "off",
    "on",
    "no",
    "yes",
    "false",
    "true",
    "none",
    "null",
    "any",
    "all",
    "*",
    "0",
    "1",
    "86400",
    "2592000",
    "i-know",
    "0.0.0.0/0,::/0",
    EVIL,
    "https://evil.example",
    "a value that is as long as a secret has to be",
];

/// Listen addresses and the database; each test has its own.
const PLACES: [&str; 3] = ["SERVER_ADDR", "ADMIN_ADDR", "DATABASE_URL"];

/// Returns every variable.
fn names() -> Vec<String> {
    let text = example_env();
    let lines = text.lines().map(|line| line.trim_start_matches('#'));
    let names = lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    let is_name = |name: &&str| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    names.filter(is_name).map(str::to_owned).collect()
}

/// Returns the resulting settings as text; `None` where the service would not start.
fn settings(variables: &[(String, String)]) -> Option<String> {
    let config = Config::read(&Variables::from_pairs(variables.iter().cloned())).ok()?;
    Some(format!("{config:?}"))
}

/// Returns every variable with each of its valid extremes, if their effects differ.
fn switched(usual: &[(String, String)]) -> Vec<(String, &'static str)> {
    let mut known = BTreeSet::from([settings(usual).expect("the usual settings")]);
    let mut all = Vec::new();
    for name in names().into_iter().filter(|name| !PLACES.contains(&name.as_str())) {
        for extreme in EXTREMES {
            let mut variables = usual.to_vec();
            variables.retain(|(known, _)| *known != name);
            variables.push((name.clone(), extreme.to_owned()));
            if settings(&variables).is_some_and(|settings| known.insert(settings)) {
                all.push((name.clone(), extreme));
            }
        }
    }
    all
}

/// A visitor of this service, under any of its names.
struct Visitor<'a> {
    app: &'a TestApp,
    host: String,
    browser: Browser,
}

impl<'a> Visitor<'a> {
    fn new(app: &'a TestApp) -> Self {
        let address = value(&app.variables, "SERVER_ADDR");
        let public = Some(value(&app.variables, "PUBLIC_URL")).filter(|url| !url.is_empty());
        let public = public.unwrap_or_else(|| "http://localhost:6001".to_owned());
        let (_, host) = public.split_once("://").expect("a URL");
        Self { app, host: host.to_owned(), browser: Browser::new(&format!("http://{address}")) }
    }

    async fn get(&self, path: &str) -> Answer {
        self.browser.navigate(path, &[("host", &self.host)]).await
    }

    /// Starts a flow and returns the authorize URL.
    async fn begins(&self, what: &str) -> String {
        let begun = self.get("/auth/hubspot/start").await;
        assert_eq!(begun.status, 302, "{what}: {}", begun.body);
        begun.location().to_owned()
    }

    /// Returns the callback URL of this flow; with a valid code, where the test has its own HubSpot.
    fn way_back(&self, authorize: &str) -> String {
        let back = self.app.hubspot.decide(authorize, approve(ACME));
        let code = back.map_or_else(|| "na1-code".to_owned(), |back| parameter(&back, "code"));
        format!("/auth/hubspot/callback?code={code}&state={}", parameter(authorize, "state"))
    }
}

/// Asserts that only the browser that started a flow can use its state.
async fn assert_bound(app: &TestApp, what: &str) {
    let (attacker, victim, other) = (Visitor::new(app), Visitor::new(app), Visitor::new(app));
    let back = attacker.way_back(&attacker.begins(what).await);
    // It has its own flow; where an address may start only one in a minute, it has none.
    other.get("/auth/hubspot/start").await;
    let invented = format!("/auth/hubspot/callback?code=na1-code&state={}", "A".repeat(43));
    for (who, path, problem) in [
        (&victim, &back, "flow_not_yours"),
        (&other, &back, "flow_not_yours"),
        (&attacker, &invented, "flow_unknown"),
    ] {
        let refused = who.get(path).await;
        assert_eq!((refused.status, problem_of(&refused).as_str()), (303, problem), "{what}");
        let session = refused.cookies().iter().any(|line| line.contains("hsc_sid="));
        assert!(!session, "{what}: {:?}", refused.cookies());
    }
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 0, "{what}");
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0, "{what}");
}

/// Asserts that neither a page that leads a user to the start by a link nor one of another origin counts as the opener.
async fn assert_openers_are_asked_for(app: &TestApp, what: &str) {
    let (visitor, listed) = (Visitor::new(app), value(&app.variables, "HOST_ORIGINS"));
    let host = visitor.host.as_str();
    let evil = visitor.get(&format!("/auth/hubspot/start?origin={}", encode(EVIL))).await;
    if evil.status == 429 {
        return;
    }
    let is_listed = listed == EVIL || value(&app.variables, "PUBLIC_URL") == EVIL;
    assert_eq!(evil.status == 400, !is_listed, "{what}: {} {}", evil.status, evil.body);
    let origin = if listed.is_empty() { HOST } else { listed.as_str() };
    let page = Page::new(&visitor.browser.base, origin);
    let launch = visitor.get(&format!("/auth/hubspot/start?{}", page.form(&[]))).await;
    if launch.status == 400 {
        assert_eq!(problem_of(&launch), "origin_not_allowed", "{what}");
        return;
    }
    assert_eq!((launch.status, data(&launch, "proven").as_str()), (200, "false"), "{what}");
    let body = json!({"flow": data(&launch, "flow"), "opener_key": page.verifier});
    let wrong = visitor.browser.request(Method::POST, "/auth/hubspot/launch");
    let wrong = wrong.header("host", host).header("sec-fetch-site", "same-origin");
    let wrong = wrong.header("content-type", "application/json").body(body.to_string());
    assert_eq!(visitor.browser.send(wrong).await.status, 404, "{what}");
    visitor.get(&visitor.way_back(&data(&launch, "authorize-url"))).await;
    let seen = page.ask(Method::GET, "/api/hubspot/status", None, &[("host", host)]).await;
    assert_eq!(seen.json()["withheld"], true, "{what}: {}", seen.body);
    assert_tells_nothing(&seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_setting_disables_opener_verification() {
    let (hubspot, database) =
        (FakeHubSpot::start(Options::default()).await.unwrap(), TestDatabase::fresh().await);
    if !database.is_sqlite() {
        return; // Verification does not depend on the database, and a hundred services on a server take minutes.
    }
    let all = switched(&settle(&hubspot, &database, &[]));
    let touched: BTreeSet<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert!(touched.len() > 25, "most variables take one of these: {touched:?}");
    for (name, extreme) in &all {
        let what = format!("{name}={extreme}");
        let app = TestApp::with(&[(name, extreme)]).await;
        assert_bound(&app, &what).await;
        assert_openers_are_asked_for(&app, &what).await;
        app.stopped().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_permissive_settings_together_keep_opener_verification() {
    let loose = [
        ("PUBLIC_URL", "http://connect.example.com"),
        ("ALLOW_INSECURE", "i-know"),
        ("TRUSTED_PROXIES", "0.0.0.0/0,::/0"),
        ("HUBSPOT_PKCE", "off"),
        ("TOKEN_DELIVERY", "access_token"),
        ("MARKETPLACE_INSTALLS", "on"),
        ("ON_SESSION_EXPIRY", "keep"),
        ("RATE_LIMIT_START_PER_MINUTE", "0"),
        ("RATE_LIMIT_UNVERIFIED_START_PER_MINUTE", "0"),
        ("RATE_LIMIT_WRONG_KEYS_PER_MINUTE", "0"),
        ("RATE_LIMIT_API_PER_MINUTE", "0"),
    ];
    let app = TestApp::with(&loose).await;
    assert_bound(&app, "all of them").await;
    assert_openers_are_asked_for(&app, "all of them").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_listen_address_disables_opener_verification() {
    let mut seen = 0;
    for host in ["127.0.0.2", "[::1]"] {
        // Not every machine has each of these.
        if std::net::TcpListener::bind(format!("{host}:0")).is_err() {
            continue;
        }
        for name in ["SERVER_ADDR", "ADMIN_ADDR"] {
            let value = format!("{host}:{}", free_port());
            let app = TestApp::with(&[(name, &value)]).await;
            let what = format!("{name}={value}");
            assert_bound(&app, &what).await;
            assert_openers_are_asked_for(&app, &what).await;
            app.stopped().await;
            seen += 1;
        }
    }
    assert!(seen > 0, "this machine has one address of its own at most");
}
