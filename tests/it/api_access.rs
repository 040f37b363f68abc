//! Access to every operation in the description of the API: new routes are covered automatically.

use std::collections::BTreeSet;

use fake_hubspot::Kind;
use hubspot_connect::domain::api_key::ApiScope;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, LONG_SESSIONS};
use crate::harness::browser::Answer;
use crate::harness::{Browser, Receiver, TestApp, sql};
use crate::openapi::{committed, operations};

/// Operations without an API key, for pages and the public. Each has another proof, or needs none.
const WITHOUT_A_KEY: [&str; 8] = [
    "cancel_authorization_request",
    "disconnect_connection",
    "get_docs",
    "get_live",
    "get_live_head",
    "get_status",
    "openapi_document",
    "redeem_pickup_code",
];
/// Operations for any key: they describe the key itself.
const WITH_ANY_KEY: [&str; 1] = ["get_api_key"];

const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

/// An operation of the description.
struct Operation {
    id: String,
    method: Method,
    path: String,
    needs_a_key: bool,
    /// The scope in the description.
    scope: Option<String>,
}

fn all() -> Vec<Operation> {
    let described = operations(&committed()).into_iter().map(|(path, method, operation)| {
        let security = operation["security"].as_array().expect("who may call it").clone();
        let key = security.iter().find_map(|way| way.get("api_key"));
        Operation {
            id: operation["operationId"].as_str().expect("an id").to_owned(),
            method,
            path,
            // If there is an alternative without a key, no key is needed.
            needs_a_key: security.len() == 1 && key.is_some(),
            scope: key.and_then(|scopes| scopes[0].as_str()).map(str::to_owned),
        }
    });
    described.collect()
}

fn of_backends() -> Vec<Operation> {
    all().into_iter().filter(|operation| operation.needs_a_key).collect()
}

/// Returns the scopes of all keys, except one.
fn all_but(scope: &str) -> String {
    let words = ApiScope::ALL.iter().map(|one| one.as_str()).filter(|one| *one != scope);
    words.collect::<Vec<_>>().join(" ")
}

/// Values for the parameters of paths.
struct Ids {
    connection: String,
    session: String,
    install: String,
    webhook: String,
    delivery: String,
}

impl Ids {
    /// Returns the same id for all parameters.
    fn all(id: &str) -> Self {
        let id = || id.to_owned();
        Self { connection: id(), session: id(), install: id(), webhook: id(), delivery: id() }
    }

    fn path(&self, operation: &Operation) -> String {
        let text = operation.path.as_str();
        let of = |prefix: &str| text.starts_with(&format!("/api/hubspot/{prefix}/"));
        let id = match () {
            () if of("connections") => &self.connection,
            () if of("connect-sessions") => &self.session,
            () if of("installs") => &self.install,
            () if of("webhooks") => &self.webhook,
            () => "",
        };
        let text = text.replace("{id}", id).replace("{delivery_id}", &self.delivery);
        let text = text.replace("{path}", "crm/v3/objects/contacts");
        assert!(!text.contains('{') && !text.contains("//"), "say above what stands for {}", operation.path);
        text
    }
}

/// Returns a valid body for an operation, with as little effect as possible.
fn body(operation: &Operation) -> Value {
    match operation.id.as_str() {
        "create_connect_session" | "complete_connect_session" | "claim_install" | "create_read_token" => {
            json!({"external_user_id": "user_42"})
        }
        // An address that is always refused.
        "create_webhook" => json!({"url": "https://localhost/"}),
        "update_webhook" => json!({"enabled": true}),
        "uninstall_app" => json!({"confirm": true}),
        "import_connection" => json!({"external_user_id": "user_42", "refresh_token": "of-nobody"}),
        "update_connection" => json!({"metadata": {}}),
        _ => json!({}),
    }
}

async fn ask(browser: &Browser, key: Option<&str>, operation: &Operation, ids: &Ids) -> Answer {
    let mut request = browser.request(operation.method.clone(), &ids.path(operation));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    if operation.method != Method::GET && operation.method != Method::HEAD {
        request = request.header("content-type", "application/json").body(body(operation).to_string());
    }
    browser.send(request).await
}

/// Returns status, headers and body, without the parts that are specific to this request: its id and its path.
fn comparable(answer: &Answer) -> (u16, BTreeSet<String>, Value) {
    let own = ["connection", "content-length", "date", "x-request-id", "ratelimit"];
    let headers = answer.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
    let mut body = if answer.body.is_empty() { Value::Null } else { answer.json() };
    if let Value::Object(fields) = &mut body {
        fields.retain(|name, _| name != "request_id" && name != "instance");
    }
    (answer.status, headers, body)
}

fn code(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    body["code"].as_str().unwrap_or_default().to_owned()
}

/// Asserts status and code; a response to HEAD has no body with a code.
fn assert_refused(operation: &Operation, answer: &Answer, status: u16, wanted: &str, who: &str) {
    let place = format!("{} {} {who}: {}", operation.method, operation.path, answer.body);
    assert_eq!(answer.status, status, "{place}");
    if operation.method != Method::HEAD {
        assert_eq!(code(answer), wanted, "{place}");
    }
    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{place}");
    assert!(answer.cookies().is_empty(), "{place}");
}

#[test]
fn routes_without_an_api_key_are_listed() {
    let open: Vec<String> =
        all().into_iter().filter(|one| !one.needs_a_key).map(|operation| operation.id).collect();
    assert_eq!(open.iter().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(WITHOUT_A_KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_backend_route_requires_a_key_with_its_scope() {
    let app = TestApp::with(&[("MARKETPLACE_INSTALLS", "on")]).await;
    let (stranger, person) = (app.browser(), app.connected(ACME).await);
    let good = app.api_key(&all_but("")).await;
    let secret_of_another = format!("{}_{}", &good[..16], "A".repeat(43));
    let mut lacking = Vec::new();
    for scope in ApiScope::ALL {
        let (without, only) =
            (app.api_key(&all_but(scope.as_str())).await, app.api_key(scope.as_str()).await);
        lacking.push((scope.as_str(), without, only));
    }
    let ids = Ids::all(UNKNOWN);
    for operation in of_backends() {
        let bare = ask(&stranger, None, &operation, &ids).await;
        assert_refused(&operation, &bare, 401, "api_key_missing", "without a key");
        let by_cookie = ask(&person, None, &operation, &ids).await;
        assert_refused(&operation, &by_cookie, 401, "api_key_missing", "with a user's cookie");
        for wrong in ["hsc_key_00000000_wrong", &secret_of_another, &good[..16], &good.to_uppercase()] {
            let answer = ask(&stranger, Some(wrong), &operation, &ids).await;
            assert_refused(&operation, &answer, 401, "api_key_invalid", "with a wrong key");
        }
        let mut needed = Vec::new();
        for (scope, without, only) in &lacking {
            let answer = ask(&stranger, Some(without), &operation, &ids).await;
            if answer.status == 403 {
                assert_refused(&operation, &answer, 403, "api_key_scope_missing", "without its scope");
                let enough = ask(&stranger, Some(only), &operation, &ids).await.status;
                assert!(enough != 401 && enough != 403, "{}: {scope} is enough", operation.id);
                needed.push(*scope);
            }
        }
        let place = format!("{} {}", operation.method, operation.path);
        let any_will_do = WITH_ANY_KEY.contains(&operation.id.as_str());
        assert_eq!(needed.len(), usize::from(!any_will_do), "{place} needs one scope: {needed:?}");
        assert_eq!(operation.scope.as_deref(), needed.first().copied(), "{place}: what the description says");
    }
}

/// Creates one of every resource that the host's backend can name.
async fn scene() -> (TestApp, Receiver, Ids, String) {
    let receiver = Receiver::start().await;
    let allowed = receiver.host();
    let more = [("MARKETPLACE_INSTALLS", "on"), ("WEBHOOK_ALLOWED_HOSTS", allowed.as_str())];
    let app = TestApp::with(&[LONG_SESSIONS, &more].concat()).await;
    let key = app.api_key(&all_but("")).await;
    let webhook = app.webhook(&receiver.url("/"), "").await;
    app.connected(ACME).await;
    app.deliver_due().await;
    let code = app.hubspot.install(&format!("{}/install/hubspot", app.base), GLOBEX);
    assert!(app.browser().get(&format!("/install/hubspot?code={code}")).await.status < 400);
    let body = json!({"external_user_id": "user_42"});
    let session = app.api(&key, Method::POST, "/api/hubspot/connect-sessions", Some(body)).await;
    assert_eq!(session.status, 201, "{}", session.body);
    let text = |value: &Value| value["id"].as_str().expect("an id").to_owned();
    let ids = Ids {
        connection: app.database.column(sql::ID).await,
        session: text(&session.json()),
        install: app.database.install_id().await,
        webhook: text(&webhook),
        delivery: app.database.text_in(sql::DELIVERIES, "MIN(event_id)").await,
    };
    (app, receiver, ids, key)
}

/// Returns the number of rows and their states.
async fn state(app: &TestApp) -> Vec<String> {
    let mut all = vec![format!("{} calls at HubSpot", app.hubspot.journal().len())];
    for (table, columns) in [
        (sql::CONNECTIONS, "state || generation"),
        (sql::PENDING_GRANTS, "refresh_sealed"),
        (sql::CONNECT_SESSIONS, "COALESCE(connection_id, 'open')"),
        (sql::ENDPOINTS, "secrets_sealed || url"),
        (sql::DELIVERIES, "status || attempts"),
    ] {
        all.push(format!("{} in {table}", app.database.count(table).await));
        for one in ["MIN", "MAX"] {
            all.push(app.database.text_in(table, &format!("{one}({columns})")).await);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn unauthorized_calls_reveal_and_change_nothing() {
    let (app, receiver, real, _) = scene().await;
    let (before, unknown) = (state(&app).await, Ids::all(UNKNOWN));
    let heard = receiver.heard().len();
    let stranger = app.browser();
    for operation in of_backends() {
        let Some(scope) = &operation.scope else { continue };
        let lacking = app.api_key(&all_but(scope)).await;
        for key in [None, Some("hsc_key_00000000_wrong".to_owned()), Some(lacking)] {
            let there = ask(&stranger, key.as_deref(), &operation, &real).await;
            let nowhere = ask(&stranger, key.as_deref(), &operation, &unknown).await;
            assert!(matches!(there.status, 401 | 403), "{}: {}", operation.id, there.body);
            assert_eq!(comparable(&there), comparable(&nowhere), "{}", operation.id);
        }
    }
    assert_eq!(state(&app).await, before);
    assert_eq!(receiver.heard().len(), heard, "and no webhook was tested or sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_other_resources_are_treated_as_not_found() {
    let (app, _receiver, real, key) = scene().await;
    let (before, backend) = (state(&app).await, app.browser());
    let unknown = Ids::all(UNKNOWN);
    let named = of_backends().into_iter().filter(|one| one.path.contains('{'));
    for operation in named {
        let nothing = ask(&backend, Some(&key), &operation, &unknown).await;
        assert_eq!(nothing.status, 404, "{} {}: {}", operation.method, operation.path, nothing.body);
        let own = operation_id(&real, &operation);
        for id in [&real.connection, &real.session, &real.install, &real.webhook, &real.delivery] {
            if id == own {
                continue;
            }
            let other = ask(&backend, Some(&key), &operation, &Ids::all(id)).await;
            assert_eq!(comparable(&other), comparable(&nothing), "{} with {id}", operation.id);
        }
    }
    assert_eq!(state(&app).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_of_another_project_are_not_found() {
    let (app, receiver, real, _) = scene().await;
    let key = app.api_key_of(&"other".parse().unwrap(), &all_but("")).await;
    let (before, backend, heard) = (state(&app).await, app.browser(), receiver.heard().len());
    let asked = app.hubspot.journal().len();
    for operation in of_backends() {
        // Keys of all projects see an install until one of them claims it.
        if operation.path.starts_with("/api/hubspot/installs") {
            continue;
        }
        let answer = ask(&backend, Some(&key), &operation, &real).await;
        if operation.path.contains('{') {
            let nothing = ask(&backend, Some(&key), &operation, &Ids::all(UNKNOWN)).await;
            assert_eq!(nothing.status, 404, "{}: {}", operation.id, nothing.body);
            assert_eq!(comparable(&answer), comparable(&nothing), "{}", operation.id);
        } else if operation.id.starts_with("list_") {
            assert_eq!(answer.json()["data"], json!([]), "{}", operation.id);
        }
    }
    let calls: Vec<_> = app.hubspot.journal()[asked..].iter().map(|call| call.kind).collect();
    assert_eq!(calls, [Kind::Refresh], "an import asks HubSpot whether its refresh token is good");
    let mut after = state(&app).await;
    let sessions = after.iter().position(|line| line.ends_with(sql::CONNECT_SESSIONS)).expect("a line");
    assert_eq!(after[sessions], format!("2 in {}", sql::CONNECT_SESSIONS), "one session of its own");
    after[sessions].clone_from(&before[sessions]);
    after[0].clone_from(&before[0]);
    assert_eq!(after, before);
    assert_eq!(receiver.heard().len(), heard);
}

/// Returns the id of an operation's resource.
fn operation_id<'a>(ids: &'a Ids, operation: &Operation) -> &'a str {
    let first = operation.path.trim_start_matches("/api/hubspot/").split('/').next();
    match first.unwrap_or_default() {
        "connections" => &ids.connection,
        "connect-sessions" => &ids.session,
        "installs" => &ids.install,
        "webhooks" => &ids.webhook,
        other => panic!("say here what {other} names"),
    }
}
