//! Installs that begin at HubSpot's Marketplace: kept, shown to nobody who has proven nothing, and claimed once.

use fake_hubspot::{FakeHubSpot, Fault, Kind, Options, Rule};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{self, ACME, GLOBEX, HOST, INITECH, LONG_SESSIONS, approve};
use crate::harness::browser::{Answer, encode, flow_of, parameter, problem_of};
use crate::harness::database::TestDatabase;
use crate::harness::page::data;
use crate::harness::process::{Process, run};
use crate::harness::{Browser, TestApp};

const ON: (&str, &str) = ("MARKETPLACE_INSTALLS", "on");
const INSTALL: &str = "/install/hubspot";
const CALLBACK: &str = "/auth/hubspot/callback";
const LIST: &str = "/api/hubspot/installs";
/// A frame inside HubSpot's pages.
const FRAME: &[(&str, &str)] =
    &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"), ("sec-fetch-site", "cross-site")];

async fn started() -> TestApp {
    TestApp::with(&[ON]).await
}

/// Where HubSpot wants the browser back.
fn back(app: &TestApp) -> String {
    format!("{}/marketplace/installed", app.hubspot.base_url())
}

fn with(path: &str, pairs: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{path}?{query}")
}

/// A code for the address that takes installs.
fn code(app: &TestApp, hub_id: u64) -> String {
    app.hubspot.install(&format!("{}{INSTALL}", app.base), hub_id)
}

/// HubSpot brings an install of this account, without a sign-in.
async fn installed(app: &TestApp, hub_id: u64) -> Answer {
    let (code, back) = (code(app, hub_id), back(app));
    app.browser().get(&with(INSTALL, &[("code", &code), ("returnUrl", &back)])).await
}

/// The state that the first step hands out.
async fn state_of(app: &TestApp, browser: &Browser) -> String {
    let answer = browser.get(&with(INSTALL, &[("step", "authorize"), ("returnUrl", &back(app))])).await;
    assert_eq!(answer.status, 302, "{}", answer.body);
    assert!(answer.location().starts_with(&format!("{}?state=", back(app))), "{}", answer.location());
    parameter(answer.location(), "state")
}

async fn finalize(app: &TestApp, path: &str, code: &str, state: &str) -> Answer {
    let back = back(app);
    let pairs = [("step", "finalize"), ("code", code), ("state", state), ("returnUrl", &back)];
    app.browser().navigate(&with(path, &pairs), FRAME).await
}

async fn waiting(app: &TestApp) -> i64 {
    app.database.number("SELECT COUNT(*) FROM install WHERE refresh_sealed IS NOT NULL").await
}

async fn tokens(app: &TestApp) -> i64 {
    app.database.number("SELECT COUNT(*) FROM token").await
}

fn exchanges(app: &TestApp) -> usize {
    app.hubspot.calls(Kind::Exchange).len()
}

/// The accounts whose grants HubSpot still honours, each as often as it has one.
fn living(app: &TestApp) -> Vec<u64> {
    let mut all: Vec<u64> = app.hubspot.grants().into_iter().map(|grant| grant.hub_id).collect();
    all.sort_unstable();
    all
}

/// Lets what was queued end at HubSpot.
async fn settle(app: &TestApp) {
    app.advance(60);
    app.flows.revoke_due().await.unwrap();
}

async fn listed(app: &TestApp, key: &str) -> Vec<Value> {
    let answer = app.api(key, Method::GET, LIST, None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["installs"].as_array().unwrap().clone()
}

async fn claim(app: &TestApp, key: &str, install: &Value, user: &str) -> Answer {
    let path = format!("{LIST}/{}/claim", install["id"].as_str().unwrap());
    app.api(key, Method::POST, &path, Some(json!({"external_user_id": user}))).await
}

/// An install that waits, and a key that may claim it.
async fn with_install(app: &TestApp, hub_id: u64) -> (String, Value) {
    assert_eq!(installed(app, hub_id).await.status, 302);
    let key = app.api_key("sessions:write").await;
    let install = listed(app, &key).await.into_iter().find(|one| one["portal_id"] == hub_id).unwrap();
    (key, install)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_without_a_sign_in_is_kept_for_whoever_claims_it() {
    let app = started().await;
    let answer = installed(&app, ACME).await;

    assert_eq!((answer.status, answer.location()), (302, back(&app).as_str()));
    assert_eq!(answer.cookies(), Vec::<String>::new());
    assert_eq!((waiting(&app).await, tokens(&app).await), (1, 0));
    let key = app.api_key("sessions:write").await;
    let install = &listed(&app, &key).await[0];
    assert_eq!(
        (&install["portal_id"], &install["hub_domain"], &install["installed_by"]),
        (&json!(ACME), &json!("acme.example"), &json!("ada@acme.example"))
    );
    assert_eq!(install["scopes"], json!(["oauth", "crm.objects.contacts.read"]));
    let stored = String::from_utf8_lossy(&app.database.dump().await).into_owned();
    for grant in app.hubspot.grants() {
        assert!(!stored.contains(&grant.refresh_token), "a refresh token lies in the clear");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_with_a_sign_in_is_finished_in_a_frame_without_a_cookie() {
    let app = started().await;
    let state = state_of(&app, &app.browser()).await;
    let answer = finalize(&app, INSTALL, &code(&app, ACME), &state).await;

    assert_eq!((answer.status, answer.location()), (302, back(&app).as_str()));
    assert_eq!((answer.body.as_str(), answer.cookies()), ("", Vec::new()));
    assert_eq!((waiting(&app).await, tokens(&app).await), (1, 0));
    assert_eq!(app.database.number("SELECT COUNT(*) FROM install_attempt WHERE kind = 'state'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_that_hubspot_has_opened_keeps_its_opener() {
    let app = started().await;
    let first = with(INSTALL, &[("step", "authorize"), ("returnUrl", &back(&app))]);
    let answer = app.browser().get(&first).await;
    assert_eq!(answer.header("cross-origin-opener-policy"), "unsafe-none");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_good_once_and_for_ten_minutes() {
    let app = started().await;
    let browser = app.browser();
    let state = state_of(&app, &browser).await;
    finalize(&app, INSTALL, &code(&app, ACME), &state).await;
    assert_eq!(exchanges(&app), 1);

    let late = state_of(&app, &browser).await;
    app.advance(600);
    let made_up = "A".repeat(43);
    for bad in [state.as_str(), late.as_str(), made_up.as_str(), "", "short", &"x".repeat(5000)] {
        let answer = finalize(&app, INSTALL, &code(&app, GLOBEX), bad).await;
        // HubSpot's own page tells the person that the app is not installed.
        assert_eq!((answer.status, answer.location()), (302, back(&app).as_str()), "{bad}");
    }
    let pairs = [("step", "finalize"), ("code", &code(&app, GLOBEX)), ("returnUrl", &back(&app))];
    assert_eq!(app.browser().get(&with(INSTALL, &pairs)).await.status, 302);
    assert_eq!((exchanges(&app), waiting(&app).await), (1, 1), "no code was exchanged for any of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_bring_the_same_state_one_is_heard() {
    let app = started().await;
    let state = state_of(&app, &app.browser()).await;
    let (one, two) = (code(&app, ACME), code(&app, GLOBEX));
    let both = tokio::join!(finalize(&app, INSTALL, &one, &state), finalize(&app, INSTALL, &two, &state));
    assert_eq!((both.0.status, both.1.status), (302, 302));
    assert_eq!((exchanges(&app), waiting(&app).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_connect_is_none_of_an_install_and_the_other_way_round() {
    let app = started().await;
    let browser = app.browser();
    let authorize = browser.start(Some(HOST)).await;
    let of_connect = parameter(&authorize, "state");

    for path in [INSTALL, CALLBACK] {
        let back = back(&app);
        let code = app.hubspot.install(&format!("{}{path}", app.base), ACME);
        let pairs = [("step", "finalize"), ("code", &code), ("state", &of_connect), ("returnUrl", &back)];
        let answer = browser.navigate(&with(path, &pairs), FRAME).await;
        assert_eq!((answer.status, answer.location()), (302, back.as_str()));
    }
    assert_eq!((exchanges(&app), waiting(&app).await, tokens(&app).await), (0, 0, 0));
    // It was not used up by that.
    let done = browser.get(&app.hubspot.decide(&authorize, approve(ACME)).unwrap()).await;
    assert_eq!(browser.handoff(done.location()).await.json()["message"]["type"], "hubspot_auth_success");

    let of_install = state_of(&app, &browser).await;
    let code = app.hubspot.install(&format!("{}{CALLBACK}", app.base), GLOBEX);
    let answer = browser.get(&with(CALLBACK, &[("code", &code), ("state", &of_install)])).await;
    assert_eq!((answer.status, problem_of(&answer).as_str()), (303, "flow_unknown"));
    assert_eq!((exchanges(&app), waiting(&app).await, tokens(&app).await), (1, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_switch_there_are_no_installs() {
    let app = TestApp::start().await;
    let back = back(&app);
    let code = app.hubspot.install(&format!("{}{CALLBACK}", app.base), ACME);
    for pairs in [
        &[("code", code.as_str())][..],
        &[("code", &code), ("returnUrl", &back)],
        &[("step", "authorize"), ("returnUrl", &back)],
        &[("step", "finalize"), ("code", &code), ("returnUrl", &back)],
    ] {
        let answer = app.browser().get(&with(CALLBACK, pairs)).await;
        assert_eq!((answer.status, problem_of(&answer).as_str()), (303, "callback_incomplete"), "{pairs:?}");
        assert_eq!(app.browser().get(&with(INSTALL, pairs)).await.status, 404, "{pairs:?}");
    }
    assert_eq!(app.browser().get("/install/hubspot/claim").await.status, 404);
    assert_eq!((exchanges(&app), waiting(&app).await), (0, 0));
    assert_eq!(app.database.number("SELECT COUNT(*) FROM install_attempt").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_is_taken_at_the_callback_too() {
    let app = started().await;
    let back = back(&app);
    let code = |hub_id| app.hubspot.install(&format!("{}{CALLBACK}", app.base), hub_id);

    let plain = app.browser().get(&with(CALLBACK, &[("code", &code(ACME)), ("returnUrl", &back)])).await;
    assert_eq!((plain.status, plain.location()), (302, back.as_str()));
    let first = app.browser().get(&with(CALLBACK, &[("step", "authorize"), ("returnUrl", &back)])).await;
    let state = parameter(first.location(), "state");
    assert_eq!(finalize(&app, CALLBACK, &code(GLOBEX), &state).await.location(), back);
    let old = app.browser().get(&with(CALLBACK, &[("code", &code(INITECH))])).await;
    assert_eq!((old.status, old.location()), (302, "/install/hubspot/claim#_"));

    assert_eq!((waiting(&app).await, tokens(&app).await), (3, 0));
    // What has a state is an attempt of ours as before.
    assert_eq!(app.connected(ACME).await.status().await["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_shape_ends_on_the_host_s_page_where_there_is_one() {
    let landing = "https://host.example/welcome?from=hubspot";
    let app = TestApp::with(&[ON, ("MARKETPLACE_LANDING_URL", landing)]).await;
    let answer = app.browser().get(&with(INSTALL, &[("code", &code(&app, ACME))])).await;
    assert_eq!((answer.status, answer.location()), (302, landing));
    assert_eq!(waiting(&app).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_led_anywhere_but_to_hubspot_and_no_code_is_exchanged_then() {
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
        "",
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
        // Nor is the state used up.
        assert_eq!(finalize(&app, INSTALL, "na1-no-code", &state).await.status, 302);
    }
    let twice = format!("{INSTALL}?code=x&returnUrl={0}&returnUrl={0}", encode(&back(&app)));
    assert_eq!(problem_of(&app.browser().get(&twice).await), "bad_request");
    assert!(app.hubspot.calls(Kind::Exchange).iter().all(|call| call.form["code"] == "na1-no-code"));
    assert_eq!(waiting(&app).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attacker_s_code_gives_the_victim_s_browser_nothing() {
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
async fn the_claim_page_says_the_same_to_everybody() {
    let app = started().await;
    let before = app.browser().get("/install/hubspot/claim").await;
    installed(&app, ACME).await;
    let after = app.browser().get("/install/hubspot/claim").await;

    assert_eq!((before.status, &before.body), (200, &after.body));
    assert_eq!(after.cookies(), Vec::<String>::new());
    assert!(!after.body.contains("acme") && !after.body.contains(&ACME.to_string()));
    let told = app.browser().get("/install/hubspot/claim?problem=code_rejected").await;
    assert!(told.body.contains("HubSpot did not take its own code"), "{}", told.body);
    let odd = app.browser().get("/install/hubspot/claim?problem=%3Cscript%3E").await;
    assert!(!odd.body.contains("<script>") && odd.status == 200);
    assert_eq!(app.browser().get("/install/hubspot/claim?hub_id=1/..").await.status, 400);
    let expected = app.browser().get(&format!("/install/hubspot/claim?hub_id={ACME}")).await;
    assert!(expected.body.contains(&format!("hub_id={ACME}\"")), "{}", expected.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_s_backend_claims_an_install_for_one_of_its_users() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;

    let body = json!({"external_user_id": "user_42", "metadata": {"plan": "gold"}});
    let path = format!("{LIST}/{}/claim", install["id"].as_str().unwrap());
    let answer = app.api(&key, Method::POST, &path, Some(body)).await;

    assert_eq!(answer.status, 200, "{}", answer.body);
    let claimed = answer.json();
    assert_eq!((&claimed["portal_id"], &claimed["external_user_id"]), (&json!(ACME), &json!("user_42")));
    let id = claimed["connection_id"].as_str().unwrap();
    let row = format!(
        "SELECT id || ' ' || external_id || ' ' || state || ' ' || metadata FROM token \
         JOIN external_user ON external_user.user_id = token.user_id WHERE id = '{id}'"
    );
    assert_eq!(app.database.text(&row).await, format!("{id} user_42 active {{\"plan\":\"gold\"}}"));
    assert_eq!(app.database.text("SELECT hub_domain FROM token").await, "acme.example");
    assert_eq!((waiting(&app).await, listed(&app, &key).await.len()), (0, 0));
    let kept = "SELECT COUNT(*) FROM install WHERE access_sealed IS NOT NULL OR key_id IS NOT NULL \
                OR refresh_fingerprint IS NOT NULL";
    assert_eq!(app.database.number(kept).await, 0, "its tokens are the connection's alone");
    app.assert_one_job_each().await;
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    app.flows.sweep().await.unwrap();
    assert_eq!((tokens(&app).await, living(&app)), (1, vec![ACME]), "it needs no browser session");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_told_of_an_install_that_waits_and_of_its_connection() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    let told = "SELECT payload FROM event WHERE type = 'install.unclaimed'";
    let told: Value = serde_json::from_str(&app.database.text(told).await).unwrap();
    let data = json!({"install_id": install["id"], "portal_id": ACME, "expires_at": install["expires_at"]});
    assert_eq!(told["data"], data);

    claim(&app, &key, &install, "user_42").await;

    let created = "SELECT payload FROM event WHERE type = 'connection.created'";
    let created: Value = serde_json::from_str(&app.database.text(created).await).unwrap();
    assert_eq!(created["data"]["external_user_id"], "user_42");
    assert_eq!(app.database.number("SELECT COUNT(*) FROM event").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_is_claimed_once_and_asking_again_is_no_error() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    let first = claim(&app, &key, &install, "user_42").await;
    let again = claim(&app, &key, &install, "user_42").await;
    let other = claim(&app, &key, &install, "user_43").await;

    assert_eq!((first.status, again.status, again.json()), (200, 200, first.json()));
    assert_eq!((other.status, other.json()["code"].as_str()), (409, Some("install_claimed")));
    assert_eq!(tokens(&app).await, 1);
    let known = app.database.number("SELECT COUNT(*) FROM external_user").await;
    assert_eq!(known, 1, "whoever is refused is not remembered");
    app.advance(8 * 86_400);
    app.flows.sweep().await.unwrap();
    assert_eq!(claim(&app, &key, &install, "user_42").await.status, 404);
    assert_eq!((tokens(&app).await, app.hubspot.calls(Kind::Revoke).len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_users_for_whom_it_is_claimed_at_once_one_has_it() {
    for _ in 0..5 {
        let app = started().await;
        let (key, install) = with_install(&app, ACME).await;
        let both = tokio::join!(claim(&app, &key, &install, "one"), claim(&app, &key, &install, "two"));
        let mut statuses = [both.0.status, both.1.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{} {}", both.0.body, both.1.body);
        assert_eq!((tokens(&app).await, living(&app)), (1, vec![ACME]));
        app.assert_one_job_each().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_renews_the_connection_that_the_user_has_to_that_account() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    let first = claim(&app, &key, &install, "user_42").await.json();
    let (_, install) = with_install(&app, ACME).await;
    let second = claim(&app, &key, &install, "user_42").await.json();

    assert_eq!(first["connection_id"], second["connection_id"]);
    assert_eq!(app.database.number("SELECT generation FROM token").await, 2);
    assert_eq!(tokens(&app).await, 1);
    settle(&app).await;
    assert_eq!(living(&app), [ACME], "the older grant has ended");
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_long_after_the_install_is_refreshed_at_once() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    app.advance(3 * 86_400);
    app.flows.sweep().await.unwrap();
    assert_eq!(claim(&app, &key, &install, "user_42").await.status, 200);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.database.text("SELECT state FROM token").await, "active");
    let good = format!("SELECT COUNT(*) FROM token WHERE expires_at > {}", app.clock.now().unix_ms());
    assert_eq!(app.database.number(&good).await, 1);
    app.advance(60);
    app.flows.ask_missing_details().await.unwrap();
    assert_eq!(app.database.text("SELECT hub_domain FROM token").await, "acme.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_connect_of_the_account_takes_the_place_of_its_install() {
    let app = started().await;
    installed(&app, ACME).await;
    installed(&app, GLOBEX).await;
    let browser = app.browser();
    let page = browser.get("/install/hubspot/claim").await;
    let (_, rest) = page.body.split_once("href=\"/auth/hubspot/start").expect("a link that connects");
    let link = format!("/auth/hubspot/start{}", rest.split('"').next().unwrap().replace("&amp;", "&"));
    let start = browser.get(&link.replace("&#x2F;", "/")).await;
    let back = app.hubspot.decide(start.location(), approve(ACME)).expect("back");
    let done = browser.get(&back).await;

    assert!(!flow_of(done.location()).is_empty());
    assert_eq!(browser.status().await["portal_id"], ACME);
    assert_eq!((waiting(&app).await, tokens(&app).await), (1, 1), "another account's waits on");
    settle(&app).await;
    assert_eq!(living(&app), [ACME, GLOBEX], "of the two of that account one has ended");
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_hubspot_gives_the_same_refresh_token_nothing_ends_by_a_fresh_connect() {
    let options = Options { share_refresh_token_per_account: true, ..Options::default() };
    let app = TestApp::with_hubspot(&[ON], options).await;
    installed(&app, ACME).await;
    let browser = app.connected(ACME).await;
    settle(&app).await;
    assert_eq!((waiting(&app).await, app.hubspot.calls(Kind::Revoke).len()), (0, 0));

    // And the other way round: one who leaves does not end what waits.
    installed(&app, ACME).await;
    browser.logout().await;
    settle(&app).await;
    assert_eq!((waiting(&app).await, living(&app)), (1, vec![ACME]));
    app.advance(604_800);
    app.flows.sweep().await.unwrap();
    settle(&app).await;
    assert_eq!(living(&app), Vec::<u64>::new(), "now nobody has it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_whom_nothing_came_by_a_claim_yet_may_be_connected_by_anybody_of_it() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    let connect = app.connected(ACME);
    let both = tokio::join!(connect, claim(&app, &key, &install, "user_42"));
    assert!(matches!(both.1.status, 200 | 404), "{}", both.1.body);
    settle(&app).await;
    let here = tokens(&app).await;
    assert_eq!(here, if both.1.status == 200 { 2 } else { 1 });
    assert_eq!(living(&app).len() as i64, here, "what is connected here lives there, and nothing else");
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_claims_ends_after_a_week_and_stays_installed() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    app.advance(604_799);
    app.flows.sweep().await.unwrap();
    assert_eq!(waiting(&app).await, 1);

    app.advance(1);
    assert_eq!(claim(&app, &key, &install, "user_42").await.status, 404);
    app.flows.sweep().await.unwrap();
    app.flows.revoke_due().await.unwrap();

    assert_eq!((waiting(&app).await, living(&app)), (0, vec![]));
    assert_eq!((app.hubspot.calls(Kind::Revoke).len(), app.hubspot.calls(Kind::Uninstall).len()), (1, 0));
    assert_eq!(app.database.number("SELECT COUNT(*) FROM install_attempt").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hubspot_may_bring_the_same_code_more_than_once() {
    let app = started().await;
    let (code, back) = (code(&app, ACME), back(&app));
    let url = with(INSTALL, &[("code", &code), ("returnUrl", &back)]);
    let (one, two) = (app.browser(), app.browser());
    let both = tokio::join!(one.get(&url), two.get(&url));
    let later = one.get(&url).await;
    for answer in [both.0, both.1, later] {
        assert_eq!((answer.status, answer.location()), (302, back.as_str()));
    }
    assert_eq!((exchanges(&app), waiting(&app).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_install_of_an_account_takes_the_place_of_the_first() {
    let app = started().await;
    let (key, first) = with_install(&app, ACME).await;
    let (_, second) = with_install(&app, ACME).await;
    assert_ne!(first["id"], second["id"]);
    assert_eq!(claim(&app, &key, &first, "user_42").await.json()["code"], "install_unknown");
    settle(&app).await;
    assert_eq!((waiting(&app).await, living(&app)), (1, vec![ACME]));
    assert_eq!(claim(&app, &key, &second, "user_42").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_at_hubspot_is_told_and_leaves_nothing_behind() {
    let app = started().await;
    let back = back(&app);
    app.hubspot.script(Rule::once(Kind::Exchange, Fault::CloseBeforeAnswer));
    let url = with(INSTALL, &[("code", &code(&app, ACME)), ("returnUrl", &back)]);
    let answer = app.browser().get(&url).await;
    assert_eq!(answer.status, 303);
    assert!(
        answer.location().starts_with("/install/hubspot/claim?problem=provider_"),
        "{}",
        answer.location()
    );
    let shown = app.browser().get(answer.location().split('#').next().unwrap()).await;
    assert!(data(&shown, "code").starts_with("provider_"), "{}", shown.body);
    assert_eq!(exchanges(&app), 1, "a code that was sent is not sent again");

    let state = state_of(&app, &app.browser()).await;
    let expired = finalize(&app, INSTALL, "na1-not-a-code", &state).await;
    assert_eq!((expired.status, expired.location()), (302, back.as_str()));
    for pairs in [
        &[("error", "access_denied"), ("returnUrl", back.as_str())][..],
        &[("returnUrl", &back)],
        &[("step", "authorize")],
        &[("step", "finalize"), ("code", "x")],
        &[("step", "other"), ("code", "x"), ("returnUrl", &back)],
        &[("code", "x"), ("state", "y"), ("returnUrl", &back)],
        &[("code", ""), ("returnUrl", &back)],
        &[],
    ] {
        let answer = app.browser().get(&with(INSTALL, pairs)).await;
        assert_eq!(answer.status, 303, "{pairs:?}");
        assert!(answer.location().starts_with("/install/hubspot/claim?problem="), "{pairs:?}");
    }
    assert_eq!((exchanges(&app), waiting(&app).await, living(&app)), (2, 0, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_a_script_or_a_prefetch_installs_nothing() {
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

#[tokio::test(flavor = "multi_thread")]
async fn one_address_may_not_make_us_exchange_codes_without_end() {
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
async fn an_account_that_grants_too_little_is_refused_where_all_is_required() {
    let wants = [
        ON,
        ("HUBSPOT_REQUIRE_ALL_SCOPES", "true"),
        ("HUBSPOT_SCOPES", "oauth crm.objects.contacts.read tickets"),
    ];
    let app = TestApp::with(&wants).await;
    let answer = installed(&app, GLOBEX).await;
    assert_eq!((answer.status, problem_of(&answer).as_str()), (303, "scopes_missing"));
    assert_eq!((waiting(&app).await, living(&app)), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_are_for_keys_that_may_say_who_connects() {
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
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("invalid_json")), "{body}");
    }
    for id in ["00000000-0000-4000-8000-000000000000", "x", "..%2f"] {
        let path = format!("{LIST}/{id}/claim");
        let answer = app.api(&key, Method::POST, &path, Some(json!({"external_user_id": "a"}))).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("install_unknown")), "{id}");
    }
    for query in ["portal_id=x", "portal_id=-1", "after=x", "other=1"] {
        let answer = app.api(&key, Method::GET, &format!("{LIST}?{query}"), None).await;
        assert_eq!(answer.status, 400, "{query}");
    }
    assert_eq!((waiting(&app).await, tokens(&app).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_goes_page_by_page_and_by_account() {
    let app = started().await;
    for number in 0..103 {
        installed(&app, 1000 + number).await;
    }
    let key = app.api_key("sessions:write").await;
    let first = app.api(&key, Method::GET, LIST, None).await.json();
    assert_eq!(first["installs"].as_array().unwrap().len(), 100);
    let after = format!("{LIST}?after={}", first["next"].as_str().unwrap());
    let second = app.api(&key, Method::GET, &after, None).await.json();
    assert_eq!((second["installs"].as_array().unwrap().len(), &second["next"]), (3, &Value::Null));
    let one = app.api(&key, Method::GET, &format!("{LIST}?portal_id=1042"), None).await.json();
    assert_eq!(
        (&one["installs"][0]["portal_id"], one["installs"].as_array().unwrap().len()),
        (&json!(1042), 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_its_key_is_missing_an_install_waits_and_one_that_was_tampered_with_ends() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    let key_id = app.database.text("SELECT key_id FROM install").await;
    app.database.execute("UPDATE install SET key_id = 'gone'").await;
    let refused = claim(&app, &key, &install, "user_42").await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (500, Some("unknown_key")));
    app.database.execute(&format!("UPDATE install SET key_id = '{key_id}'")).await;
    app.database.execute("UPDATE install SET access_sealed = refresh_sealed").await;

    let refused = claim(&app, &key, &install, "user_42").await;

    assert_eq!((refused.status, refused.json()["code"].as_str()), (500, Some("integrity_error")));
    assert_eq!((waiting(&app).await, tokens(&app).await), (0, 0));
    settle(&app).await;
    assert_eq!(living(&app), Vec::<u64>::new(), "its refresh token is good, and ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_moves_to_a_new_key_with_everything_else() {
    let app = TestApp::with(&[&[ON], LONG_SESSIONS].concat()).await;
    let (key, install) = with_install(&app, ACME).await;
    let old = app.variables.iter().find(|(name, _)| name == "ENCRYPTION_KEYS").unwrap().1.clone();
    let new = hubspot_connect::keyring::Keyring::generate();
    let app = app.restarted(&[("ENCRYPTION_KEYS", &format!("{},{old}", new.expose()))]).await;
    let rotated = run(&["keys", "rotate"], &app.variables);
    assert_eq!(rotated.code, Some(0), "{}", rotated.stderr);
    let app = app.restarted(&[("ENCRYPTION_KEYS", new.expose())]).await;
    assert_eq!(claim(&app, &key, &install, "user_42").await.status, 200);
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_code_nor_a_state_nor_a_token_is_in_the_log() {
    let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
    let database = TestDatabase::fresh().await;
    let process = Process::serve(&app::settle(&hubspot, &database, &[ON, ("LOG_LEVEL", "trace")]));
    let browser = Browser::new(&process.base);
    let back = format!("{}/marketplace/installed", hubspot.base_url());
    let first = browser.get(&with(INSTALL, &[("step", "authorize"), ("returnUrl", &back)])).await;
    let state = parameter(first.location(), "state");
    let codes = [ACME, GLOBEX].map(|hub_id| hubspot.install(&format!("{}{INSTALL}", process.base), hub_id));
    for code in &codes {
        // The second time the state is good no more.
        let pairs = [("step", "finalize"), ("code", code), ("state", &state), ("returnUrl", &back)];
        assert_eq!(browser.get(&with(INSTALL, &pairs)).await.location(), back);
    }
    let log = process.log();
    assert!(log.contains("an install from the marketplace waits to be claimed"), "{log}");
    assert!(log.contains("an install from the marketplace has failed"), "{log}");
    let token = &hubspot.grants()[0].refresh_token;
    for secret in [&state, &codes[0], &codes[1], token] {
        assert!(!log.contains(secret.as_str()), "{secret} is in the log");
    }
}
