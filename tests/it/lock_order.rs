//! Connections that are ended or reconnected are locked in the order of their ids, together with those that share their
//! grant, and so are jobs that uninstalls make due: two transactions with different orders would wait for each other
//! until the server aborts one. SQLite has one writer.

use fake_hubspot::Options;
use sea_orm::ConnectionTrait;

use crate::database_faults::InTheWay;
use crate::harness::app::{ACME, GLOBEX, HOST, LONG_SESSIONS, approve};
use crate::harness::{Browser, TestApp, sql};
use crate::journal::{ON, poll, read, reading};

/// Locks the job, or the connection, with the lowest id.
async fn lowest(app: &TestApp, table: &str, key: &str) -> InTheWay {
    let sql = format!("SELECT 1 FROM {table} ORDER BY {key} LIMIT 1 FOR UPDATE");
    InTheWay::with(&app.database, &sql).await
}

/// Asserts that the service waits for the lowest, and holds none with a higher id.
async fn assert_highest_is_free(way: &InTheWay, table: &str, key: &str) {
    way.waiter().await;
    let sql =
        format!("SELECT 1 FROM {table} WHERE {key} = (SELECT MAX({key}) FROM {table}) FOR UPDATE NOWAIT");
    way.own.execute_unprepared(&sql).await.expect("the lowest is asked for first");
}

/// Makes the connection with the lowest id the last one in its table and by its account, for every query plan.
async fn put_lowest_last(app: &TestApp) {
    for (account, which) in [(9_001, "MAX"), (9_002, "MIN")] {
        let last = format!("portal_id = {account} WHERE id = (SELECT {which}(id) FROM {})", sql::CONNECTIONS);
        app.database.update(sql::CONNECTIONS, &last).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstalls_lock_connections_in_id_order() {
    let app = reading().await;
    if app.database.is_sqlite() {
        return;
    }
    poll(&app.services).await;
    app.connected(ACME).await;
    app.connected(GLOBEX).await;
    put_lowest_last(&app).await;
    app.advance(300);
    app.hubspot.uninstall_together(&[9_001, 9_002], app.clock.now().unix_ms());
    let way = lowest(&app, sql::REFRESH_JOBS, "connection_id").await;
    let services = app.services.clone();
    let polling = tokio::spawn(async move { poll(&services).await });
    assert_highest_is_free(&way, sql::REFRESH_JOBS, "connection_id").await;
    way.own.rollback().await.unwrap();
    assert_eq!(polling.await.unwrap().outcome, read(1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_connections_are_deleted_in_id_order() {
    let app = TestApp::with(&[ON]).await;
    if app.database.is_sqlite() {
        return;
    }
    let browser = app.connected(ACME).await;
    browser.connect(&app, Some(HOST), approve(GLOBEX)).await;
    app.advance(700);
    app.database.expire_sessions().await;
    put_lowest_last(&app).await;
    let way = lowest(&app, sql::CONNECTIONS, sql::ID).await;
    let services = app.services.clone();
    let sweeping = tokio::spawn(async move { services.maintenance.sweep().await });
    assert_highest_is_free(&way, sql::CONNECTIONS, sql::ID).await;
    way.own.rollback().await.unwrap();
    sweeping.await.unwrap().unwrap();
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_during_the_session_sweep_are_kept() {
    let app = TestApp::start().await;
    if app.database.is_sqlite() {
        return;
    }
    app.connected(ACME).await;
    app.advance(700);
    app.database.expire_sessions().await;
    // A reconnect that is being stored; its session comes after it.
    let sql = format!("UPDATE {} SET connected_at = {}", sql::CONNECTIONS, app.clock.now().unix_ms());
    let reconnect = InTheWay::with(&app.database, &sql).await;
    let services = app.services.clone();
    let sweeping = tokio::spawn(async move { services.maintenance.sweep().await });
    reconnect.waiter().await;
    reconnect.own.commit().await.unwrap();
    sweeping.await.unwrap().unwrap();
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 1);
}

/// Creates two users with connections of one grant; returns the higher of their ids, and its browser.
async fn sharing() -> (TestApp, String, Browser) {
    let options = Options { share_refresh_token_per_account: true, ..Options::default() };
    let app = TestApp::with_hubspot(LONG_SESSIONS, options).await;
    let mut visitors = Vec::new();
    for _ in 0..2 {
        let browser = app.connected(ACME).await;
        let id = browser.status().await["connections"][0]["id"].as_str().unwrap().to_owned();
        visitors.push((id, browser));
    }
    visitors.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let (id, browser) = visitors.pop().unwrap();
    (app, id, browser)
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnects_lock_connections_of_a_shared_grant_in_id_order() {
    let (app, id, browser) = sharing().await;
    if app.database.is_sqlite() {
        return;
    }
    let way = lowest(&app, sql::CONNECTIONS, sql::ID).await;
    let leaving = tokio::spawn(async move { browser.disconnect(&id).await });
    assert_highest_is_free(&way, sql::CONNECTIONS, sql::ID).await;
    way.own.rollback().await.unwrap();
    let left = leaving.await.unwrap();
    assert_eq!((left.status, left.json()["revocation"].as_str()), (200, Some("skipped")), "{}", left.body);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_lock_connections_of_the_old_grant_in_id_order() {
    let (app, id, browser) = sharing().await;
    if app.database.is_sqlite() {
        return;
    }
    let authorize = browser.start(Some(HOST)).await;
    let back = app.hubspot.decide(&authorize, approve(ACME)).expect("HubSpot sends the browser back");
    let way = lowest(&app, sql::CONNECTIONS, sql::ID).await;
    let again = tokio::spawn(async move {
        let callback = browser.get(&back).await;
        (callback.status, browser.status().await["connections"][0]["id"].clone())
    });
    assert_highest_is_free(&way, sql::CONNECTIONS, sql::ID).await;
    way.own.rollback().await.unwrap();
    let (status, connection) = again.await.unwrap();
    assert_eq!((status, connection.as_str()), (303, Some(id.as_str())));
    assert_eq!(app.database.connections(sql::REFRESHED).await, 1);
}
