//! Keys and sealed columns: what does not fit is refused or frozen, nothing is deleted, and the right key heals.

use hubspot_connect::app::{App, StartupError};
use hubspot_connect::flows::KeyCheckError;
use hubspot_connect::keyring::Keyring;
use serde_json::json;

use crate::harness::TestApp;
use crate::harness::app::{ACME, GLOBEX, HOST, LONG_SESSIONS, approve};
use crate::harness::browser::Browser;
use crate::harness::process::value;

fn new_key() -> String {
    Keyring::generate().expose().to_owned()
}

/// Stops the service and tries to start it with these keys.
async fn start_with(app: TestApp, keys: &str) -> (Result<App, StartupError>, TestApp) {
    let (database, variables, hubspot, clock) = app.stopped().await;
    let mut changed = variables.clone();
    changed.push(("ENCRYPTION_KEYS".to_owned(), keys.to_owned()));
    let started = TestApp::build(&changed, clock.clone()).await;
    if let Err(why) = &started {
        assert!(!why.to_string().contains(keys), "a key is never shown");
    } else {
        panic!("it starts with the wrong keys");
    }
    (started, TestApp::again(hubspot, database, variables, clock).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_refused_at_start_and_the_right_one_heals_everything() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    app.connected(GLOBEX).await;
    let key_id = app.database.text("SELECT MIN(key_id) FROM token").await;
    let before = fingerprint(&app).await;
    let (started, app) = start_with(app, &new_key()).await;
    let why = started.unwrap_err();
    let text = why.to_string();
    assert!(matches!(why, StartupError::Keys(KeyCheckError::Missing { rows: 2, .. })), "{text}");
    assert!(text.contains(&key_id) && text.contains("ENCRYPTION_KEYS"), "{text}");
    assert_eq!(fingerprint(&app).await, before, "nothing was changed");
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 2);
    assert_eq!(browser.status().await["state"], "active");
}

/// Every token as it is stored.
async fn fingerprint(app: &TestApp) -> String {
    let sql = "SELECT MIN(access_sealed) || MAX(access_sealed) || MIN(refresh_sealed) || MAX(refresh_sealed) || \
               MIN(state) || MAX(state) || COUNT(*) FROM token";
    app.database.text(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_key_is_needed_as_long_as_a_row_is_sealed_under_it() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    let old = value(&app.variables, "ENCRYPTION_KEYS");
    let old_id = app.database.text("SELECT key_id FROM token").await;
    let new = new_key();
    let app = app.restarted(&[("ENCRYPTION_KEYS", &format!("{new},{old}"))]).await;
    app.connected(GLOBEX).await;
    let (started, app) = start_with(app, &new).await;
    let text = started.unwrap_err().to_string();
    assert!(text.contains(&old_id) && text.contains("1 stored"), "{text}");
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 2);
    let under_old = format!("SELECT COUNT(*) FROM token WHERE key_id = '{old_id}'");
    assert_eq!(app.database.number(&under_old).await, 0, "a refresh seals under the newest key");
    let app = app.restarted(&[("ENCRYPTION_KEYS", &new)]).await;
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 2);
    assert_eq!(browser.status().await["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_waits_keeps_its_key_needed() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    app.hubspot.script(fake_hubspot::Rule::always(
        fake_hubspot::Kind::Revoke,
        fake_hubspot::Fault::CloseBeforeAnswer,
    ));
    let id = browser.status().await["connections"][0]["id"].clone();
    browser.disconnect(id.as_str().unwrap()).await;
    let (started, _app) = start_with(app, &new_key()).await;
    assert!(matches!(started, Err(StartupError::Keys(KeyCheckError::Missing { rows: 1, .. }))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_does_not_open_its_check_text_is_refused() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    let sealed = app.database.text("SELECT check_sealed FROM crypto_meta").await;
    let other = flipped(&sealed, 40);
    app.database.execute(&format!("UPDATE crypto_meta SET check_sealed = '{other}'")).await;
    let keys = value(&app.variables, "ENCRYPTION_KEYS");
    let (database, variables, _hubspot, clock) = app.stopped().await;
    let why = TestApp::build(&variables, clock).await.unwrap_err();
    assert!(matches!(why, StartupError::Keys(KeyCheckError::Wrong(_))), "{why}");
    assert!(!why.to_string().contains(&keys));
    assert_eq!(database.text("SELECT check_sealed FROM crypto_meta").await, other);
}

/// The same text with another character at one place.
fn flipped(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

/// Two connections of one person, the first of which is going to be harmed.
async fn victim_and_neighbour(app: &TestApp) -> Browser {
    let browser = app.connected(ACME).await;
    browser.connect(app, Some(HOST), approve(GLOBEX)).await;
    browser
}

async fn assert_only_the_victim_is_frozen(app: &TestApp, browser: &Browser, what: &str) {
    let status = browser.status().await;
    for connection in status["connections"].as_array().unwrap() {
        let harmed = connection["portal_id"] == ACME;
        let expected = if harmed { "integrity_error" } else { "active" };
        assert_eq!(connection["state"], expected, "{what}: {status}");
        assert_eq!(connection["seconds_until_refresh"].is_null(), harmed, "{what}");
    }
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_was_tampered_with_freezes_its_connection_alone() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = victim_and_neighbour(&app).await;
    let read = |column: &str, hub: u64| format!("SELECT {column} FROM token WHERE portal_id = {hub}");
    let mut calls = 0;
    for what in ["a flipped byte", "a cut", "nothing", "another row's", "an older one"] {
        let mine = app.database.text(&read("refresh_sealed", ACME)).await;
        let harmed = match what {
            "a flipped byte" => flipped(&mine, mine.len() / 2),
            "a cut" => mine[..mine.len() - 8].to_owned(),
            "nothing" => String::new(),
            "another row's" => app.database.text(&read("refresh_sealed", GLOBEX)).await,
            _ => {
                // Bring the row to a newer generation, then paste what it had before.
                app.advance(1261);
                calls += app.refresh_due().await;
                mine.clone()
            }
        };
        let paste = format!("UPDATE token SET refresh_sealed = '{harmed}' WHERE portal_id = {ACME}");
        app.database.execute(&paste).await;
        app.advance(1261);
        app.refresh_due().await;
        calls += 1;
        assert_only_the_victim_is_frozen(&app, &browser, what).await;
        let kept = app.database.text(&read("refresh_sealed", ACME)).await;
        assert_eq!(kept, harmed, "{what}: nothing is deleted");
        app.advance(1261);
        calls += app.refresh_due().await;
        let app_calls = app.hubspot.calls(fake_hubspot::Kind::Refresh);
        assert_eq!(app_calls.len(), calls, "{what}: HubSpot hears of the good one only");
        let done = browser.connect(&app, Some(HOST), approve(ACME)).await;
        assert_eq!(done["message"]["type"], "hubspot_auth_success", "{what}: the person heals it");
        browser.connect(&app, Some(HOST), approve(GLOBEX)).await;
        let status = browser.status().await;
        assert_eq!(status["connections"].as_array().unwrap().len(), 2, "{what}");
        assert_eq!(app.database.number("SELECT COUNT(*) FROM token WHERE state = 'active'").await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rows_whose_ciphertexts_were_swapped_never_give_each_others_token() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = victim_and_neighbour(&app).await;
    for column in ["access_sealed", "refresh_sealed"] {
        let of = |hub: u64| format!("SELECT {column} FROM token WHERE portal_id = {hub}");
        let (one, other) = (app.database.text(&of(ACME)).await, app.database.text(&of(GLOBEX)).await);
        for (text, hub) in [(other, ACME), (one, GLOBEX)] {
            let paste = format!("UPDATE token SET {column} = '{text}' WHERE portal_id = {hub}");
            app.database.execute(&paste).await;
        }
    }
    app.advance(1261);
    app.refresh_due().await;
    let status = browser.status().await;
    for connection in status["connections"].as_array().unwrap() {
        assert_eq!(connection["state"], "integrity_error");
    }
    assert_eq!(app.hubspot.calls(fake_hubspot::Kind::Refresh).len(), 0);
    let metrics = app.browser().get(&format!("{}/metrics", app.admin)).await.body;
    let line = metrics.lines().find(|line| line.contains("integrity") && !line.starts_with('#'));
    assert!(line.is_some_and(|line| line.ends_with(" 2")), "an alert can be made of it: {metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_that_was_tampered_with_is_not_handed_out() {
    for (harm, what) in [
        ("access_sealed = ''", "nothing"),
        ("access_sealed = refresh_sealed", "the refresh token in its place"),
    ] {
        let app = TestApp::start().await;
        let browser = app.browser();
        let callback = browser.come_back(&app, Some(HOST), approve(ACME)).await;
        app.database.execute(&format!("UPDATE token SET {harm}")).await;
        let done = browser.handoff(callback.location()).await.json();
        assert_eq!(done["message"].get("access_token"), None, "{what}");
        app.advance(1261);
        assert_eq!(app.refresh_due().await, 1);
        assert_eq!(browser.status().await["state"], "active", "{what}: a new one takes its place");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_access_token_is_noticed_where_it_is_needed() {
    let app = TestApp::start().await;
    app.hubspot.script(fake_hubspot::Rule::always(
        fake_hubspot::Kind::Introspect,
        fake_hubspot::Fault::CloseBeforeAnswer,
    ));
    let browser = app.connected(ACME).await;
    app.database.execute("UPDATE token SET access_sealed = 'x'").await;
    app.advance(31);
    app.flows.ask_missing_details().await.unwrap();
    assert_eq!(browser.status().await["state"], "integrity_error");
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_revocation_harms_nothing_else() {
    let app = TestApp::start().await;
    let browser = victim_and_neighbour(&app).await;
    let harm = format!("UPDATE token SET refresh_sealed = 'x' WHERE portal_id = {ACME}");
    app.database.execute(&harm).await;
    let status = browser.status().await;
    let connections = status["connections"].as_array().unwrap().iter();
    let mut victims = connections.filter(|one| one["portal_id"] == ACME);
    let id = victims.next().unwrap()["id"].as_str().unwrap().to_owned();
    let answer = browser.disconnect(&id).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["revoked"], json!(false));
    app.advance(1261);
    app.flows.revoke_due().await.unwrap();
    assert_eq!(app.hubspot.calls(fake_hubspot::Kind::Revoke).len(), 0);
    assert_eq!(app.database.number("SELECT COUNT(*) FROM revocation_job").await, 0);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_verifier_fails_its_own_connect_alone() {
    let app = TestApp::with(&[("HUBSPOT_PKCE", "s256")]).await;
    let browser = app.browser();
    let authorize = browser.start(Some(HOST)).await;
    app.database.execute("UPDATE auth_request SET pkce_sealed = 'x'").await;
    let back = app.hubspot.decide(&authorize, approve(ACME)).unwrap();
    let callback = browser.get(&back).await;
    let done = browser.handoff(callback.location()).await.json();
    assert_eq!(done["message"]["error"]["code"], "integrity_error");
    assert_eq!(app.hubspot.calls(fake_hubspot::Kind::Exchange).len(), 0);
    let done = browser.connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(done["message"]["type"], "hubspot_auth_success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_column_cannot_be_null() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    let db = app.database.connect().await;
    for column in ["access_sealed", "refresh_sealed", "key_id", "refresh_fingerprint"] {
        let sql = format!("UPDATE token SET {column} = NULL");
        let done = sea_orm::ConnectionTrait::execute_unprepared(&db, &sql).await;
        assert!(done.is_err(), "{column}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_missing_while_it_runs_is_waited_for() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let key_id = app.database.text("SELECT key_id FROM token").await;
    app.database.execute("UPDATE token SET key_id = '00000000'").await;
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.database.text("SELECT last_error FROM token").await, "unknown_key");
    assert_eq!(browser.status().await["state"], "active");
    app.assert_one_job_each().await;
    app.database.execute(&format!("UPDATE token SET key_id = '{key_id}'")).await;
    app.advance(67);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.hubspot.calls(fake_hubspot::Kind::Refresh).len(), 1);
    assert_eq!(app.database.number("SELECT generation FROM token").await, 2);
}
