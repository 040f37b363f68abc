//! Attacks on the install URL.

use fake_hubspot::{FakeHubSpot, Kind, Options};

use crate::harness::app::{self, ACME, GLOBEX, HOST};
use crate::harness::browser::{encode, parameter, problem_of};
use crate::harness::database::TestDatabase;
use crate::harness::process::Process;
use crate::harness::{Browser, TestApp, sql};

use super::{
    CALLBACK, FRAME, INSTALL, ON, back, code, exchanges, finalize, installed, started, state_of, tokens,
    waiting, with,
};

#[tokio::test(flavor = "multi_thread")]
async fn installs_redirect_only_to_hubspot_and_exchange_no_code() {
    let app = started().await;
    let home = app.hubspot.base_url();
    let port = home.rsplit(':').next().unwrap();
    let abuse = [
        "https://evil.example/",
        "http://app.hubspot.com/",
        "//app.hubspot.com/",
        "/\\app.hubspot.com/",
        "/install/hubspot",
        "https:app.hubspot.com",
        "https:///app.hubspot.com/",
        "https://app.hubspot.com@evil.example/",
        "https://app.hubspot.com:443@evil.example/",
        "https://evil.example\\@app.hubspot.com/",
        "https://user@app.hubspot.com/",
        "https://app.hubspot.com.evil.example/",
        "https://app.hubspot.com:8443/",
        "https://app.hubspot.com./",
        "https://app-eu1.hubspot.com.evil.example/",
        "https://app-evil.hubspot.com/",
        "https://evil.example/?https://app.hubspot.com/",
        "https://evil.example#@app.hubspot.com/",
        "https://app%2Ehubspot%2Ecom/",
        "https://aрp.hubspot.com/",
        "https://app。hubspot。com/",
        "https://app.hubspot.com\u{0}.evil.example/",
        "https://app.hub\nspot.com/",
        " https://app.hubspot.com/",
        "javascript:alert(1)//https://app.hubspot.com/",
        "data:text/html,app.hubspot.com",
        "blob:https://app.hubspot.com/",
        "view-source:https://app.hubspot.com/",
        "wss://app.hubspot.com/",
        "",
        &format!("blob:{home}/"),
        &format!("http://evil.example:{port}/"),
        &format!("{home}@evil.example/"),
        &format!("{home}.evil.example/"),
        &format!("http://user@{}/", &home["http://".len()..]),
    ];
    for url in abuse {
        let state = state_of(&app, &app.browser()).await;
        let code = code(&app, ACME);
        for pairs in [
            &[("code", code.as_str()), ("returnUrl", url)][..],
            &[("step", "authorize"), ("returnUrl", url)],
            &[("step", "finalize"), ("code", &code), ("state", &state), ("returnUrl", url)],
        ] {
            let answer = app.browser().get(&with(INSTALL, pairs)).await;
            assert_eq!(
                (answer.status, answer.location()),
                (303, "/install/hubspot/claim?problem=install_return_url_not_allowed#_"),
                "{url:?} {pairs:?}"
            );
        }
        // The state is not consumed either.
        assert_eq!(finalize(&app, INSTALL, "na1-no-code", &state).await.status, 302);
    }
    let twice = format!("{INSTALL}?code=x&returnUrl={0}&returnUrl={0}", encode(&back(&app)));
    assert_eq!(problem_of(&app.browser().get(&twice).await), "bad_request");
    assert!(app.hubspot.calls(Kind::Exchange).iter().all(|call| call.form["code"] == "na1-no-code"));
    assert_eq!(waiting(&app).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_an_attacker_give_the_victim_no_connection() {
    let app = started().await;
    let victim = app.connected(GLOBEX).await;
    let fresh = app.browser();
    let (before, cookies) = (victim.status().await, victim.cookies.lock().unwrap().clone());

    for browser in [&victim, &fresh] {
        for path in [INSTALL, CALLBACK] {
            let stolen = || app.hubspot.install(&format!("{}{path}", app.base), ACME);
            let back = back(&app);
            let plain = browser.get(&with(path, &[("code", &stolen()), ("returnUrl", &back)])).await;
            let old = browser.get(&with(path, &[("code", &stolen())])).await;
            let state = state_of(&app, browser).await;
            let code = stolen();
            let pairs = [("step", "finalize"), ("code", &code), ("state", &state), ("returnUrl", &back)];
            let signed = browser.get(&with(path, &pairs)).await;
            for answer in [plain, old, signed] {
                assert_eq!((answer.status, answer.cookies()), (302, Vec::new()), "{path}");
            }
        }
    }

    assert_eq!(*victim.cookies.lock().unwrap(), cookies);
    assert_eq!(victim.status().await["connections"], before["connections"]);
    assert_eq!(fresh.status().await["authenticated"], false);
    assert_eq!((tokens(&app).await, waiting(&app).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn subresources_and_prefetches_install_nothing() {
    let app = started().await;
    let url = with(INSTALL, &[("code", &code(&app, ACME)), ("returnUrl", &back(&app))]);
    for headers in [
        &[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")][..],
        &[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
        &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "embed")],
        &[("sec-fetch-mode", "navigate"), ("sec-purpose", "prefetch;prerender")],
    ] {
        let answer = app.browser().navigate(&url, headers).await;
        assert_eq!((answer.status, problem_of(&answer).as_str()), (400, "not_a_navigation"));
    }
    assert_eq!((exchanges(&app), waiting(&app).await), (0, 0));
    assert_eq!(app.browser().get(&url).await.status, 302, "the code is still good");
}

/// The requests of a hidden frame of any page: every shape but the one that HubSpot sends in a frame.
const FRAMED: [&[(&str, &str)]; 5] = [
    &[("code", "x")],
    &[("code", "x"), ("returnUrl", "BACK")],
    &[("step", "authorize"), ("returnUrl", "BACK")],
    &[("step", "other"), ("code", "x"), ("returnUrl", "BACK")],
    &[("error", "access_denied"), ("code", "x")],
];

#[tokio::test(flavor = "multi_thread")]
async fn frames_may_only_finalize_installs_with_a_valid_state() {
    let app = started().await;
    let back = back(&app);
    let browser = app.browser();
    for path in [INSTALL, CALLBACK] {
        for dest in ["iframe", "frame"] {
            let headers = [FRAME[0], ("sec-fetch-dest", dest), FRAME[2]];
            for pairs in FRAMED {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(name, value)| (*name, if *value == "BACK" { &back } else { *value }))
                    .collect();
                let answer = browser.navigate(&with(path, &pairs), &headers).await;
                assert_eq!(
                    (answer.status, problem_of(&answer).as_str()),
                    (400, "not_a_navigation"),
                    "{path} {pairs:?}"
                );
            }
            let pairs =
                [("step", "finalize"), ("code", "x"), ("state", &"A".repeat(43)), ("returnUrl", &back)];
            assert_eq!(browser.navigate(&with(path, &pairs), &headers).await.location(), back);
        }
    }
    assert_eq!(exchanges(&app), 0);
    assert_eq!(app.database.count(sql::INSTALL_ATTEMPTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_and_installs_do_not_use_the_limits_of_flows() {
    let app = TestApp::with(&[ON, ("RATE_LIMIT_START_PER_MINUTE", "2")]).await;
    let (browser, back) = (app.browser(), back(&app));
    for _ in 0..3 {
        for pairs in FRAMED {
            browser.navigate(&with(INSTALL, pairs), FRAME).await;
        }
        finalize(&app, INSTALL, "x", &"A".repeat(43)).await;
    }
    assert_eq!(installed(&app, ACME).await.location(), back, "an install is taken");
    assert_eq!(installed(&app, GLOBEX).await.location(), back);
    let third = installed(&app, ACME).await;
    assert_eq!((third.status, problem_of(&third).as_str()), (429, "rate_limited"));
    let start = browser.start(Some(HOST)).await;
    assert!(start.starts_with(&app.hubspot.authorize_url()), "a connect begins: {start}");
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_without_a_state_have_a_global_rate_limit() {
    let app =
        TestApp::with(&[ON, ("RATE_LIMIT_START_PER_MINUTE", "20"), ("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let state = state_of(&app, &app.browser()).await;
    let mut refused = 0;
    for number in 0..20 {
        let from = format!("203.0.113.{number}");
        let path = if number % 2 == 0 { INSTALL } else { CALLBACK };
        let url = with(path, &[("code", &format!("junk-{number}"))]);
        let answer = app.browser().navigate(&url, &[("x-forwarded-for", &from)]).await;
        match problem_of(&answer).as_str() {
            "rate_limited" => {
                assert_eq!((answer.status, answer.header("retry-after")), (429, "5"));
                refused += 1;
            }
            code => assert_eq!((answer.status, code), (303, "code_rejected")),
        }
    }
    assert!((5..=8).contains(&exchanges(&app)), "{} exchanges", exchanges(&app));
    assert_eq!(refused + exchanges(&app), 20);
    let answer = finalize(&app, INSTALL, &code(&app, ACME), &state).await;
    assert_eq!((answer.status, waiting(&app).await), (302, 1), "a state of ours vouches for its code");
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_without_a_state_have_a_rate_limit_per_address() {
    let app = TestApp::with(&[ON, ("RATE_LIMIT_START_PER_MINUTE", "2")]).await;
    let try_one = |code: &'static str| async {
        problem_of(&app.browser().get(&with(INSTALL, &[("code", code)])).await)
    };
    assert_eq!(
        (try_one("a").await.as_str(), try_one("b").await.as_str()),
        ("code_rejected", "code_rejected")
    );
    assert_eq!(try_one("c").await, "rate_limited");
    assert_eq!(exchanges(&app), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_states_and_tokens_are_not_logged() {
    let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
    let database = TestDatabase::fresh().await;
    let process = Process::serve(&app::settle(&hubspot, &database, &[ON, ("LOG_LEVEL", "trace")]));
    let browser = Browser::new(&process.base);
    let back = format!("{}/marketplace/installed", hubspot.base_url());
    let first = browser.get(&with(INSTALL, &[("step", "authorize"), ("returnUrl", &back)])).await;
    let state = parameter(first.location(), "state");
    let codes = [ACME, GLOBEX].map(|hub_id| hubspot.install(&format!("{}{INSTALL}", process.base), hub_id));
    for code in &codes {
        // The second time the state is invalid.
        let pairs = [("step", "finalize"), ("code", code), ("state", &state), ("returnUrl", &back)];
        assert_eq!(browser.get(&with(INSTALL, &pairs)).await.location(), back);
    }
    let log = process.log();
    assert!(log.contains("pending grant created"), "{log}");
    assert!(log.contains("marketplace install failed"), "{log}");
    let token = &hubspot.grants()[0].refresh_token;
    for secret in [&state, &codes[0], &codes[1], token] {
        assert!(!log.contains(secret.as_str()), "{secret} is in the log");
    }
}
