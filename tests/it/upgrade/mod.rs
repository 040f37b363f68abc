//! An upgrade from the release with schema 21 loses nothing: neither connections nor what waits for a user or a
//! backend.

mod release_21;
mod rows;
mod tables;

use std::collections::{BTreeMap, BTreeSet};

use fake_hubspot::Kind;
use hubspot_connect::domain::clock::Timestamp;
use hubspot_connect::domain::secret::Secret;
use hubspot_connect::keyring::Keyring;
use migrations::SchemaManager;
use reqwest::Method;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::harness::app::{ACME, GLOBEX, HOST};
use crate::harness::browser::{Answer, encode};
use crate::harness::database::TestDatabase;
use crate::harness::page::{Page, approved, data, text};
use crate::harness::process::run;
use crate::harness::{Browser, TestApp};

use release_21::{
    API_KEY, APP_SECRET, CLIENT, DAY, DUE, ENCRYPTION_KEY, EXPIRY, FIRST_ANSWER, FROZEN, FROZEN_ACCESS,
    FROZEN_FINGERPRINT, FROZEN_REFRESH, NOW, OTHER_SEALED, RECEIVED, REPEATED, Release21, SESSION_COOKIE,
    SIGNING_SECRET, Special, Upgraded, access_token, connect_session, connection, event, flow, flow_cookie,
    secret,
};
use tables::{LAST_MIGRATION, make_schema, tables_of, texts};

const LIST: &str = "/api/hubspot/connections";
const SESSIONS: &str = "/api/hubspot/connect-sessions";
const INSTALLS: &str = "/api/hubspot/installs";
/// Enough for tests of other rows.
const FEW: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_survive_an_upgrade() {
    const CONNECTIONS: usize = 10_000;
    let Upgraded { app, facts, .. } = Release21::with(CONNECTIONS).await.upgraded().await;

    let doctor = run(&["doctor"], &app.variables);
    assert!(doctor.code == Some(0) && !doctor.stdout.contains("WRONG"), "{doctor:?}");
    let keys = run(&["keys", "status"], &app.variables);
    let sealed = format!("encrypts  {} stored token(s)\n", CONNECTIONS + OTHER_SEALED);
    assert!(keys.code == Some(0) && keys.stdout.ends_with(&sealed), "{keys:?}");

    // In addition to those of the host's users: one of a browser, the frozen one, and one that HubSpot had ended
    // before.
    let active = i64::try_from(CONNECTIONS + 2).unwrap();
    let counts = [("active".to_owned(), active), ("needs_reauth".to_owned(), 1)];
    assert_eq!(app.store.connections.count_tokens().await.unwrap(), counts);
    let mut listed = BTreeMap::new();
    for one in listed_connections(&app).await {
        let known = listed.insert(text(&one["id"]), (one["portal_id"].as_u64(), text(&one["status"])));
        assert!(known.is_none(), "listed twice: {one}");
    }
    assert_eq!(listed.len(), CONNECTIONS + 3);
    for number in 0..CONNECTIONS {
        let found = listed.get(&connection(number)).cloned();
        assert_eq!(found, Some((Some(facts.portal(number)), "active".to_owned())), "{number}");
    }

    for number in [0, DUE, CONNECTIONS / 2, CONNECTIONS - 1] {
        let lent = get_access_token(&app, &connection(number)).await;
        assert_eq!(lent, (access_token(facts.portal(number)), 1), "{number}");
    }
    assert_eq!(get_access_token(&app, FROZEN).await, (FROZEN_ACCESS.to_owned(), 1));

    assert_eq!(app.refresh_due().await, DUE);
    for number in 0..DUE {
        assert_refreshed(&app, &connection(number), facts.portal(number)).await;
    }
    assert_eq!(app.store.connections.count_tokens().await.unwrap(), counts);
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_grants_can_be_accepted_after_an_upgrade() {
    let Upgraded { app, facts, .. } = Release21::with(FEW).await.upgraded().await;

    let browser = signed_in(&app);
    let (cookie, binding) = flow_cookie("choice");
    browser.plant(&cookie, &binding);
    let question = browser.get(&format!("/auth/hubspot/done?flow={}", flow("choice"))).await;
    assert!(question.body.contains("data-page=\"choice\""), "{}", question.body);
    let fields = [("flow", data(&question, "flow")), ("decision", "keep".to_owned())];
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
    let decided = browser.post_form("/auth/hubspot/decide", &fields).await;
    assert_eq!(decided.status, 303, "{}", decided.body);
    let accounts: BTreeSet<_> = connections_of(&browser.status().await).into_keys().collect();
    assert_eq!(accounts, [Special::Browser, Special::Choice].map(|which| facts.special(which)).into());

    let held = format!("{SESSIONS}/{}", connect_session("held"));
    let portal = facts.special(Special::Held);
    let awaiting = json!({
        "flow": flow("held").to_string(),
        "portal_id": portal,
        "hub_domain": format!("hub-{portal}.example"),
        "scopes": ["oauth"],
        "expires_at": time(NOW + DAY),
    });
    assert_eq!(get(&app, &held).await["awaiting"], awaiting);
    let body = json!({"external_user_id": "user-0"});
    let completed = app.api(API_KEY, Method::POST, &format!("{held}/complete"), Some(body)).await;
    assert_eq!(completed.json()["status"], "connected", "{}", completed.body);

    for (name, which, owner) in [("choice", Special::Choice, None), ("held", Special::Held, Some("user-0"))] {
        let authorization = page(&app, name).poll().await.json();
        assert_eq!(authorization["status"], "connected", "{name}: {authorization}");
        assert_kept_alive(&app, &authorization["connection"]["id"], facts.special(which), owner).await;
    }
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_can_be_claimed_after_an_upgrade() {
    let Upgraded { app, facts, .. } = Release21::with(FEW).await.upgraded().await;
    let (install, portal) = (release_21::install(Special::Waiting), facts.special(Special::Waiting));
    let waiting = json!({
        "id": install,
        "portal_id": portal,
        "hub_domain": "install.example",
        "installed_by": "owner@install.example",
        "scopes": ["oauth"],
        "installed_at": time(RECEIVED),
        "expires_at": time(NOW + 7 * DAY),
    });
    assert_eq!(get(&app, INSTALLS).await["data"], json!([waiting]));

    let claimed = claim(&app, &install, "user-3").await;
    assert_eq!(claimed.status, 200, "{}", claimed.body);
    assert_kept_alive(&app, &claimed.json()["connection_id"], portal, Some("user-3")).await;

    let before = release_21::claimed_install();
    let again = claim(&app, &before, "user-0").await;
    assert_eq!((again.status, text(&again.json()["connection_id"])), (200, connection(0)), "{}", again.body);
    let other = claim(&app, &before, "user-1").await;
    assert_eq!((other.status, text(&other.json()["code"]).as_str()), (409, "install_claimed"));

    // A used install code is not exchanged again; an issued state is still valid.
    let back = encode(&format!("{}/marketplace/installed", app.hubspot.base_url()));
    let spent = format!("/install/hubspot?code={}&returnUrl={back}", secret("install-code"));
    assert_eq!(app.browser().get(&spent).await.status, 302);
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 0);
    let code = app.hubspot.install(&format!("{}/install/hubspot", app.base), GLOBEX);
    let state = secret("install-state");
    let last = format!("/install/hubspot?step=finalize&code={code}&state={state}&returnUrl={back}");
    assert_eq!(app.browser().get(&last).await.status, 302);
    assert_eq!(get(&app, INSTALLS).await["data"][0]["portal_id"], GLOBEX);
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_flows_finish_after_an_upgrade() {
    let Upgraded { app, facts, .. } = Release21::with(FEW).await.upgraded().await;
    for (name, status, code) in [
        ("awaiting", "awaiting_user", None),
        ("choice", "exchanging", None),
        ("held", "exchanging", None),
        ("connected", "connected", None),
        ("failed", "failed", Some("user_denied")),
        ("cancelled", "cancelled", Some("cancelled")),
        ("expired", "expired", Some("flow_expired")),
    ] {
        let authorization = page(&app, name).poll().await.json();
        assert_eq!(
            (authorization["status"].as_str(), authorization["error"]["code"].as_str()),
            (Some(status), code),
            "{authorization}"
        );
        assert_eq!(authorization["flow"], flow(name).to_string(), "{name}");
    }

    let page_of_connected = page(&app, "connected");
    let pickup = text(&page_of_connected.poll().await.json()["pickup_code"]);
    let given = page_of_connected.redeem(&flow("connected").to_string(), &pickup).await;
    let browsers = access_token(facts.special(Special::Browser));
    assert_eq!(given.json()["access_token"], browsers, "{}", given.body);

    let popup = app.browser();
    let (cookie, binding) = flow_cookie("awaiting");
    popup.plant(&cookie, &binding);
    let callback = approved(&app, &popup, &authorize_url(&app, "awaiting")).await;
    assert_eq!(callback.status, 303, "{}", callback.body);
    let authorization = page(&app, "awaiting").poll().await.json();
    assert_eq!(
        (&authorization["status"], &authorization["connection"]["portal_id"]),
        (&json!("connected"), &json!(ACME))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn overdue_rows_end_after_an_upgrade() {
    let Upgraded { app, facts, .. } = Release21::with(FEW).await.upgraded().await;
    let mut alive: BTreeSet<u64> = app.hubspot.grants().into_iter().map(|grant| grant.hub_id).collect();

    app.services.maintenance.sweep().await.unwrap();
    app.advance(60);
    app.services.connections.disconnects.revoke_due().await.unwrap();
    app.services.drain().await;

    for which in [Special::Forgotten, Special::Unconfirmed, Special::Unclaimed, Special::Revoked] {
        assert!(alive.remove(&facts.special(which)), "{which:?}");
    }
    let still_alive: BTreeSet<u64> = app.hubspot.grants().into_iter().map(|grant| grant.hub_id).collect();
    assert_eq!(still_alive, alive);
    for (name, code) in [("forgotten", "wrong_account"), ("unconfirmed", "not_confirmed")] {
        let authorization = page(&app, name).poll().await.json();
        assert_eq!(authorization["error"]["code"], code, "{authorization}");
    }
    let session = get(&app, &format!("{SESSIONS}/{}", connect_session("unconfirmed"))).await;
    assert_eq!((&session["status"], &session["error_code"]), (&json!("cancelled"), &json!("not_confirmed")));
    let late = claim(&app, &release_21::install(Special::Unclaimed), "user-3").await;
    assert_eq!((late.status, text(&late.json()["code"]).as_str()), (404, "install_not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_keys_and_webhooks_survive_an_upgrade() {
    let Upgraded { app, facts, receiver } = Release21::with(FEW).await.upgraded().await;

    assert_eq!(app.deliver_due().await, 1);
    let heard = receiver.heard();
    assert_eq!(heard[0].header("webhook-id"), event(3));
    let at = heard[0].header("webhook-timestamp").parse().unwrap();
    let signed = Webhook::new(SIGNING_SECRET).unwrap().sign(&event(3), at, heard[0].body.as_bytes()).unwrap();
    assert_eq!(heard[0].header("webhook-signature"), signed);
    let history = get(&app, &format!("{LIST}/{}/history", connection(0))).await;
    let sequences: Vec<_> = history["data"].as_array().unwrap().iter().map(|one| &one["sequence"]).collect();
    assert_eq!(sequences, [1, 2, 3]);

    let status = signed_in(&app).status().await;
    let states = connections_of(&status);
    assert_eq!(states, [(facts.special(Special::Browser), "active".to_owned())].into(), "{status}");

    let revoked = app.api(&secret("revoked-key"), Method::GET, LIST, None).await;
    assert_eq!((revoked.status, text(&revoked.json()["code"]).as_str()), (401, "api_key_invalid"));
    let of_user = get(&app, &format!("{LIST}?external_user_id=user-7")).await;
    assert_eq!(of_user["data"][0]["id"], connection(7), "{of_user}");
    assert_eq!(of_user["data"][0]["metadata"], json!({"team": "north"}));
    let refused = get(&app, &format!("{LIST}?status=needs_reauth")).await;
    assert_eq!(refused["data"][0]["last_error"], "grant_dead", "{refused}");

    let (path, key, body) = REPEATED;
    let backend = app.browser();
    let request = backend.request(Method::POST, path).bearer_auth(API_KEY).header("idempotency-key", key);
    let again = backend.send(request.header("content-type", "application/json").body(body)).await;
    assert_eq!((again.status, again.body.as_str()), (201, FIRST_ANSWER));

    for status in ["open", "connected", "cancelled", "expired"] {
        let shown = get(&app, &format!("{SESSIONS}/{}", connect_session(status))).await;
        assert_eq!(shown["status"], status, "{shown}");
    }
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let token = secret("open-session");
    let launch = page.post(&popup, Some(HOST), &[("connect_session", &token)]).await;
    approved(&app, &popup, &data(&launch, "authorize-url")).await;
    let shown = get(&app, &format!("{SESSIONS}/{}", connect_session("open"))).await;
    assert_eq!(shown["status"], "connected", "{shown}");
}

#[test]
fn fingerprints_match_the_previous_release() {
    let [key, app_secret, refresh] =
        [ENCRYPTION_KEY, APP_SECRET, FROZEN_REFRESH].map(|text| Secret::new(text.to_owned()));
    let keyring = Keyring::new(&[key], &app_secret).unwrap();
    assert_eq!(keyring.fingerprint(&refresh), FROZEN_FINGERPRINT);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixture_has_rows_in_every_table() {
    let release = Release21::with(FEW).await;
    for table in tables_of(&release.database).await.into_keys() {
        let rows = release.database.number(&format!("SELECT COUNT(*) FROM {table}")).await;
        assert!(rows > 0, "{table} is empty");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixture_schema_matches_its_migrations() {
    let fixture = TestDatabase::fresh().await;
    let db = fixture.connect().await;
    make_schema(&db).await;
    db.close().await.unwrap();
    fixture.execute("DROP TABLE seaql_migrations").await;
    let migrated = TestDatabase::fresh().await;
    let db = migrated.connect().await;
    let changes = migrations::all();
    for change in changes.iter().take_while(|change| change.name() <= LAST_MIGRATION) {
        change.up(&SchemaManager::new(&db)).await.unwrap();
    }
    db.close().await.unwrap();

    assert_eq!(schema_of(&migrated).await, schema_of(&fixture).await);
}

/// Returns every table, column, constraint and index.
async fn schema_of(database: &TestDatabase) -> Vec<String> {
    let sql = match database.is_sqlite() {
        true => "SELECT sql AS found FROM sqlite_master WHERE sql IS NOT NULL ORDER BY 1",
        false => {
            "SELECT indexdef AS found FROM pg_indexes WHERE schemaname = 'public' UNION ALL \
             SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid <> 0 \
             AND connamespace = 'public'::regnamespace UNION ALL \
             SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default) \
             FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1"
        }
    };
    // SQLite keeps the text with its line breaks.
    let found = texts(database, sql).await;
    found.iter().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn time(at: i64) -> String {
    Timestamp::from_unix_ms(at).rfc3339()
}

/// Returns the page that started the flow with this name.
fn page(app: &TestApp, name: &str) -> Page {
    let mut page = Page::new(&app.base, HOST);
    page.verifier = secret(name);
    page
}

/// Returns the browser of the previous release.
fn signed_in(app: &TestApp) -> Browser {
    let browser = app.browser();
    browser.plant(SESSION_COOKIE.0, SESSION_COOKIE.1);
    browser
}

/// Returns the authorize URL to which that release redirected the browser.
fn authorize_url(app: &TestApp, name: &str) -> String {
    let challenge = Secret::new(secret(&format!("{name}-pkce"))).hash().text();
    format!(
        "{}?client_id={CLIENT}&redirect_uri={}&scope=oauth&state={}&code_challenge={challenge}\
         &code_challenge_method=S256",
        app.hubspot.authorize_url(),
        encode(&format!("{}/auth/hubspot/callback", app.base)),
        secret(&format!("{name}-state")),
    )
}

async fn get(app: &TestApp, path: &str) -> Value {
    let answer = app.api(API_KEY, Method::GET, path, None).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

async fn claim(app: &TestApp, install: &str, user: &str) -> Answer {
    let body = json!({"external_user_id": user});
    app.api(API_KEY, Method::POST, &format!("{INSTALLS}/{install}/claim"), Some(body)).await
}

async fn listed_connections(app: &TestApp) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(app, &format!("{LIST}?limit=100{cursor}")).await;
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// Returns the accounts and states of a browser's connections.
fn connections_of(status: &Value) -> BTreeMap<u64, String> {
    let all = status["connections"].as_array().unwrap().iter();
    all.map(|one| (one["portal_id"].as_u64().unwrap(), text(&one["status"]))).collect()
}

/// Returns the access token of a connection for a backend, and its generation.
async fn get_access_token(app: &TestApp, id: &str) -> (String, i64) {
    let lent = get(app, &format!("{LIST}/{id}/token")).await;
    (text(&lent["access_token"]), lent["generation"].as_i64().unwrap())
}

/// Asserts that a connection has a token that HubSpot issued for this account in exchange for the stored refresh token.
async fn assert_refreshed(app: &TestApp, id: &str, portal: u64) {
    let (token, generation) = get_access_token(app, id).await;
    let of = app.hubspot.access_token(&token).map(|token| token.hub_id);
    assert_eq!((of, generation), (Some(portal), 2), "{id}");
}

/// Asserts that a connection has a stored grant: its data is unchanged, its access token is returned, and HubSpot
/// accepts its refresh token.
async fn assert_kept_alive(app: &TestApp, id: &Value, portal: u64, owner: Option<&str>) {
    let id = text(id);
    let shown = get(app, &format!("{LIST}/{id}")).await;
    let found = ["portal_id", "external_user_id", "scopes", "expires_at"].map(|name| shown[name].clone());
    assert_eq!(found, [json!(portal), json!(owner), json!(["oauth"]), json!(time(EXPIRY))], "{id}");
    let received = app.database.number(&format!("SELECT obtained_at FROM token WHERE id = '{id}'")).await;
    assert_eq!(received, RECEIVED, "{id}");
    assert_eq!(get_access_token(app, &id).await, (access_token(portal), 1), "{id}");
    let refreshed = app.api(API_KEY, Method::POST, &format!("{LIST}/{id}/refresh"), None).await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.body);
    assert_refreshed(app, &id, portal).await;
}
