//! Events of a connection: recorded exactly when they happen, in order, and never with a token.

use fake_hubspot::{Fault, Kind, Rule};
use hubspot_connect::domain::event::EventType;
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, HOST, INITECH, LONG_SESSIONS, approve};
use crate::harness::browser::Browser;
use crate::harness::{TestApp, sql};

const DUE: u64 = 1261;
const HALF_AN_HOUR: u64 = 1801;

async fn connection_id(browser: &Browser) -> String {
    browser.status().await["connections"][0]["id"].as_str().unwrap().to_owned()
}

/// Returns the events of a connection: type, state, reason.
async fn history(app: &TestApp, connection: &str) -> Vec<(String, String, Value)> {
    let events = app.store.webhooks.events_of(connection.parse().unwrap(), 0, 100).await.unwrap();
    for (at, event) in events.iter().enumerate() {
        let message: Value = serde_json::from_str(&event.payload).unwrap();
        assert_eq!(event.sequence, Some(at as i64 + 1), "without a gap");
        assert_eq!(message["data"]["sequence"], json!(at + 1));
        assert_eq!(message["data"]["connection_id"], *connection);
        assert_eq!(message["type"], event.kind.as_str());
    }
    events
        .iter()
        .map(|event| {
            let data = serde_json::from_str::<Value>(&event.payload).unwrap()["data"].take();
            let state = data["status"].as_str().unwrap().to_owned();
            (event.kind.as_str().to_owned(), state, data["reason"].clone())
        })
        .collect()
}

fn line(kind: &str, state: &str, reason: impl Into<Value>) -> (String, String, Value) {
    (kind.to_owned(), state.to_owned(), reason.into())
}

fn dead() -> Fault {
    Fault::Oauth {
        status: 400,
        error: Some("invalid_grant".to_owned()),
        hubspot_status: Some("BAD_REFRESH_TOKEN".to_owned()),
        message: "no more".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_connection_are_ordered_from_connect_to_disconnect() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    let id = connection_id(&browser).await;
    app.advance(DUE);
    app.refresh_due().await;
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    app.hubspot.script(Rule::times(Kind::Refresh, 2, dead()));
    for pause in [DUE, 61] {
        app.advance(pause);
        assert_eq!(app.refresh_due().await, 1);
    }
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(browser.disconnect(&id).await.status, 200);
    let expected = vec![
        line("connection.created", "active", Value::Null),
        line("connection.reconnected", "active", Value::Null),
        line("connection.revoked_at_provider", "needs_reauth", "grant_dead"),
        line("connection.needs_reauth", "needs_reauth", "grant_dead"),
        line("connection.reconnected", "active", Value::Null),
        line("connection.disconnected", "disconnected", "requested"),
    ];
    assert_eq!(history(&app, &id).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn event_messages_name_the_account_and_contain_no_token() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let id = connection_id(&browser).await;
    app.database.name_user("u-7").await;
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    let events = app.store.webhooks.events_of(id.parse().unwrap(), 1, 100).await.unwrap();
    let message: Value = serde_json::from_str(&events[0].payload).unwrap();
    assert_eq!(message["timestamp"], app.clock.now().rfc3339());
    let data = &message["data"];
    assert_eq!(data["external_user_id"], "u-7");
    assert_eq!(data["portal_id"], ACME);
    assert_eq!(data["hub_domain"], "acme.example");
    assert_eq!(data["scopes"], json!(["oauth", "crm.objects.contacts.read"]));
    let members: Vec<_> = data.as_object().unwrap().keys().map(String::as_str).collect();
    let known = [
        "connection_id",
        "external_user_id",
        "hub_domain",
        "portal_id",
        "reason",
        "scopes",
        "sequence",
        "status",
    ];
    assert_eq!(members, known);
    assert!(!events[0].payload.contains(&app.hubspot.current_refresh_token(ACME).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn uncommitted_changes_cause_no_events() {
    let app = TestApp::start().await;
    let browser = app.connected(ACME).await;
    let id = connection_id(&browser).await;
    // A trigger that refuses the last statement of each of these transactions, or the outbox itself.
    for (table, statement) in [(sql::EVENTS, "INSERT"), (sql::CONNECTIONS, "DELETE")] {
        let name = format!("refuse_{table}");
        refuse(&app, &name, table, statement).await;
        let answer = browser.disconnect(&id).await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        allow(&app, &name, table).await;
        assert_eq!(history(&app, &id).await.len(), 1, "{table}");
        assert_eq!(app.database.count(sql::CONNECTIONS).await, 1, "{table}");
        assert_eq!(app.database.count(sql::REVOCATION_JOBS).await, 0, "{table}");
    }
    assert_eq!(browser.disconnect(&id).await.status, 200);
    assert_eq!(history(&app, &id).await.len(), 2);
}

async fn refuse(app: &TestApp, name: &str, table: &str, statement: &str) {
    if app.database.is_sqlite() {
        let sql = format!(
            "CREATE TRIGGER {name} BEFORE {statement} ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END"
        );
        app.database.execute(&sql).await;
        return;
    }
    let function = "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger AS \
                    $$ BEGIN RAISE EXCEPTION 'refused'; END $$ LANGUAGE plpgsql";
    app.database.execute(function).await;
    let sql = format!("CREATE TRIGGER {name} BEFORE {statement} ON {table} EXECUTE FUNCTION refuse()");
    app.database.execute(&sql).await;
}

async fn allow(app: &TestApp, name: &str, table: &str) {
    let on = if app.database.is_sqlite() { String::new() } else { format!(" ON {table}") };
    app.database.execute(&format!("DROP TRIGGER {name}{on}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_expiry_and_recovery_are_each_reported_once() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    app.connected(GLOBEX).await;
    let id = connection_id(&browser).await;
    assert_eq!(app.services.connections.upkeep.note_degraded().await.unwrap(), 0);
    app.hubspot.script(Rule::always(Kind::Refresh, Fault::CloseBeforeAnswer));
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, 2);
    assert_eq!(
        app.services.connections.upkeep.note_degraded().await.unwrap(),
        0,
        "the access tokens are still good"
    );
    app.advance(HALF_AN_HOUR - DUE);
    assert_eq!(app.services.connections.upkeep.note_degraded().await.unwrap(), 2);
    assert_eq!(app.services.connections.upkeep.note_degraded().await.unwrap(), 0, "once");
    app.hubspot.clear_script();
    app.advance(300);
    assert_eq!(app.refresh_due().await, 2);
    assert_eq!(app.services.connections.upkeep.note_degraded().await.unwrap(), 0);
    let expected = vec![
        line("connection.created", "active", Value::Null),
        line("connection.degraded", "degraded", "provider_unreachable"),
        line("connection.recovered", "active", Value::Null),
    ];
    assert_eq!(history(&app, &id).await, expected);
    // And again, without an attempt to refresh.
    app.advance(HALF_AN_HOUR);
    assert_eq!(app.services.connections.upkeep.note_degraded().await.unwrap(), 2);
    assert_eq!(history(&app, &id).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn scope_changes_are_reported_and_another_order_is_not() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    let id = connection_id(&browser).await;
    let granted = |scopes: Value| Fault::Patch {
        set: json!({"scopes": scopes, "scope": Value::Null}).as_object().unwrap().clone(),
        drop: vec!["scope".to_owned()],
    };
    for scopes in [json!(["crm.objects.contacts.read", "oauth"]), json!(["oauth"]), json!(["oauth"])] {
        app.hubspot.script(Rule::once(Kind::Refresh, granted(scopes)));
        app.advance(DUE);
        assert_eq!(app.refresh_due().await, 1);
    }
    let expected = vec![
        line("connection.created", "active", Value::Null),
        line("connection.scopes_changed", "active", Value::Null),
    ];
    assert_eq!(history(&app, &id).await, expected);
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    let kinds: Vec<_> = history(&app, &id).await.into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(kinds[2..], ["connection.reconnected", "connection.scopes_changed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_reported_once_per_outage() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    app.connected(GLOBEX).await;
    let rejected = || Fault::Oauth {
        status: 401,
        error: Some("invalid_client".to_owned()),
        hubspot_status: Some("BAD_CLIENT_ID".to_owned()),
        message: "who?".to_owned(),
    };
    for outage in 1..=2 {
        app.hubspot.script(Rule::always(Kind::Refresh, rejected()));
        for pause in [DUE, 67, 67] {
            app.advance(pause);
            app.refresh_due().await;
        }
        assert_eq!(app.database.events_of("app.credentials_invalid").await, outage);
        assert_eq!(app.database.count(sql::ALARMS).await, 1);
        app.hubspot.clear_script();
        for _ in 0..4 {
            app.advance(67);
            app.refresh_due().await;
        }
        assert_eq!(app.database.count(sql::ALARMS).await, 0);
    }
    let app = app.restarted(&[]).await;
    app.hubspot.script(Rule::always(Kind::Refresh, rejected()));
    app.advance(DUE);
    app.refresh_due().await;
    assert_eq!(app.database.events_of("app.credentials_invalid").await, 3);
    // A restart during the outage does not start another one.
    let app = app.restarted(&[]).await;
    app.advance(67);
    app.refresh_due().await;
    assert_eq!(app.database.events_of("app.credentials_invalid").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_events_are_deleted_and_sequence_numbers_continue() {
    let app = TestApp::with(&[("ON_SESSION_EXPIRY", "keep")]).await;
    let browser = app.connected(ACME).await;
    let id = connection_id(&browser).await;
    app.advance(31 * 86_400);
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!(app.database.count(sql::EVENTS).await, 0);
    app.refresh_due().await;
    let user = app.store.connections.token(id.parse().unwrap()).await.unwrap().unwrap().user_id;
    app.services.connections.disconnects.disconnect(user, id.parse().unwrap(), false).await.unwrap().unwrap();
    let events = app.store.webhooks.events_of(id.parse().unwrap(), 0, 100).await.unwrap();
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [Some(2)]);
    assert_eq!(app.store.webhooks.events_of(id.parse().unwrap(), 2, 100).await.unwrap(), []);
    app.advance(31 * 86_400);
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!(app.database.count(sql::EVENTS).await, 0);
    assert_eq!(app.database.count(sql::EVENT_SEQUENCE).await, 0, "no sequence remains");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_or_lost_tokens_are_reported_as_needs_reauth() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    let id = connection_id(&browser).await;
    app.database.set_column(sql::REFRESH_TOKEN, "damaged").await;
    app.advance(DUE);
    app.refresh_due().await;
    let events = history(&app, &id).await;
    assert_eq!(events[1], line("connection.needs_reauth", "integrity_error", "integrity_error"));
    assert_eq!(events.len(), 2);
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    let key = app.database.column(sql::KEY_ID).await;
    assert_eq!(app.store.platform.give_up_key(&key, app.clock.now()).await.unwrap(), 1);
    assert_eq!(history(&app, &id).await[3], line("connection.needs_reauth", "needs_reauth", "key_lost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_events_are_recorded_only_for_subscribers() {
    let app = TestApp::with(&[LONG_SESSIONS, &[("WEBHOOK_ALLOWED_HOSTS", "127.0.0.1")]].concat()).await;
    app.connected(ACME).await;
    app.webhook("http://127.0.0.1:9/", "").await;
    // Any write to these tables would be refused, and the refresh with it.
    for table in [sql::EVENTS, sql::EVENT_SEQUENCE, sql::DELIVERIES] {
        refuse(&app, &format!("refuse_{table}"), table, "INSERT").await;
    }
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.database.generation().await, 2);
    assert_eq!(app.database.events_of("connection.refreshed").await, 0);
    for table in [sql::EVENTS, sql::EVENT_SEQUENCE, sql::DELIVERIES] {
        allow(&app, &format!("refuse_{table}"), table).await;
    }
    app.webhook("http://127.0.0.1:9/", EventType::ConnectionRefreshed.as_str()).await;
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.database.events_of("connection.refreshed").await, 1);
    assert_eq!(app.database.count(sql::DELIVERIES).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn event_lists_continue_from_the_last_cursor() {
    const EVENTS: &str = "/api/hubspot/events";
    let app = TestApp::with(LONG_SESSIONS).await;
    let key = app.api_key("webhooks").await;
    let began = app.clock.now().rfc3339();
    let types = async |query: &str| {
        let pages = app.pages(&key, &format!("{EVENTS}{query}")).await;
        let types = pages.concat().into_iter().map(|event| event["type"].as_str().unwrap().to_owned());
        types.collect::<Vec<_>>()
    };
    for account in [ACME, GLOBEX] {
        app.connected(account).await;
        app.advance(1);
    }
    assert!(types("").await.is_empty(), "none of them is a minute old");
    app.advance(60);
    let created = "connection.created";
    assert_eq!(types("").await, [created; 2]);
    let browser = app.connected(INITECH).await;
    browser.disconnect(&connection_id(&browser).await).await;
    app.advance(61);
    let all = [created, created, created, "connection.disconnected"];
    for limit in 1..=4 {
        assert_eq!(types(&format!("?limit={limit}")).await, all, "{limit} at a time");
    }
    assert_eq!(types("?type=connection.disconnected").await, all[3..]);
    let listed = app.pages(&key, EVENTS).await.concat();
    let third = listed[2]["created_at"].as_str().unwrap();
    assert_eq!(types(&format!("?created_after={third}")).await, all[2..]);
    assert_eq!(types(&format!("?created_before={third}")).await, all[..2]);
    assert!(types(&format!("?created_before={began}")).await.is_empty());
    let message = &listed[3]["payload"];
    assert_eq!(message["type"], "connection.disconnected");
    assert_eq!(message["data"]["connection_id"], listed[3]["connection_id"]);
}
