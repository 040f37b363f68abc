//! Stored data: useless to a reader of the database, and useless when moved.

use actix_web::cookie::{Cookie, CookieJar, Key};
use fake_hubspot::{Kind, Options};
use hubspot_connect::domain::secret::Secret;
use hubspot_connect::keyring::Keyring;

use crate::harness::app::{ACME, GLOBEX, HOST, approve};
use crate::harness::browser::parameter;
use crate::harness::{Browser, TestApp, sql};

fn variable(app: &TestApp, name: &str) -> String {
    let found = app.variables.iter().find(|(known, _)| known == name);
    found.expect("a variable").1.clone()
}

/// Returns the key inside a session's cookie.
fn session_key(app: &TestApp, browser: &Browser) -> String {
    let (name, value) = browser.cookie("__Host-hsc_sid").expect("a session");
    let secret = Secret::new(variable(app, "APP_SECRET"));
    let key = Key::from(&secret.derive::<64>("session cookie")[..]);
    let mut jar = CookieJar::new();
    let line = format!("{name}={value}");
    jar.add_original(Cookie::parse_encoded(line).expect("a cookie"));
    let opened = jar.private(&key).get(&name).expect("opens");
    opened.value().to_owned()
}

fn contains(all: &[u8], part: &str) -> bool {
    all.windows(part.len()).any(|window| window == part.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_contains_no_secret_in_plaintext() {
    let options = Options { rotate_refresh_tokens: true, ..Options::default() };
    let app = TestApp::with_hubspot(&[("HUBSPOT_PKCE", "s256")], options).await;
    let browser = app.browser();
    let authorize = browser.start(Some(HOST)).await;
    let back = app.hubspot.decide(&authorize, approve(ACME)).expect("back");
    let unfinished = app.browser();
    let state_of_unfinished = parameter(&unfinished.start(None).await, "state");
    let done = browser.get(&back).await;
    let message = browser.handoff(done.location()).await.json()["message"].clone();
    let first_refresh = app.hubspot.current_refresh_token(ACME).expect("a token");
    app.advance(1261);
    app.refresh_due().await;
    let mut secrets = vec![
        ("state", parameter(&back, "state")),
        ("state of an unfinished attempt", state_of_unfinished),
        ("code", parameter(&back, "code")),
        ("verifier", app.hubspot.calls(Kind::Exchange)[0].form["code_verifier"].clone()),
        ("access token", message["access_token"].as_str().expect("a token").to_owned()),
        ("first refresh token", first_refresh),
        ("second refresh token", app.hubspot.current_refresh_token(ACME).expect("a token")),
        ("session key", session_key(&app, &browser)),
        ("form token", browser.csrf().await),
        ("client secret", variable(&app, "HUBSPOT_CLIENT_SECRET")),
        ("application secret", variable(&app, "APP_SECRET")),
        ("encryption key", variable(&app, "ENCRYPTION_KEYS")),
    ];
    for browser in [&browser, &unfinished] {
        let cookies = browser.cookies.lock().unwrap().clone();
        let values = cookies.values();
        secrets.extend(values.map(|value| ("cookie", value.split('.').next_back().unwrap().to_owned())));
    }
    for call in app.hubspot.calls(Kind::Introspect) {
        secrets.push(("introspected token", call.form["token"].clone()));
    }

    let all = app.database.dump().await;

    assert!(contains(&all, "acme.example"), "the dump shows what is stored");
    for (what, secret) in secrets {
        assert!(secret.len() >= 16, "{what}");
        assert!(!contains(&all, &secret), "the {what} is stored in the clear");
    }
}

async fn connection_id(browser: &Browser) -> String {
    let status = browser.status().await;
    status["connections"][0]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_tokens_moved_to_another_connection_are_detected_and_not_used() {
    let app = TestApp::start().await;
    let (first, second) = (app.connected(ACME).await, app.connected(GLOBEX).await);
    app.database.swap_tokens(ACME, GLOBEX).await;
    app.advance(1261);

    app.refresh_due().await;

    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 0);
    for browser in [&first, &second] {
        assert_eq!(browser.status().await["status"], "integrity_error");
        let page = browser.get("/").await;
        assert!(page.body.contains("data-status=\"integrity_error\""), "{}", page.body);
    }
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_tokens_moved_to_another_connection_are_not_returned() {
    let app = TestApp::start().await;
    let victim = app.browser();
    let done = victim.connect(&app, Some(HOST), approve(ACME)).await;
    let of_victim = done["message"]["access_token"].as_str().expect("a token").to_owned();
    let attacker = app.browser();
    let done = attacker.come_back(&app, Some(HOST), approve(GLOBEX)).await;
    app.database.swap_tokens(ACME, GLOBEX).await;

    let answer = attacker.handoff(done.location()).await;

    assert!(!answer.body.contains(&of_victim), "{}", answer.body);
    assert!(answer.json()["message"].get("access_token").is_none(), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_restored_from_an_older_generation_are_detected_and_not_used() {
    let options = Options { rotate_refresh_tokens: true, ..Options::default() };
    let app = TestApp::with_hubspot(&[("SESSION_IDLE_SECONDS", "86400")], options).await;
    let browser = app.connected(ACME).await;
    let older = app.database.column(sql::REFRESH_TOKEN).await;
    app.advance(1261);
    app.refresh_due().await;
    app.database.set_column(sql::REFRESH_TOKEN, &older).await;
    app.advance(1261);

    app.refresh_due().await;

    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 1);
    assert_eq!(browser.status().await["status"], "integrity_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn access_tokens_stored_as_refresh_tokens_are_detected_and_not_used() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let access = app.database.column(sql::ACCESS_TOKEN).await;
    app.database.set_column(sql::REFRESH_TOKEN, &access).await;
    app.advance(1261);

    app.refresh_due().await;

    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 0);
    assert_eq!(browser.status().await["status"], "integrity_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_tokens_are_not_revoked_when_their_connection_ends() {
    let app = TestApp::start().await;
    let (first, _second) = (app.connected(ACME).await, app.connected(GLOBEX).await);
    let id = connection_id(&first).await;
    app.database.swap_tokens(ACME, GLOBEX).await;

    let answer = first.disconnect(&id).await;

    assert_eq!((answer.status, &answer.json()["revocation"]), (200, &"skipped".into()));
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 0);
    assert!(app.hubspot.current_refresh_token(GLOBEX).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn users_can_reconnect_after_stored_tokens_are_damaged() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let id = connection_id(&browser).await;
    app.database.set_column(sql::REFRESH_TOKEN, "damaged").await;
    app.advance(1261);
    app.refresh_due().await;
    assert_eq!(browser.status().await["status"], "integrity_error");

    browser.connect(&app, Some(HOST), approve(ACME)).await;

    let status = browser.status().await;
    assert_eq!((&status["status"], &status["connections"][0]["id"]), (&"active".into(), &id.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_encryption_key_stops_the_start_and_loses_nothing() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    let sealed = app.database.column(sql::REFRESH_TOKEN).await;
    let key_id = app.database.column(sql::KEY_ID).await;
    let (database, variables, _hubspot, clock) = app.stopped().await;
    let with_keys = |keys: String| -> Vec<(String, String)> {
        let mut changed = variables.clone();
        changed.retain(|(name, _)| name != "ENCRYPTION_KEYS");
        changed.push(("ENCRYPTION_KEYS".to_owned(), keys));
        changed
    };
    let old = with_keys(String::new());
    assert_eq!(old.len(), variables.len());
    let (_, old_key) = variables.iter().find(|(name, _)| name == "ENCRYPTION_KEYS").expect("keys");
    let new_key = Keyring::generate();

    let refused = TestApp::build(&with_keys(new_key.expose().to_owned()), clock.clone()).await;

    let why = refused.expect_err("does not start").to_string();
    assert!(why.contains("ENCRYPTION_KEYS") && why.contains(&key_id), "{why}");
    assert!(!why.contains(new_key.expose()) && !why.contains(old_key.as_str()), "{why}");
    assert_eq!(database.column(sql::REFRESH_TOKEN).await, sealed);
    let both = format!("{},{old_key}", new_key.expose());
    TestApp::build(&with_keys(both), clock).await.expect("starts with both");
}
