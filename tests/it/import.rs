//! Imported connections: each refresh token is used once, none is lost, and the same file may be imported again.

use std::fs;

use fake_hubspot::{Fault, Kind, Options, Rule};
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, INITECH, LONG_SESSIONS};
use crate::harness::process::{CommandOutput, changed, run};
use crate::harness::{TestApp, eventually, sql};

/// A HubSpot where another app has obtained refresh tokens for these accounts, and a stopped service.
struct Elsewhere {
    app: Option<TestApp>,
    variables: Vec<(String, String)>,
    tokens: Vec<String>,
    folder: tempfile::TempDir,
}

impl Elsewhere {
    async fn with(options: Options, accounts: &[u64]) -> Self {
        let app = TestApp::with_hubspot(LONG_SESSIONS, options).await;
        for account in accounts {
            app.connected(*account).await;
        }
        let tokens = app.hubspot.grants().into_iter().map(|grant| grant.refresh_token).collect();
        for table in [sql::REFRESH_JOBS, sql::CONNECTIONS, sql::SESSIONS, sql::AUTH_REQUESTS] {
            app.database.clear(table).await;
        }
        let variables = app.variables.clone();
        Self { app: Some(app), variables, tokens, folder: tempfile::tempdir().unwrap() }
    }

    fn app(&self) -> &TestApp {
        self.app.as_ref().unwrap()
    }

    /// Imports these lines while the service is stopped, and restarts it.
    async fn import(&mut self, lines: &[Value]) -> CommandOutput {
        let text: Vec<String> = lines.iter().map(Value::to_string).collect();
        self.import_text(&text.join("\n")).await
    }

    async fn import_text(&mut self, text: &str) -> CommandOutput {
        let file = self.folder.path().join("tokens.jsonl");
        fs::write(&file, text).unwrap();
        let (database, variables, hubspot, clock) = self.app.take().unwrap().stopped().await;
        let ended = run(&["import", file.to_str().unwrap()], &variables);
        for token in hubspot.grants().into_iter().map(|grant| grant.refresh_token).chain(self.tokens.clone())
        {
            assert!(!format!("{ended:?}").contains(&token), "a token is shown: {ended:?}");
        }
        self.app = Some(TestApp::again(hubspot, database, variables, clock).await);
        ended
    }

    fn line(&self, number: usize) -> Value {
        json!({"external_user_id": format!("user-{number}"), "refresh_token": self.tokens[number]})
    }
}

/// Returns the connections that an import has printed, by line.
fn mapping(ended: &CommandOutput) -> Vec<Value> {
    let printed = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("an object a line"));
    let mut mapping: Vec<Value> = printed.collect();
    mapping.sort_by_key(|one| one["line"].as_u64());
    mapping
}

/// Returns the last line of standard error: how many lines were imported, known and refused.
fn summary(ended: &CommandOutput) -> &str {
    ended.stderr.lines().last().and_then(|line| line.strip_prefix("hubspot-connect: ")).unwrap_or_default()
}

fn strict() -> Options {
    Options { rotate_refresh_tokens: true, reject_reused_refresh_tokens: true, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_refresh_tokens_become_connections_and_may_be_imported_again() {
    let mut there = Elsewhere::with(strict(), &[ACME, GLOBEX]).await;
    let mut first = there.line(0);
    first["portal_id"] = json!(ACME);
    first["metadata"] = json!({"team": "north"});
    first["scopes"] = json!(["oauth", "crm.objects.contacts.read", "automation"]);
    let lines = [first, there.line(1)];
    let ended = there.import(&lines).await;
    assert_eq!(
        (ended.code, summary(&ended)),
        (Some(0), "2 imported, 0 already known, 0 rejected"),
        "{ended:?}"
    );
    assert_eq!(there.app().hubspot.calls(Kind::Refresh).len(), 2, "each is used once");
    let database = &there.app().database;
    let (acme, globex) = (database.column_of(ACME, sql::ID).await, database.column_of(GLOBEX, sql::ID).await);
    let connections = [
        json!({"line": 1, "external_user_id": "user-0", "connection_id": acme}),
        json!({"line": 2, "external_user_id": "user-1", "connection_id": globex}),
    ];
    assert_eq!(mapping(&ended), connections);
    for _ in 0..2 {
        let again = there.import(&lines).await;
        assert_eq!(
            (again.code, summary(&again)),
            (Some(0), "0 imported, 2 already known, 0 rejected"),
            "{again:?}"
        );
        assert_eq!(mapping(&again), connections);
    }
    assert_eq!(there.app().hubspot.calls(Kind::Refresh).len(), 2, "what is known is left alone");
    let app = there.app();
    app.assert_one_job_each().await;
    let key = app.api_key("connections:read tokens:read").await;
    let path = "/api/hubspot/connections?external_user_id=user-0";
    let shown = app.api(&key, reqwest::Method::GET, path, None).await.json();
    let connection = &shown["data"][0];
    assert_eq!(connection["portal_id"], json!(ACME));
    assert_eq!(connection["metadata"], json!({"team": "north"}));
    assert_eq!(connection["missing_scopes"], json!(["automation"]));
    assert_eq!(connection["generation"], 1);
    let newest: Vec<String> = app.hubspot.grants().into_iter().map(|grant| grant.refresh_token).collect();
    assert!(newest.iter().all(|token| !there.tokens.contains(token)), "HubSpot has replaced them");
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_connections_are_refreshed_and_outlive_sessions() {
    let mut there = Elsewhere::with(strict(), &[ACME]).await;
    let lines = [there.line(0)];
    assert_eq!(there.import(&lines).await.code, Some(0));
    // The import uses the system's clock, the service the test's.
    let app = there.app();
    app.database.make_refreshes_due().await;
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.database.generation().await, 2);
    app.services.connections.details.fetch_missing_details().await.unwrap();
    app.advance(90 * 86_400);
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 1, "its user has no session here");
    assert_eq!(summary(&there.import(&lines).await), "0 imported, 1 already known, 0 rejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_lines_are_reported_by_number_and_the_others_are_imported() {
    let mut there = Elsewhere::with(strict(), &[ACME, GLOBEX, INITECH]).await;
    there.app().hubspot.uninstall(INITECH);
    let mut wrong = there.line(1);
    wrong["portal_id"] = json!(9_007_199_254_740_991_u64);
    let text = format!(
        "{}\n\n{wrong}\r\n{}\nnonsense {}\n{}\n",
        there.line(0),
        there.line(2),
        there.tokens[0],
        json!({"external_user_id": "u", "refresh_token": there.tokens[0], "access_token": "x"}),
    );
    let ended = there.import_text(&text).await;
    assert_eq!(
        (ended.code, summary(&ended)),
        (Some(1), "1 imported, 0 already known, 4 rejected"),
        "{ended:?}"
    );
    for said in
        ["line 3: wrong_account", "line 4: grant_dead", "line 5: not an object", "line 6: not an object"]
    {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    let printed: Vec<Value> = mapping(&ended).iter().map(|one| one["line"].clone()).collect();
    assert_eq!(printed, [1], "only lines that have a connection are printed");
    let lines = [there.line(1)];
    let right = there.import(&lines).await;
    assert_eq!(
        summary(&right),
        "1 imported, 0 already known, 0 rejected",
        "the refused token was not used: {right:?}"
    );
    assert_eq!(there.app().database.count(sql::CONNECTIONS).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_tokens_in_a_file_are_used_once() {
    let mut there = Elsewhere::with(strict(), &[ACME]).await;
    let lines = vec![there.line(0); 5];
    let ended = there.import(&lines).await;
    assert_eq!(
        (ended.code, summary(&ended)),
        (Some(0), "1 imported, 4 already known, 0 rejected"),
        "{ended:?}"
    );
    assert_eq!(there.app().hubspot.calls(Kind::Refresh).len(), 1);
    assert!(there.app().hubspot.journal().iter().all(|call| !call.superseded));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_another_users_connection_are_not_used() {
    for options in [Options::default(), strict()] {
        let mut there = Elsewhere::with(options, &[ACME]).await;
        let lines = [there.line(0)];
        assert_eq!(there.import(&lines).await.code, Some(0));
        let used = there.app().hubspot.calls(Kind::Refresh).len();
        let mut other = there.line(0);
        other["external_user_id"] = json!("another user");
        let ended = there.import(&[other]).await;
        assert_eq!(
            (ended.code, summary(&ended)),
            (Some(1), "0 imported, 0 already known, 1 rejected"),
            "{ended:?}"
        );
        assert!(ended.stderr.contains("line 1: refresh_token_in_use"), "{}", ended.stderr);
        assert_eq!(there.app().hubspot.calls(Kind::Refresh).len(), used);
        assert_eq!(there.app().database.count(sql::CONNECTIONS).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_for_the_same_user_and_account_replaces_the_old_one() {
    let mut there = Elsewhere::with(Options::default(), &[ACME, ACME]).await;
    let mut other = there.line(1);
    other["external_user_id"] = json!("user-0");
    let lines = [there.line(0)];
    assert_eq!(there.import(&lines).await.code, Some(0));
    let before = there.app().database.column(sql::ID).await;
    assert_eq!(summary(&there.import(&[other]).await), "1 imported, 0 already known, 0 rejected");
    let app = there.app();
    assert_eq!(app.database.column(sql::ID).await, before);
    assert_eq!(app.database.generation().await, 2);
    assert_eq!(app.database.count(sql::REVOCATION_JOBS).await, 1, "as at a reconnect");
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transient_failures_are_retried_and_refused_credentials_end_the_import() {
    let mut there = Elsewhere::with(strict(), &[ACME, GLOBEX]).await;
    there.app().hubspot.script(Rule::once(Kind::Refresh, Fault::CloseBeforeAnswer));
    let lines = [there.line(0)];
    assert_eq!(there.import(&lines).await.code, Some(0));
    let right = there.variables.clone();
    let app = there.app.take().unwrap().restarted(&[("HUBSPOT_CLIENT_SECRET", "another-secret")]).await;
    there.app = Some(app);
    let lines = vec![there.line(1); 3];
    let ended = there.import(&lines).await;
    assert_eq!(
        (ended.code, summary(&ended)),
        (Some(1), "0 imported, 0 already known, 3 rejected"),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("client_rejected"), "{ended:?}");
    let secret = crate::harness::process::value(&right, "HUBSPOT_CLIENT_SECRET");
    let app = there.app.take().unwrap().restarted(&[("HUBSPOT_CLIENT_SECRET", &secret)]).await;
    there.app = Some(app);
    let lines = [there.line(1)];
    assert_eq!(there.import(&lines).await.code, Some(0), "nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_refuse_a_running_sqlite_service_and_missing_files() {
    let there = Elsewhere::with(Options::default(), &[ACME]).await;
    let file = there.folder.path().join("tokens.jsonl");
    fs::write(&file, there.line(0).to_string()).unwrap();
    let ended = run(&["import", file.to_str().unwrap()], &there.variables);
    if there.app().database.is_sqlite() {
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains("another process serves"), "{ended:?}");
    } else {
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(there.app().database.count(sql::CONNECTIONS).await, 1);
    }
    let missing = run(&["import", "/no/such/file"], &there.variables);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("/no/such/file"), "{missing:?}");
    let nothing = changed(&there.variables, "DATABASE_URL", "sqlite:///no/such/folder/test.db");
    assert_eq!(run(&["import", "-"], &nothing).code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_contain_everything_but_tokens() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    app.connected(GLOBEX).await;
    let ended = run(&["export"], &app.variables);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    let portals: Vec<u64> = lines.iter().map(|line| line["portal_id"].as_u64().unwrap()).collect();
    assert!(portals.contains(&ACME) && portals.contains(&GLOBEX), "{lines:?}");
    for grant in app.hubspot.grants() {
        assert!(!ended.stdout.contains(&grant.refresh_token));
    }
    assert!(!ended.stdout.contains("gAAAA") && !ended.stdout.contains("sealed"), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_imports_a_refresh_token_while_the_service_runs() {
    let there = Elsewhere::with(strict(), &[ACME, GLOBEX, INITECH]).await;
    let app = there.app();
    let key = app.api_key("connections:write").await;
    let import = |body: Value| {
        let key = key.clone();
        async move { app.api(&key, reqwest::Method::POST, "/api/hubspot/connections", Some(body)).await }
    };
    let mut line = there.line(0);
    line["metadata"] = json!({"team": "north"});
    line["portal_id"] = json!(ACME);
    // HubSpot rotates the token at its first use: of two concurrent requests, one may use it.
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::HoldAfterIssue));
    let (made, second) = tokio::join!(import(line.clone()), async {
        eventually("HubSpot is asked", || async { app.hubspot.calls(Kind::Refresh).len() == 1 }).await;
        let second = import(line.clone()).await;
        app.hubspot.release();
        second
    });
    assert_eq!((made.status, second.status), (201, 409), "{} {}", made.body, second.body);
    assert_eq!(second.json()["code"], "refresh_token_in_use");
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(made.header("location"), format!("/api/hubspot/connections/{id}"));
    assert_eq!(made.json()["metadata"], json!({"team": "north"}));
    assert_eq!(made.json()["external_user_id"], "user-0");
    let again = import(line).await;
    assert_eq!((again.status, &again.json()["id"]), (200, &json!(id)));
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 1);
    app.assert_one_job_each().await;
    // The reasons of refusals, none of which uses a valid token.
    let refused = async |line: Value| {
        let answer = import(line).await;
        (answer.status, answer.json()["code"].as_str().expect("a code").to_owned())
    };
    let (mut wrong, mut taken) = (there.line(1), there.line(0));
    wrong["portal_id"] = json!(INITECH);
    taken["external_user_id"] = json!("user-9");
    app.hubspot.uninstall(INITECH);
    assert_eq!(refused(wrong).await, (409, "wrong_account".to_owned()));
    assert_eq!(refused(taken).await, (409, "refresh_token_in_use".to_owned()));
    assert_eq!(refused(there.line(2)).await, (409, "grant_dead".to_owned()));
    assert_eq!(refused(json!({"external_user_id": "u", "refresh_token": "a b"})).await.0, 400);
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::CloseBeforeAnswer));
    assert_eq!(refused(there.line(1)).await, (502, "provider_unreachable".to_owned()), "it is asked once");
    assert_eq!(import(there.line(1)).await.status, 201);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 2);
}
