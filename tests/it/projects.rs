//! Projects: two products share a service and are isolated from each other.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, HOST, LONG_SESSIONS, approve};
use crate::harness::browser::problem_of;
use crate::harness::host::{Host, SESSIONS};
use crate::harness::page::Page;
use crate::harness::process::run;
use crate::harness::{Receiver, TestApp, sql};

const CONNECTIONS: &str = "/api/hubspot/connections";
const EVENTS: &str = "/api/hubspot/events";
const WEBHOOKS: &str = "/api/hubspot/webhooks";
const ALL: &str = "connections:read sessions:write tokens:read webhooks";

/// Returns a host of this project.
async fn host_of(app: TestApp, project: &str) -> Host {
    let key = app.api_key_of(&project.parse().unwrap(), ALL).await;
    Host { app, key }
}

/// Connects this account for `user_42` of the host, in a new browser.
async fn connect(host: &Host, hub_id: u64) -> String {
    let session = host.make(json!({"external_user_id": "user_42"})).await;
    host.approve(&session, &host.page(), &host.app.browser(), approve(hub_id)).await;
    host.session(&session).await["connection_id"].as_str().expect("a connection").to_owned()
}

/// Revokes all keys and tries to delete the project.
async fn without_keys(host: &Host, project: &str) -> bool {
    let (platform, now) = (&host.app.store.platform, host.app.clock.now());
    for key in platform.api_keys().await.unwrap() {
        platform.revoke_api_key(key.id, now).await.unwrap();
    }
    platform.delete_project(&project.parse().unwrap()).await.unwrap()
}

async fn listed(app: &TestApp, key: &str, path: &str) -> Vec<Value> {
    app.pages(key, path).await.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn external_ids_are_scoped_to_projects() {
    let first = host_of(TestApp::with(LONG_SESSIONS).await, "first").await;
    let first_id = connect(&first, ACME).await;
    let Host { app, key: first_key } = first;
    let second = host_of(app, "second").await;
    let second_id = connect(&second, ACME).await;
    let Host { app, key: second_key } = second;
    assert_ne!(first_id, second_id, "the same account, connected in each project");
    for (key, id) in [(&first_key, &first_id), (&second_key, &second_id)] {
        for filter in
            ["", "?external_user_id=user_42", "?status=active", "?status=degraded", "?portal_id=1234567"]
        {
            let ids: Vec<_> = listed(&app, key, &format!("{CONNECTIONS}{filter}")).await;
            let ids: Vec<_> = ids.iter().map(|one| one["id"].as_str().unwrap()).collect();
            let expected: &[&str] = if filter == "?status=degraded" { &[] } else { &[id] };
            assert_eq!(ids, expected, "{filter}");
        }
        assert_eq!(listed(&app, key, SESSIONS).await.len(), 1);
        let body = json!({"external_user_id": "user_42"});
        let token = app.api(key, Method::POST, "/api/hubspot/read-tokens", Some(body)).await.json();
        let page = app.browser();
        let request = page.request(Method::GET, "/api/hubspot/status").header("origin", HOST);
        let token = token["token"].as_str().unwrap();
        let status = page.send(request.header("hubspot-connect-read-token", token)).await.json();
        let seen = status["connections"].as_array().unwrap();
        assert_eq!((seen.len(), seen[0]["id"].as_str()), (1, Some(id.as_str())), "{status}");
    }
    let own = app.api(&second_key, Method::GET, "/api/hubspot/api-key", None).await.json();
    assert_eq!(own["project"], "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_reconnected_only_by_their_own_project() {
    let first = host_of(TestApp::with(LONG_SESSIONS).await, "first").await;
    let id = connect(&first, ACME).await;
    let second = host_of(first.app, "second").await;
    let body = json!({"connection_id": id});
    let refused = second.app.api(&second.key, Method::POST, SESSIONS, Some(body.clone())).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (404, Some("connection_not_found")));
    let made = second.app.api(&first.key, Method::POST, SESSIONS, Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_receive_events_of_their_project_and_of_the_app() {
    let (ours, theirs) = (Receiver::start().await, Receiver::start().await);
    let hosts = format!("{},{}", ours.host(), theirs.host());
    let variables = [("WEBHOOK_ALLOWED_HOSTS", hosts.as_str()), ("MARKETPLACE_INSTALLS", "on")];
    let app = TestApp::with(&[LONG_SESSIONS, &variables].concat()).await;
    let second = host_of(app, "second").await;
    let key = second.app.api_key_of(&"third".parse().unwrap(), ALL).await;
    for (key, receiver) in [(&second.key, &ours), (&key, &theirs)] {
        let body = json!({"url": receiver.url("/hooks")});
        let made = second.app.api(key, Method::POST, WEBHOOKS, Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.body);
        assert_eq!(listed(&second.app, key, WEBHOOKS).await.len(), 1);
    }
    connect(&second, ACME).await;
    let link = second.make(json!({"external_user_id": "user_43", "hosted": true})).await;
    let path = format!("{SESSIONS}/{}", link["id"].as_str().unwrap());
    assert_eq!(second.app.api(&second.key, Method::DELETE, &path, None).await.status, 200);
    let code = second.app.hubspot.install(&format!("{}/install/hubspot", second.app.base), GLOBEX);
    second.app.browser().get(&format!("/install/hubspot?code={code}")).await;
    second.app.deliver_due().await;
    let kinds = |receiver: &Receiver| {
        let mut kinds: Vec<_> = receiver.heard().iter().map(|heard| heard.kind()).collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds(&ours), ["connect_session.failed", "connection.created", "install.unclaimed"]);
    assert_eq!(kinds(&theirs), ["install.unclaimed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_list_events_of_their_project_and_of_the_app() {
    let app = TestApp::with(&[LONG_SESSIONS, &[("MARKETPLACE_INSTALLS", "on")]].concat()).await;
    let first = host_of(app, "first").await;
    let id = connect(&first, ACME).await;
    let Host { app, key: first_key } = first;
    let second = host_of(app, "second").await;
    let link = second.make(json!({"external_user_id": "user_43", "hosted": true})).await;
    let path = format!("{SESSIONS}/{}", link["id"].as_str().unwrap());
    assert_eq!(second.app.api(&second.key, Method::DELETE, &path, None).await.status, 200);
    let code = second.app.hubspot.install(&format!("{}/install/hubspot", second.app.base), GLOBEX);
    second.app.browser().get(&format!("/install/hubspot?code={code}")).await;
    second.app.advance(61);
    for (key, expected) in [
        (&first_key, ["connection.created", "install.unclaimed"]),
        (&second.key, ["connect_session.failed", "install.unclaimed"]),
    ] {
        let events = listed(&second.app, key, EVENTS).await;
        assert_eq!(events.iter().map(|event| event["type"].as_str().unwrap()).collect::<Vec<_>>(), expected);
        let created = listed(&second.app, key, &format!("{EVENTS}?type=connection.created")).await;
        let ids: Vec<_> = created.iter().map(|event| event["connection_id"].as_str().unwrap()).collect();
        assert_eq!(ids, if key == &first_key { vec![id.as_str()] } else { vec![] });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_events_belong_to_the_subscribing_project() {
    let receiver = Receiver::start().await;
    let variables = [("WEBHOOK_ALLOWED_HOSTS", receiver.host()), ("ON_SESSION_EXPIRY", "keep".to_owned())];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let first = host_of(TestApp::with(&[LONG_SESSIONS, &variables].concat()).await, "first").await;
    let quiet = connect(&first, ACME).await;
    let second = host_of(first.app, "second").await;
    let connection = connect(&second, ACME).await;
    let body = json!({"url": receiver.url("/hooks"), "events": ["connection.refreshed"]});
    assert_eq!(second.app.api(&second.key, Method::POST, WEBHOOKS, Some(body)).await.status, 201);
    second.app.advance(1261);
    assert_eq!(second.app.refresh_due().await, 2);
    second.app.deliver_due().await;
    let messages = receiver.heard();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].json()["data"]["connection_id"], connection.as_str());
    let history = format!("{CONNECTIONS}/{quiet}/history");
    assert_eq!(listed(&second.app, &first.key, &history).await.len(), 1, "it was created");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_project_work_only_on_its_origins() {
    const OTHER: &str = "http://other.localhost:3000";
    let app = TestApp::with(&[("HOST_ORIGINS", &format!("{HOST},{OTHER}"))]).await;
    let create = ["projects", "create", "second", "--host-origin", OTHER];
    assert_eq!(run(&create, &app.variables).code, Some(0));
    let second = host_of(app, "second").await;
    let session = second.make(json!({"external_user_id": "user_42"})).await;
    let token = session["token"].as_str().unwrap();
    let browser = second.app.browser();
    let refused = second.page().post(&browser, Some(HOST), &[("connect_session", token)]).await;
    assert_eq!(problem_of(&refused), "origin_not_allowed");
    let page = Page::new(&second.app.base, OTHER);
    assert_eq!(page.post(&browser, Some(OTHER), &[("connect_session", token)]).await.status, 200);
    let elsewhere = json!({"external_user_id": "user_42", "allowed_origins": [HOST]});
    let refused = second.app.api(&second.key, Method::POST, SESSIONS, Some(elsewhere)).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("origin_not_allowed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_are_managed_on_the_command_line() {
    let app = TestApp::start().await;
    let run = |arguments: &[&str]| run(arguments, &app.variables);
    let key_of_nothing = run(&["api-keys", "create", "backend", "--scope", "proxy", "--project", "second"]);
    assert!(
        key_of_nothing.code == Some(1) && key_of_nothing.stderr.contains("no project second"),
        "{key_of_nothing:?}"
    );
    assert_eq!(run(&["projects", "create", "Second"]).code, Some(2));
    let elsewhere = run(&["projects", "create", "second", "--host-origin", "https://evil.example"]);
    assert!(elsewhere.code == Some(1) && elsewhere.stderr.contains("HOST_ORIGINS"), "{elsewhere:?}");
    assert_eq!(run(&["projects", "create", "second"]).code, Some(0));
    assert_eq!(run(&["projects", "create", "second"]).code, Some(1), "the name is taken");
    assert_eq!(run(&["projects", "set-origins", "second", "--host-origin", HOST]).code, Some(0));
    assert_eq!(run(&["projects", "set-origins", "second"]).code, Some(2), "nothing is named");
    assert_eq!(run(&["projects", "set-origins", "third", "--all"]).code, Some(1));
    assert_eq!(run(&["projects", "set-origins", "default", "--host-origin", HOST]).code, Some(1));
    let list = run(&["projects", "list"]).stdout;
    assert_eq!(list, format!("default  all of HOST_ORIGINS\nsecond  {HOST}\n"));
    let made = run(&["api-keys", "create", "backend", "--scope", "proxy", "--project", "second"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let refused = run(&["projects", "delete", "second"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("active keys"), "{refused:?}");
    let keys = run(&["api-keys", "list"]).stdout;
    let line = keys.lines().find(|line| line.contains("project second")).expect("the key");
    assert_eq!(run(&["api-keys", "revoke", line.split_whitespace().next().unwrap()]).code, Some(0));
    assert_eq!(run(&["projects", "delete", "second"]).code, Some(0));
    assert_eq!(run(&["projects", "delete", "default"]).code, Some(1));
    assert_eq!(run(&["projects", "list"]).stdout, "default  all of HOST_ORIGINS\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_with_connections_or_endpoints_are_not_deleted() {
    let host = host_of(TestApp::with(LONG_SESSIONS).await, "second").await;
    assert!(without_keys(&host, "second").await, "nothing is left in it");
    let host = host_of(host.app, "second").await;
    connect(&host, ACME).await;
    assert!(!without_keys(&host, "second").await, "there is a connection");
    assert_eq!(host.app.database.count(sql::CONNECTIONS).await, 1);
    let receiver = Receiver::start().await;
    let app = TestApp::with(&[("WEBHOOK_ALLOWED_HOSTS", &receiver.host())]).await;
    let host = host_of(app, "second").await;
    let body = json!({"url": receiver.url("/hooks")});
    assert_eq!(host.app.api(&host.key, Method::POST, WEBHOOKS, Some(body)).await.status, 201);
    assert!(!without_keys(&host, "second").await, "there is an endpoint");
    let host = host_of(TestApp::start().await, "second").await;
    host.make(json!({"external_user_id": "user_42"})).await;
    assert!(!without_keys(&host, "second").await, "there is a session that may lead to a connection");
    host.app.advance(1800 + 7200);
    assert!(without_keys(&host, "second").await, "it has expired");
    let host = host_of(host.app, "second").await;
    assert!(
        listed(&host.app, &host.key, SESSIONS).await.is_empty(),
        "a new project of the same name is empty"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_projects_migration_is_reverted_only_without_projects() {
    let host = host_of(TestApp::with(LONG_SESSIONS).await, "default").await;
    let id = connect(&host, ACME).await;
    let Host { app, key } = host;
    let (database, variables, hubspot, clock) = app.stopped().await;
    let run = |arguments: &[&str]| run(arguments, &variables);
    let since = "SELECT COUNT(*) FROM seaql_migrations WHERE version >= 'm20261130_000025_project'";
    let steps = database.number(since).await.to_string();
    let rollback = ["db", "rollback", "--steps", &steps, "--yes-lose-data"];
    assert_eq!(run(&["projects", "create", "second"]).code, Some(0));
    let refused = run(&rollback);
    assert!(refused.code == Some(1) && refused.stderr.contains("projects delete"), "{refused:?}");
    assert_eq!(run(&["projects", "delete", "second"]).code, Some(0));
    let back = run(&rollback);
    assert_eq!(back.code, Some(0), "{back:?}");
    assert_eq!(run(&["db", "migrate"]).code, Some(0));
    let app = TestApp::again(hubspot, database, variables.clone(), clock).await;
    let found = listed(&app, &key, &format!("{CONNECTIONS}?external_user_id=user_42")).await;
    assert_eq!(found.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), [id]);
}
