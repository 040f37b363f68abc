//! A database that fails, stalls, refuses or is restored: HubSpot is not called without effect, and no tokens are lost.

use std::time::{Duration, Instant};

use fake_hubspot::{FakeHubSpot, Fault, Kind, Options, Rule};
use hubspot_connect::domain::clock::{Clock, Timestamp};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, Statement, TransactionTrait,
};
use test_support::{Line, State};
use url::Url;

use crate::harness::app::{ACME, HOST, LONG_SESSIONS, approve, settle};
use crate::harness::browser::problem_of;
use crate::harness::database::TestDatabase;
use crate::harness::{TestApp, eventually, sql};

/// Later than any refresh of a token of thirty minutes.
const DUE: u64 = 1261;

fn strict() -> Options {
    Options { rotate_refresh_tokens: true, reject_reused_refresh_tokens: true, ..Options::default() }
}

/// Starts a service whose line to its server the test controls; `None` where the database is a file.
async fn service_on_a_line() -> Option<(TestApp, Line)> {
    let hubspot = FakeHubSpot::start(strict()).await.unwrap();
    let database = TestDatabase::fresh().await;
    if database.is_sqlite() {
        return None;
    }
    let mut url = Url::parse(&database.url).unwrap();
    let line = Line::to_database(&mut url).await.unwrap();
    let url = [("DATABASE_URL", url.as_str())];
    let variables = settle(&hubspot, &database, &[LONG_SESSIONS, &url].concat());
    let clock = Clock::manual(Timestamp::from_unix_ms(1_795_000_000_000));
    Some((TestApp::again(hubspot, database, variables, clock).await, line))
}

/// Waits until HubSpot has answered every call of this kind, and the number of calls is this.
async fn answered(app: &TestApp, kind: Kind, calls: usize) {
    eventually("HubSpot's responses", || async {
        let all = app.hubspot.calls(kind);
        all.len() == calls && all.iter().all(|call| call.finished_at_ms.is_some())
    })
    .await;
}

async fn generations(app: &TestApp) -> (i64, i64) {
    let of = async |which| app.database.number_in(sql::CONNECTIONS, which).await;
    (of("MIN(generation)").await, of("MAX(generation)").await)
}

/// Asserts that one more refresh of everything succeeds, with the newest tokens.
async fn assert_nothing_was_lost(app: &TestApp, connections: usize) {
    app.hubspot.clear_script();
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, connections);
    let calls = app.hubspot.journal();
    assert!(calls.iter().all(|call| !call.superseded), "{calls:?}");
    assert_eq!(app.database.connections(sql::HEALTHY).await, i64::try_from(connections).unwrap());
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_received_during_a_database_outage_are_stored_after_it() {
    let Some((app, line)) = service_on_a_line().await else { return };
    app.connected(ACME).await;
    app.advance(DUE);
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::HoldAfterIssue));
    let mut jobs = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    let late = app.services.connections.refreshes.refresh(jobs.remove(0));
    eventually("the refresh is under way", || async { app.hubspot.calls(Kind::Refresh).len() == 1 }).await;

    line.set(State::Cut);
    app.hubspot.release();
    answered(&app, Kind::Refresh, 1).await;
    eventually("the service tries to store it", || async { line.refused() > 0 }).await;

    assert!(!late.is_finished(), "it is kept");
    assert_eq!(generations(&app).await, (1, 1));
    line.set(State::Open);
    late.await.unwrap();
    assert_eq!(generations(&app).await, (2, 2));
    assert_nothing_was_lost(&app, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_made_during_a_database_outage_are_stored_after_it() {
    let Some((app, line)) = service_on_a_line().await else { return };
    let browser = app.browser();
    let authorize = browser.start(Some(HOST)).await;
    let back = app.hubspot.decide(&authorize, approve(ACME)).unwrap();
    app.hubspot.script(Rule::once(Kind::Exchange, Fault::HoldAfterIssue));
    let visit = tokio::spawn(browser.request(reqwest::Method::GET, &back).send());
    eventually("the exchange", || async { app.hubspot.calls(Kind::Exchange).len() == 1 }).await;

    line.set(State::Cut);
    app.hubspot.release();
    answered(&app, Kind::Exchange, 1).await;
    eventually("the service tries to store it", || async { line.refused() > 0 }).await;
    line.set(State::Open);

    assert_eq!(visit.await.unwrap().unwrap().status(), 303);
    // The session may have been lost with the connection. The browser gets it with a reload.
    assert_eq!(browser.get(&back).await.status, 303);
    assert_eq!(browser.status().await["status"], "active");
    assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 1, "a code is sent once");
    assert_nothing_was_lost(&app, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_outage_of_half_a_minute_loses_no_token() {
    let Some((app, line)) = service_on_a_line().await else { return };
    for account in 1..=6 {
        app.connected(3_000 + account).await;
    }
    app.advance(DUE);
    app.hubspot.script(Rule::always(Kind::Refresh, Fault::HoldAfterIssue));
    let running: Vec<_> = app
        .services
        .connections
        .refreshes
        .acquire_refreshes(3)
        .await
        .unwrap()
        .into_iter()
        .map(|job| app.services.connections.refreshes.refresh(job))
        .collect();
    eventually("three are under way", || async { app.hubspot.calls(Kind::Refresh).len() == 3 }).await;

    line.set(State::Cut);
    for _ in 0..30 {
        app.advance(1);
        assert!(app.services.connections.refreshes.acquire_refreshes(8).await.is_err());
    }
    app.hubspot.clear_script();
    answered(&app, Kind::Refresh, 3).await;
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 3, "without a claim HubSpot is not asked");
    assert!(running.iter().all(|one| !one.is_finished()));
    line.set(State::Open);

    for one in running {
        one.await.unwrap();
    }
    assert_eq!(app.refresh_due().await, 3, "those that could not be claimed");
    assert_eq!(generations(&app).await, (2, 2));
    assert_nothing_was_lost(&app, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_databases_are_tolerated() {
    let Some((app, line)) = service_on_a_line().await else { return };
    let browser = app.connected(ACME).await;
    line.set(State::Slow(Duration::from_millis(50)));
    app.advance(DUE);
    let began = Instant::now();
    assert_eq!(app.refresh_due().await, 1);
    assert!(began.elapsed() > Duration::from_millis(150), "it was slow");
    assert_eq!(browser.status().await["status"], "active");
    line.set(State::Open);
    assert_nothing_was_lost(&app, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unresponsive_databases_time_out() {
    let Some((app, line)) = service_on_a_line().await else { return };
    let browser = app.connected(ACME).await;
    let (stranger, readiness) = (app.browser(), format!("{}/readyz", app.admin));
    line.set(State::Stalled);
    let began = Instant::now();
    let (start, status, ready) = tokio::join!(
        browser.get("/auth/hubspot/start"),
        stranger.get("/api/hubspot/status"),
        stranger.get(&readiness),
    );
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!((start.status, problem_of(&start).as_str()), (503, "storage_unavailable"));
    assert_eq!((status.status, ready.status), (200, 503), "who has no session needs no database");
    line.set(State::Open);
    eventually("it is ready again", || async { stranger.get(&readiness).await.status == 200 }).await;
    assert_eq!(browser.status().await["status"], "active");
    assert_nothing_was_lost(&app, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_do_not_wait_for_an_unresponsive_database() {
    let Some((app, line)) = service_on_a_line().await else { return };
    app.connected(ACME).await;
    let (browser, path) = (app.browser(), format!("{}/metrics", app.admin));
    browser.get(&path).await;
    line.set(State::Stalled);
    let began = Instant::now();
    for _ in 0..4 {
        let scrape = browser.get(&path).await.body;
        assert!(scrape.contains("hubspot_connect_connections{status=\"active\"} 1\n"), "{scrape}");
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    line.set(State::Open);
}

/// A transaction of the test that blocks the service.
pub struct InTheWay {
    db: DatabaseConnection,
    pub own: DatabaseTransaction,
}

impl InTheWay {
    pub async fn with(database: &TestDatabase, sql: &str) -> Self {
        let db = database.connect().await;
        let own = db.begin().await.unwrap();
        own.execute_unprepared(sql).await.unwrap();
        Self { db, own }
    }

    /// Waits until the service waits for this transaction; returns its backend process id.
    pub async fn waiter(&self) -> i32 {
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'hubspot-connect' AND wait_event_type = 'Lock'";
        let began = Instant::now();
        loop {
            let find = Statement::from_string(DbBackend::Postgres, sql);
            if let Some(row) = self.db.query_one_raw(find).await.unwrap() {
                return row.try_get_by_index(0).unwrap();
            }
            assert!(began.elapsed() < Duration::from_secs(2), "the service does not wait");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the service waits, and kills its connection.
    async fn kill_waiter(&self) {
        let pid = self.waiter().await;
        self.db.execute_unprepared(&format!("SELECT pg_terminate_backend({pid})")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_stored_after_its_database_connection_is_killed() {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    if app.database.is_sqlite() {
        return; // A file has no connection to kill.
    }
    app.connected(ACME).await;
    app.advance(DUE);
    let mut jobs = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    let way = InTheWay::with(&app.database, &sql::lock(sql::REFRESH_JOBS)).await;
    let late = app.services.connections.refreshes.refresh(jobs.remove(0));
    for _ in 0..2 {
        // The tokens are written but not committed: the transaction waits for their job.
        way.kill_waiter().await;
    }
    assert!(!late.is_finished());
    way.own.rollback().await.unwrap();
    late.await.unwrap();
    assert_eq!(generations(&app).await, (2, 2));
    assert_nothing_was_lost(&app, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_is_stored_after_its_database_connection_is_killed() {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    if app.database.is_sqlite() {
        return;
    }
    let browser = app.browser();
    let authorize = browser.start(Some(HOST)).await;
    let back = app.hubspot.decide(&authorize, approve(ACME)).unwrap();
    let way = InTheWay::with(&app.database, &sql::lock(sql::REFRESH_JOBS)).await;
    let visit = tokio::spawn(browser.request(reqwest::Method::GET, &back).send());
    way.kill_waiter().await;
    way.kill_waiter().await;
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0, "never without its job");
    way.own.rollback().await.unwrap();
    assert_eq!(visit.await.unwrap().unwrap().status(), 303);
    app.assert_one_job_each().await;
    assert_nothing_was_lost(&app, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlocks_are_retried() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let Some(server) = app.database.server().await else {
        return; // SQLite has one writer.
    };
    // After this time a waiting session checks once for a deadlock: late enough for the test to cause one, and earlier
    // than the service's lock timeout.
    server.set("deadlock_timeout", Some("2900")).await;
    let browser = app.connected(ACME).await;
    let id = browser.status().await["connections"][0]["id"].as_str().unwrap().to_owned();
    let way = InTheWay::with(&app.database, &format!("SELECT 1 FROM {} FOR UPDATE", sql::REFRESH_JOBS)).await;
    way.own.execute_unprepared("SET LOCAL deadlock_timeout = '1min'").await.unwrap();
    let leaving = tokio::spawn(async move { browser.disconnect(&id).await });
    // It holds the connection and waits for the job, and now each waits for the other. The service detects the
    // deadlock.
    way.waiter().await;
    way.own.execute_unprepared(sql::TOUCH_CONNECTIONS).await.expect("the service gives way");
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    way.own.commit().await.unwrap();
    let left = leaving.await.unwrap();
    assert_eq!((left.status, &left.json()["revocation"]), (200, &serde_json::json!("done")), "{}", left.body);
    eventually("it was a deadlock", || async { app.database.number(deadlocks).await == 1 }).await;
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serialization_failures_are_retried() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let Some(server) = app.database.server().await else { return };
    let browser = app.connected(ACME).await;
    let id = browser.status().await["connections"][0]["id"].as_str().unwrap().to_owned();
    server.set("default_transaction_isolation", Some("'repeatable read'")).await;
    let way = InTheWay::with(&app.database, sql::TOUCH_CONNECTIONS).await;
    let leaving = tokio::spawn(async move { browser.disconnect(&id).await });
    way.waiter().await;
    // The rows differ from its snapshot: "could not serialize access due to concurrent update".
    way.own.commit().await.unwrap();
    let left = leaving.await.unwrap();
    assert_eq!((left.status, &left.json()["revocation"]), (200, &serde_json::json!("done")), "{}", left.body);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serializable_isolation_refreshes_each_token_once() {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    let Some(server) = app.database.server().await else { return };
    server.set("default_transaction_isolation", Some("serializable")).await;
    let replica = app.replica(app.clock.clone()).await;
    for account in 1..=10 {
        app.connected(2_000 + account).await;
    }
    for round in 2..=4 {
        app.advance(DUE);
        let mut refreshed = 0;
        while refreshed < 10 {
            let (one, other) = tokio::join!(
                app.services.connections.refreshes.acquire_refreshes(3),
                replica.services().connections.refreshes.acquire_refreshes(3)
            );
            let mut running = Vec::new();
            for (services, acquired) in [(&app.services, one), (replica.services(), other)] {
                // A transaction that fails too often is retried a moment later.
                running.extend(
                    acquired
                        .unwrap_or_default()
                        .into_iter()
                        .map(|job| services.connections.refreshes.refresh(job)),
                );
            }
            for one in running {
                one.await.unwrap();
                refreshed += 1;
            }
        }
        assert_eq!(generations(&app).await, (round, round));
    }
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 30);
    assert_nothing_was_lost(&app, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_databases_cause_no_calls_to_hubspot() {
    let app = TestApp::with_hubspot(LONG_SESSIONS, strict()).await;
    let Some(server) = app.database.server().await else { return };
    let browser = app.connected(ACME).await;
    app.advance(DUE);

    server.set("default_transaction_read_only", Some("on")).await;
    for _ in 0..5 {
        assert!(app.services.connections.refreshes.acquire_refreshes(8).await.is_err());
        app.advance(1);
    }
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 0);
    let start = app.browser().get("/auth/hubspot/start").await;
    assert_eq!((start.status, problem_of(&start).as_str()), (503, "storage_unavailable"));

    server.set("default_transaction_read_only", None).await;
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["status"], "active");
    assert_nothing_was_lost(&app, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_on_a_silent_network_time_out() {
    let Some((app, line)) = service_on_a_line().await else { return };
    app.connected(ACME).await;
    app.advance(DUE);
    let way = InTheWay::with(&app.database, &sql::lock(sql::REFRESH_JOBS)).await;
    let services = app.services.clone();
    let claiming = tokio::spawn(async move { services.connections.refreshes.acquire_refreshes(8).await });
    way.waiter().await;
    line.set(State::Stalled);
    way.own.rollback().await.unwrap();
    let acquired = tokio::time::timeout(Duration::from_secs(12), claiming).await;
    assert!(acquired.expect("it comes to an end").unwrap().is_err());
    line.set(State::Open);
    eventually("it refreshes again", || async {
        app.services.connections.refreshes.acquire_refreshes(1).await.is_ok()
    })
    .await;
}

/// Copies the stored rows, like a backup.
async fn back_up(database: &TestDatabase) {
    for table in [sql::CONNECTIONS, sql::REFRESH_JOBS] {
        database.execute(&format!("CREATE TABLE backup_of_{table} AS SELECT * FROM {table}")).await;
    }
}

/// Restores the copy and drops all later changes.
async fn restore(database: &TestDatabase) {
    database.clear(sql::REFRESH_JOBS).await;
    database.clear(sql::CONNECTIONS).await;
    for table in [sql::CONNECTIONS, sql::REFRESH_JOBS] {
        database.execute(&format!("INSERT INTO {table} SELECT * FROM backup_of_{table}")).await;
    }
}

/// Connections that outlive their users' sessions.
const KEPT: &[(&str, &str)] = &[("ON_SESSION_EXPIRY", "keep")];

#[tokio::test(flavor = "multi_thread")]
async fn restoring_a_backup_works_without_rotation() {
    let app = TestApp::with(KEPT).await;
    for account in 1..=5 {
        app.connected(2_500 + account).await;
    }
    back_up(&app.database).await;
    for _ in 0..4 {
        app.advance(6 * 3600);
        assert_eq!(app.refresh_due().await, 5);
    }
    let (database, variables, hubspot, clock) = app.stopped().await;
    restore(&database).await;
    let app = TestApp::again(hubspot, database, variables, clock).await;
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!(app.refresh_due().await, 5);
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 0);
    assert_eq!(app.hubspot.grants().len(), 5);
    app.advance(DUE);
    assert_eq!(app.refresh_due().await, 5);
    assert_eq!(app.database.connections(sql::HEALTHY).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_tokens_of_a_backup_need_reauth_and_nothing_is_revoked() {
    let app = TestApp::with_hubspot(KEPT, strict()).await;
    let mut browsers = Vec::new();
    for account in 1..=5 {
        browsers.push(app.connected(2_500 + account).await);
    }
    back_up(&app.database).await;
    app.advance(DUE);
    // The other three are refreshed for the first time after the restore.
    for job in app.services.connections.refreshes.acquire_refreshes(2).await.unwrap() {
        app.services.connections.refreshes.refresh(job).await.unwrap();
    }
    let (database, variables, hubspot, clock) = app.stopped().await;
    restore(&database).await;
    let app = TestApp::again(hubspot, database, variables, clock).await;
    assert_eq!(app.refresh_due().await, 5);
    assert_eq!(app.database.connections(sql::ACTIVE).await, 5, "a single refusal may be a false alarm");
    app.advance(60);
    assert_eq!(app.refresh_due().await, 2);
    assert_eq!(app.database.connections(sql::ACTIVE).await, 3);
    assert_eq!(app.database.connections(sql::NEEDS_REAUTH).await, 2);
    app.assert_one_job_each().await;
    for _ in 0..3 {
        app.advance(DUE);
        app.services.maintenance.sweep().await.unwrap();
        assert_eq!(app.services.connections.disconnects.revoke_due().await.unwrap(), 0);
        assert_eq!(app.refresh_due().await, 3);
    }
    assert_eq!(app.hubspot.calls(Kind::Revoke).len(), 0);
    assert_eq!(app.hubspot.grants().len(), 5);
}
