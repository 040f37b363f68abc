//! The number of SQL statements of an operation. A commit that changes a number explains why.

use std::fmt::Write;

use reqwest::Method;

use crate::harness::app::{HOST, LONG_SESSIONS};
use crate::harness::page::{Page, approved};
use crate::harness::statements::Statements;
use crate::harness::{TestApp, sql};

/// Each operation with its statements on SQLite, where sessions and tokens are cached, and on PostgreSQL. The BEGIN and
/// the COMMIT of a transaction are not counted, nor is the query for PostgreSQL's time, which the clock of the test
/// makes unnecessary.
const TABLE: [(&str, usize, usize); 9] = [
    ("start", 1, 1),
    ("callback", 17, 17),
    ("hand-off", 4, 5),
    ("status of the flow, connected", 2, 2),
    ("status of the session, connected", 1, 2),
    ("first token read", 4, 4),
    ("token read", 0, 1),
    ("first refresh", 5, 5),
    ("refresh", 4, 4),
];

/// Runs the operations of the table and returns the statements of each.
async fn operations(app: &TestApp, statements: &Statements) -> Vec<Vec<String>> {
    let key = app.api_key("tokens:read").await;
    let (page, popup) = (Page::new(&app.base, HOST), app.browser());
    let mut sent = Vec::new();
    statements.take(app).await;

    let authorize = page.begin(&popup).await;
    sent.push(statements.take(app).await);
    let callback = approved(app, &popup, &authorize).await;
    sent.push(statements.take(app).await);
    assert_eq!(popup.handoff(callback.location()).await.status, 200);
    sent.push(statements.take(app).await);
    assert_eq!(page.poll().await.json()["status"], "connected");
    sent.push(statements.take(app).await);
    assert_eq!(popup.status().await["status"], "active");
    sent.push(statements.take(app).await);
    let id = app.database.column(sql::ID).await;
    for _ in 0..2 {
        let path = format!("/api/hubspot/connections/{id}/token");
        assert_eq!(app.api(&key, Method::GET, &path, None).await.status, 200);
        sent.push(statements.take(app).await);
    }
    for _ in 0..2 {
        app.advance(1261);
        assert_eq!(app.refresh_due().await, 1);
        sent.push(statements.take(app).await);
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_execute_the_expected_statements() {
    let statements = Statements::collect();
    let app = TestApp::with(LONG_SESSIONS).await;
    let sent = operations(&app, &statements).await;
    let is_sqlite = app.database.is_sqlite();
    let expected = TABLE.map(|(_, sqlite, postgres)| if is_sqlite { sqlite } else { postgres });
    let found: Vec<usize> = sent.iter().map(Vec::len).collect();
    let mut report = String::new();
    for (((operation, _, _), expected), sent) in TABLE.iter().zip(expected).zip(&sent) {
        writeln!(report, "{operation}: {} statements, {expected} in the table", sent.len()).unwrap();
        sent.iter().for_each(|sql| writeln!(report, "    {sql}").unwrap());
    }
    assert_eq!(found, expected, "\n{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_scans_all_connections() {
    let statements = Statements::collect();
    let app = TestApp::with(LONG_SESSIONS).await;
    let sent = operations(&app, &statements).await;
    app.services.maintenance.sweep().await.unwrap();
    app.services.connections.upkeep.reconcile(None).await.unwrap();
    let background = statements.take(&app).await;
    for statement in sent.iter().flatten().chain(&background) {
        let plan = app.database.plan(statement).await;
        let is_walked =
            plan.lines().any(|step| step.starts_with("SCAN token") || step.ends_with("(state=?)"));
        assert!(!is_walked, "a statement walks all connections\n{statement}\n{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_use_the_most_selective_index() {
    let statements = Statements::collect();
    let app = TestApp::with(LONG_SESSIONS).await;
    let key = app.api_key("connections:read webhooks").await;
    for (list, index) in [
        ("/connections", "token_created (project_id=?)"),
        ("/connections?order=desc&status=active", "token_created (project_id=?)"),
        ("/connections?metadata=plan:pro", "token_created (project_id=?)"),
        ("/connections?portal_id=1", "token_account_created (portal_id=? AND project_id=?)"),
        ("/connections?status=needs_reauth", "token_inactive (state=? AND project_id=?)"),
        ("/connections?status=integrity_error", "token_inactive (state=? AND project_id=?)"),
        ("/connections?status=degraded", "(id=?)"),
        ("/events", "event_project (project_id=? AND created_at>? AND created_at<?)"),
    ] {
        app.pages(&key, &format!("/api/hubspot{list}")).await;
        let sent = statements.take(&app).await;
        let listing =
            sent.iter().find(|statement| statement.contains("ORDER BY created_at")).expect("a list");
        let plan = app.database.plan(listing).await;
        assert!(!app.database.is_sqlite() || plan.contains(index), "{list}: {index}\n{listing}\n{plan}");
    }
}
