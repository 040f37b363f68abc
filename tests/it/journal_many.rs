//! The Webhooks Journal under load: thousands of uninstalls in one file, and several processes that take turns.

use std::time::Duration;

use fake_hubspot::{Fault, Kind, Rule};
use hubspot_connect::domain::journal::JOURNAL_LEASE;
use hubspot_connect::services::PollOutcome;

use crate::harness::app::ACME;
use crate::harness::{TestApp, eventually, sql};
use crate::journal::{STRANGER, poll, position, read, reading, uninstall};

const MANY: u64 = 5_000;
const FIRST: u64 = 50_001;

/// Inserts this many connections beside the service, each of another account.
async fn with_many_connections(app: &TestApp) {
    app.connected(ACME).await;
    let columns = "user_id, client_id, scopes, wanted_scopes, state, generation, key_id, access_sealed, refresh_sealed, \
                   refresh_fingerprint, obtained_at, expires_at, created_at, connected_at";
    let numbers =
        format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY})");
    // Twelve digits on both databases.
    let id = "'00000000-0000-4000-8000-' || substr(CAST(1000000000000 + i AS TEXT), 2)";
    let copy = format!(
        "INSERT INTO {table} (id, portal_id, {columns}) {numbers} \
         SELECT {id}, {FIRST} - 1 + i, {columns} FROM n CROSS JOIN {table}",
        table = sql::CONNECTIONS
    );
    assert_eq!(app.database.execute(&copy).await, MANY);
    let jobs = format!(
        "INSERT INTO {} (connection_id, run_at, fence) SELECT id, obtained_at + 1200000, 1 \
         FROM {} WHERE portal_id BETWEEN {FIRST} AND {FIRST} - 1 + {MANY}",
        sql::REFRESH_JOBS,
        sql::CONNECTIONS
    );
    assert_eq!(app.database.execute(&jobs).await, MANY);
}

/// Counts the changes of jobs: statements, and their transactions.
async fn count_statements(app: &TestApp) {
    let see = format!(
        "CREATE TRIGGER see AFTER UPDATE ON {} FOR EACH STATEMENT EXECUTE FUNCTION see()",
        sql::REFRESH_JOBS
    );
    for sql in [
        "CREATE TABLE seen (tx bigint NOT NULL)",
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN INSERT INTO seen VALUES (txid_current()); RETURN NULL; END'",
        &see,
    ] {
        app.database.execute(sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_uninstalls_are_stored_in_few_statements_of_one_transaction() {
    let app = reading().await;
    poll(&app.services).await;
    with_many_connections(&app).await;
    app.advance(300);
    let accounts: Vec<u64> = (FIRST..FIRST + MANY).chain([STRANGER]).collect();
    app.hubspot.uninstall_together(&accounts, app.clock.now().unix_ms());
    let on_server = !app.database.is_sqlite();
    if on_server {
        count_statements(&app).await;
    }
    assert_eq!(poll(&app.services).await.outcome, read(1, usize::try_from(MANY).unwrap()));
    assert_eq!(
        app.database.count_where(sql::REFRESH_JOBS, "announced_at IS NOT NULL").await,
        i64::try_from(MANY).unwrap()
    );
    let due = format!("run_at <= {}", app.clock.now().unix_ms());
    assert_eq!(
        app.database.count_where(sql::REFRESH_JOBS, &due).await,
        i64::try_from(MANY).unwrap(),
        "the one of another account is not"
    );
    if on_server {
        assert_eq!(app.database.number("SELECT COUNT(DISTINCT tx) FROM seen").await, 1);
        let statements = app.database.number("SELECT COUNT(*) FROM seen").await;
        assert!((1..=20).contains(&statements), "{statements} statements");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_resume_after_their_lease_do_not_move_the_offset_back() {
    let app = reading().await;
    poll(&app.services).await;
    app.advance(3600);
    let acquire = |owner: &'static str| app.store.marketplace.acquire_journal("fake-client-id", owner);
    let late = acquire("the one").await.unwrap().expect("it is free");
    assert_eq!(acquire("the other").await.unwrap(), None);
    app.clock.advance(JOURNAL_LEASE + Duration::from_millis(1));
    let current = acquire("the other").await.unwrap().expect("it has run out");
    for entry in ["entry-1", "entry-2"] {
        let moved = app
            .store
            .marketplace
            .advance_journal(&current, Some(entry.to_owned()), Vec::new())
            .await
            .unwrap();
        assert!(moved.is_some(), "{entry}");
    }
    let moved =
        app.store.marketplace.advance_journal(&late, Some("entry-1".to_owned()), Vec::new()).await.unwrap();
    assert_eq!(moved, None);
    assert_eq!(position(&app).await, "entry-2");
    assert_eq!(acquire("the one").await.unwrap(), None, "each entry has extended the lease");
    app.clock.advance(JOURNAL_LEASE + Duration::from_millis(1));
    let again = acquire("the one").await.unwrap().expect("it has run out");
    assert_eq!(again.position.as_deref(), Some("entry-2"), "it goes on behind what the other has read");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_overtake_a_slow_reader_skip_nothing() {
    let app = reading().await;
    if app.database.is_sqlite() {
        return; // An SQLite file belongs to one process.
    }
    let replica = app.replica(app.clock.clone()).await;
    poll(&app.services).await;
    app.connected(ACME).await;
    app.advance(300);
    uninstall(&app, STRANGER);
    uninstall(&app, ACME);
    app.hubspot.script(Rule::once(Kind::JournalFile, Fault::Hold));
    let services = app.services.clone();
    let slow = tokio::spawn(async move { poll(&services).await });
    eventually("the first file is asked for", || async { !app.hubspot.calls(Kind::JournalFile).is_empty() })
        .await;
    app.clock.advance(JOURNAL_LEASE + Duration::from_millis(1));
    assert_eq!(poll(replica.services()).await.outcome, read(2, 1), "both entries");
    let reached = position(&app).await;
    app.hubspot.release();
    assert_eq!(slow.await.unwrap().outcome, PollOutcome::NotOurs);
    assert_eq!(position(&app).await, reached);
    uninstall(&app, STRANGER);
    app.clock.advance(JOURNAL_LEASE + Duration::from_millis(1));
    assert_eq!(poll(&app.services).await.outcome, read(1, 0), "only what has come since");
}
