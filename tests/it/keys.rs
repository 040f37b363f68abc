//! Encryption keys and encrypted columns: wrong ones are refused or suspend a connection, nothing is deleted, and the
//! right key recovers all.

use std::collections::BTreeSet;

use fake_hubspot::{Fault, Kind, Rule};
use hubspot_connect::app::{App, StartupError};
use hubspot_connect::domain::secret::Secret;
use hubspot_connect::keyring::Keyring;
use hubspot_connect::services::{KeyCheckError, reseal_all};
use hubspot_connect::store::SealedTable;

use crate::harness::app::{ACME, GLOBEX, HOST, INITECH, LONG_SESSIONS, approve};
use crate::harness::browser::Browser;
use crate::harness::process::{run, value};
use crate::harness::{TestApp, sql};

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
async fn wrong_encryption_keys_are_refused_at_start_and_the_right_key_recovers() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    app.connected(GLOBEX).await;
    let key_id = app.database.column(sql::KEY_ID).await;
    let before = fingerprint(&app).await;
    let (started, app) = start_with(app, &new_key()).await;
    let why = started.unwrap_err();
    let text = why.to_string();
    assert!(matches!(why, StartupError::Keys(KeyCheckError::Missing { rows: 2, .. })), "{text}");
    assert!(text.contains(&key_id) && text.contains("ENCRYPTION_KEYS"), "{text}");
    assert_eq!(fingerprint(&app).await, before, "nothing was changed");
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 2);
    assert_eq!(browser.status().await["status"], "active");
}

/// Returns every token as stored.
async fn fingerprint(app: &TestApp) -> String {
    let all = "MIN(access_sealed) || MAX(access_sealed) || MIN(refresh_sealed) || MAX(refresh_sealed) || \
               MIN(state) || MAX(state) || COUNT(*)";
    app.database.text_in(sql::CONNECTIONS, all).await
}

#[tokio::test(flavor = "multi_thread")]
async fn older_keys_are_required_while_rows_use_them() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    let old = value(&app.variables, "ENCRYPTION_KEYS");
    let old_id = app.database.column(sql::KEY_ID).await;
    let new = new_key();
    let app = app.restarted(&[("ENCRYPTION_KEYS", &format!("{new},{old}"))]).await;
    app.connected(GLOBEX).await;
    let (started, app) = start_with(app, &new).await;
    let text = started.unwrap_err().to_string();
    assert!(text.contains(&old_id) && text.contains("1 stored"), "{text}");
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 2);
    let under_old = format!("{} = '{old_id}'", sql::KEY_ID);
    assert_eq!(app.database.connections(&under_old).await, 0, "a refresh seals under the newest key");
    let app = app.restarted(&[("ENCRYPTION_KEYS", &new)]).await;
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 2);
    assert_eq!(browser.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn older_keys_are_required_while_queued_revocations_use_them() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    app.hubspot.script(Rule::always(Kind::Revoke, Fault::CloseBeforeAnswer));
    let id = browser.status().await["connections"][0]["id"].clone();
    browser.disconnect(id.as_str().unwrap()).await;
    let (started, _app) = start_with(app, &new_key()).await;
    assert!(matches!(started, Err(StartupError::Keys(KeyCheckError::Missing { rows: 1, .. }))));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_do_not_decrypt_their_check_text_are_refused() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    let sealed = app.database.text_in(sql::KEY_CHECK, "check_sealed").await;
    let other = flipped(&sealed, 40);
    app.database.update(sql::KEY_CHECK, &format!("check_sealed = '{other}'")).await;
    let keys = value(&app.variables, "ENCRYPTION_KEYS");
    let (database, variables, _hubspot, clock) = app.stopped().await;
    let why = TestApp::build(&variables, clock).await.unwrap_err();
    assert!(matches!(why, StartupError::Keys(KeyCheckError::Wrong(_))), "{why}");
    assert!(!why.to_string().contains(&keys));
    assert_eq!(database.text_in(sql::KEY_CHECK, "check_sealed").await, other);
}

/// Returns the text with another character at one place.
fn flipped(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

/// Creates two connections of one user, the first of which the test damages.
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
        assert_eq!(connection["status"], expected, "{what}: {status}");
        assert_eq!(connection["seconds_until_refresh"].is_null(), harmed, "{what}");
    }
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tampered_refresh_tokens_suspend_only_their_connection() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = victim_and_neighbour(&app).await;
    let mut calls = 0;
    for what in ["a flipped byte", "a cut", "nothing", "another row's", "an older one"] {
        let mine = app.database.column_of(ACME, sql::REFRESH_TOKEN).await;
        let harmed = match what {
            "a flipped byte" => flipped(&mine, mine.len() / 2),
            "a cut" => mine[..mine.len() - 8].to_owned(),
            "nothing" => String::new(),
            "another row's" => app.database.column_of(GLOBEX, sql::REFRESH_TOKEN).await,
            _ => {
                // Refresh to a newer generation, then restore the older ciphertext.
                app.advance(1261);
                calls += app.refresh_due().await;
                mine.clone()
            }
        };
        app.database.set_column_of(ACME, sql::REFRESH_TOKEN, &harmed).await;
        app.advance(1261);
        app.refresh_due().await;
        calls += 1;
        assert_only_the_victim_is_frozen(&app, &browser, what).await;
        let kept = app.database.column_of(ACME, sql::REFRESH_TOKEN).await;
        assert_eq!(kept, harmed, "{what}: nothing is deleted");
        app.advance(1261);
        calls += app.refresh_due().await;
        let app_calls = app.hubspot.calls(Kind::Refresh);
        assert_eq!(app_calls.len(), calls, "{what}: HubSpot hears of the good one only");
        let done = browser.connect(&app, Some(HOST), approve(ACME)).await;
        assert_eq!(done["message"]["type"], "hubspot_auth_success", "{what}: the user reconnects");
        browser.connect(&app, Some(HOST), approve(GLOBEX)).await;
        let status = browser.status().await;
        assert_eq!(status["connections"].as_array().unwrap().len(), 2, "{what}");
        assert_eq!(app.database.connections(sql::ACTIVE).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_ciphertexts_never_return_the_other_token() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = victim_and_neighbour(&app).await;
    app.database.swap_tokens(ACME, GLOBEX).await;
    app.advance(1261);
    app.refresh_due().await;
    let status = browser.status().await;
    for connection in status["connections"].as_array().unwrap() {
        assert_eq!(connection["status"], "integrity_error");
    }
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 0);
    let metrics = app.browser().get(&format!("{}/metrics", app.admin)).await.body;
    let line = metrics.lines().find(|line| line.starts_with("hubspot_connect_integrity_errors_total"));
    assert!(line.is_some_and(|line| line.ends_with(" 2")), "an alert can be made of it: {metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tampered_access_tokens_are_not_returned() {
    for (harm, what) in [
        ("access_sealed = ''", "nothing"),
        ("access_sealed = refresh_sealed", "the refresh token in its place"),
    ] {
        let app = TestApp::start().await;
        let browser = app.browser();
        let callback = browser.come_back(&app, Some(HOST), approve(ACME)).await;
        app.database.update(sql::CONNECTIONS, harm).await;
        let done = browser.handoff(callback.location()).await.json();
        assert_eq!(done["message"].get("access_token"), None, "{what}");
        app.advance(1261);
        assert_eq!(app.refresh_due().await, 1);
        assert_eq!(browser.status().await["status"], "active", "{what}: a new one takes its place");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_access_tokens_are_detected_when_used() {
    let app = TestApp::start().await;
    app.hubspot.script(Rule::always(Kind::Introspect, Fault::CloseBeforeAnswer));
    let browser = app.connected(ACME).await;
    app.database.set_column(sql::ACCESS_TOKEN, "x").await;
    app.advance(31);
    app.services.connections.details.fetch_missing_details().await.unwrap();
    assert_eq!(browser.status().await["status"], "integrity_error");
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_revocations_affect_nothing_else() {
    let app = TestApp::start().await;
    let browser = victim_and_neighbour(&app).await;
    app.database.set_column_of(ACME, sql::REFRESH_TOKEN, "x").await;
    let status = browser.status().await;
    let connections = status["connections"].as_array().unwrap().iter();
    let mut victims = connections.filter(|one| one["portal_id"] == ACME);
    let id = victims.next().unwrap()["id"].as_str().unwrap().to_owned();
    let answer = browser.disconnect(&id).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["revocation"], "skipped");
    app.advance(1261);
    app.services.connections.disconnects.revoke_due().await.unwrap();
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 0);
    assert_eq!(app.database.count(sql::REVOCATION_JOBS).await, 0);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_verifiers_fail_only_their_flow() {
    let app = TestApp::with(&[("HUBSPOT_PKCE", "s256")]).await;
    let browser = app.browser();
    let authorize = browser.start(Some(HOST)).await;
    app.database.update(sql::AUTH_REQUESTS, "pkce_sealed = 'x'").await;
    let back = app.hubspot.decide(&authorize, approve(ACME)).unwrap();
    let callback = browser.get(&back).await;
    let done = browser.handoff(callback.location()).await.json();
    assert_eq!(done["message"]["error"]["code"], "integrity_error");
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 0);
    let done = browser.connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(done["message"]["type"], "hubspot_auth_success");
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_columns_cannot_be_null() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    let db = app.database.connect().await;
    for column in [sql::ACCESS_TOKEN, sql::REFRESH_TOKEN, sql::KEY_ID, "refresh_fingerprint"] {
        let sql = format!("UPDATE {} SET {column} = NULL", sql::CONNECTIONS);
        let done = sea_orm::ConnectionTrait::execute_unprepared(&db, &sql).await;
        assert!(done.is_err(), "{column}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_missing_key_wait_until_it_is_configured() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let key_id = app.database.column(sql::KEY_ID).await;
    app.database.set_column(sql::KEY_ID, "00000000").await;
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.database.column(sql::LAST_ERROR).await, "unknown_key");
    assert_eq!(browser.status().await["status"], "active");
    app.assert_one_job_each().await;
    app.database.set_column(sql::KEY_ID, &key_id).await;
    app.advance(67);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 1);
    assert_eq!(app.database.generation().await, 2);
}

/// Restarts the service with a new key before its current one.
async fn with_a_new_key(app: TestApp) -> (TestApp, String, String) {
    let old = value(&app.variables, "ENCRYPTION_KEYS");
    let new = new_key();
    let app = app.restarted(&[("ENCRYPTION_KEYS", &format!("{new},{old}"))]).await;
    (app, new, old)
}

fn id_of(key: &str) -> String {
    let keys = [Secret::new(key.to_owned())];
    Keyring::new(&keys, &Secret::new("any".to_owned())).unwrap().newest_key_id().to_owned()
}

async fn under(app: &TestApp, key: &str) -> i64 {
    app.database.sealed_under(&id_of(key)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn key_rotation_covers_all_rows_while_the_service_runs() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    let leaving = app.connected(GLOBEX).await;
    // One pending grant waits for a decision, and one for HubSpot to respond.
    let parked = format!("/auth/hubspot/start?portal_id={ACME}");
    let start = browser.get(&parked).await;
    let back = app.hubspot.decide(start.location(), approve(INITECH)).unwrap();
    let question = browser.get(&back).await.location().to_owned();
    app.hubspot.script(Rule::always(Kind::Revoke, Fault::CloseBeforeAnswer));
    leaving.logout().await;
    let (app, new, old) = with_a_new_key(app).await;
    assert_eq!(under(&app, &old).await, 3);
    let old_id = id_of(&old);
    let retire = ["keys", "retire", &old_id];
    let refused = run(&retire, &app.variables);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("3 row(s)"), "{}", refused.stderr);

    let rotated = run(&["keys", "rotate"], &app.variables);

    assert_eq!(rotated.code, Some(0), "{} {}", rotated.stdout, rotated.stderr);
    assert!(rotated.stdout.starts_with("3 row(s) re-encrypted with"), "{}", rotated.stdout);
    assert_eq!((under(&app, &old).await, under(&app, &new).await), (0, 3));
    let again = run(&["keys", "rotate"], &app.variables);
    assert!(again.stdout.starts_with("0 row(s)"), "{}", again.stdout);
    assert_eq!(run(&retire, &app.variables).code, Some(0));
    assert_eq!(run(&["keys", "retire", &id_of(&new)], &app.variables).code, Some(1));
    assert_eq!(run(&["keys", "retire", "00000000"], &app.variables).code, Some(1));

    let app = app.restarted(&[("ENCRYPTION_KEYS", &new)]).await;
    let flow = question.split_once("flow=").unwrap().1.split('#').next().unwrap();
    browser.post_form("/auth/hubspot/decide", &[("flow", flow), ("decision", "keep")]).await;
    app.hubspot.clear_script();
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 2);
    app.services.connections.disconnects.revoke_due().await.unwrap();
    assert_eq!(app.hubspot.grants().len(), 2, "what was ended has ended at HubSpot, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn undecryptable_rows_are_counted_and_do_not_stop_key_rotation() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    app.connected(GLOBEX).await;
    let (app, new, old) = with_a_new_key(app).await;
    let refresh = app.database.column_of(ACME, sql::REFRESH_TOKEN).await;
    app.database.set_column_of(ACME, sql::ACCESS_TOKEN, &refresh).await;

    let rotated = run(&["keys", "rotate"], &app.variables);

    assert_eq!(rotated.code, Some(1));
    assert!(
        rotated.stdout.contains("1 row(s) re-encrypted") && rotated.stdout.contains("1 are not"),
        "{}",
        rotated.stdout
    );
    assert!(rotated.stdout.contains("cannot be decrypted"), "{}", rotated.stdout);
    assert_eq!((under(&app, &old).await, under(&app, &new).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn key_rotation_runs_alongside_refreshes_and_disconnects() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let mut browsers = Vec::new();
    for _ in 0..12 {
        browsers.push(app.connected(ACME).await);
    }
    let mut app = app;
    for _ in 0..4 {
        let (moved, new, old) = with_a_new_key(app).await;
        app = moved;
        let old = old.split(',').next().unwrap();
        let keys = [new.as_str(), old].map(|key| Secret::new(key.to_owned()));
        let keyring = Keyring::new(&keys, &Secret::new(value(&app.variables, "APP_SECRET"))).unwrap();
        app.advance(1261);
        let leaving = browsers.pop().unwrap();

        let (resealed, refreshed, _) = tokio::join!(
            reseal_all(&app.store.platform, &keyring, |_| ()),
            app.refresh_due(),
            leaving.logout()
        );

        resealed.unwrap();
        assert!(refreshed >= browsers.len(), "{refreshed}");
        reseal_all(&app.store.platform, &keyring, |_| ()).await.unwrap();
        assert_eq!(under(&app, &new).await, i64::try_from(browsers.len()).unwrap());
        for browser in &browsers {
            assert_eq!(browser.status().await["status"], "active");
        }
    }
    // Connections that end may have a refresh in progress; no others are refused.
    let refused = app.hubspot.calls(Kind::Refresh).iter().filter(|call| call.status != Some(200)).count();
    assert!(refused <= 4, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_rotation_lists_every_table_with_ciphertext() {
    let app = TestApp::start().await;
    let with_key = if app.database.is_sqlite() {
        "SELECT group_concat(name, ' ') FROM sqlite_master WHERE type = 'table' AND sql LIKE '%\"key_id\"%'"
    } else {
        "SELECT string_agg(table_name::text, ' ') FROM information_schema.columns \
         WHERE table_schema = 'public' AND column_name = 'key_id'"
    };
    let found = app.database.text(with_key).await;
    // The check texts of keys belong to their key, and responses are kept for a day.
    let listed =
        SealedTable::ALL.iter().map(|table| table.name).chain([sql::KEY_CHECK, sql::IDEMPOTENCY_KEYS]);
    assert_eq!(found.split(' ').collect::<BTreeSet<_>>(), listed.collect());
}
