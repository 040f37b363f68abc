//! Several services on one PostgreSQL: each token is refreshed once, by any replica with any clock.

use std::time::Duration;

use fake_hubspot::{Fault, Kind, Options, Rule};
use hubspot_connect::domain::clock::Clock;
use hubspot_connect::services::Services;

use crate::harness::app::{ACME, settle};
use crate::harness::database::TestDatabase;
use crate::harness::process::Process;
use crate::harness::{TestApp, eventually, sql};

fn strict() -> Options {
    Options { rotate_refresh_tokens: true, reject_reused_refresh_tokens: true, ..Options::default() }
}

/// Refreshes in small batches until nothing is due, like the loop of one replica.
fn work(services: &Services) -> tokio::task::JoinHandle<usize> {
    let services = services.clone();
    tokio::spawn(async move {
        let mut count = 0;
        loop {
            let jobs = services.connections.refreshes.acquire_refreshes(3).await.unwrap();
            if jobs.is_empty() {
                return count;
            }
            let running: Vec<_> =
                jobs.into_iter().map(|job| services.connections.refreshes.refresh(job)).collect();
            for one in running {
                one.await.unwrap();
                count += 1;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_refresh_each_token_once() {
    let app = TestApp::with_hubspot(&[], strict()).await;
    if app.database.is_sqlite() {
        return; // An SQLite file belongs to one process.
    }
    let replica = app.replica(app.clock.clone()).await;
    for account in 1..=30 {
        app.connected(8_000 + account).await;
    }
    app.hubspot.options(|options| options.latency = Duration::from_millis(5));
    for round in 1..=3_u32 {
        app.advance(1261);
        let (one, other) = (work(&app.services), work(replica.services()));
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        assert_eq!(one + other, 30, "round {round}");
        assert!(one > 0 && other > 0, "both have worked: {one} and {other}");
        app.assert_one_job_each().await;
    }
    let calls = app.hubspot.calls(Kind::Refresh);
    assert_eq!(calls.len(), 90);
    assert!(calls.iter().all(|call| !call.overlapping && !call.superseded));
    assert!(app.hubspot.grants().iter().all(|grant| grant.generation == 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_a_wrong_clock_break_neither_reads_nor_leases() {
    let hubspot = fake_hubspot::FakeHubSpot::start(strict()).await.unwrap();
    let database = TestDatabase::fresh().await;
    if database.is_sqlite() {
        return; // One process, one clock.
    }
    let variables = settle(&hubspot, &database, &[]);
    let ahead = Clock::skewed(5 * 60 * 1000);
    let app = TestApp::again(hubspot, database, variables, ahead).await;
    let replica = app.replica(Clock::system()).await;
    let browser = app.connected(ACME).await;
    assert_eq!(app.services.connections.refreshes.acquire_refreshes(8).await.unwrap(), []);
    app.database.make_refreshes_due().await;
    let acquired = replica.services().connections.refreshes.acquire_refreshes(8).await.unwrap();
    assert_eq!(acquired.len(), 1);
    assert_eq!(
        app.services.connections.refreshes.acquire_refreshes(8).await.unwrap(),
        [],
        "a lease holds by the database's clock"
    );
    for job in acquired {
        // What one replica encrypts five minutes in the future, the other decrypts.
        replica.services().connections.refreshes.refresh(job).await.unwrap();
    }
    app.database.make_refreshes_due().await;
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.database.generation().await, 3);
    assert_eq!(browser.status().await["status"], "active");
    app.database.make_refreshes_due().await;
    let acquired = app.services.connections.refreshes.acquire_refreshes(8).await.unwrap();
    assert_eq!(acquired.len(), 1);
    let left = "lease_until - (extract(epoch from clock_timestamp()) * 1000)::bigint";
    let left = app.database.number_in(sql::REFRESH_JOBS, left).await;
    assert!((55_000..=60_000).contains(&left), "{left} ms");
    assert!(app.hubspot.journal().iter().all(|call| !call.superseded));
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_continue_on_any_replica() {
    let app = TestApp::start().await;
    if app.database.is_sqlite() {
        return;
    }
    let browser = app.connected(ACME).await;
    let id = browser.status().await["connections"][0]["id"].as_str().unwrap().to_owned();
    let user = app.database.column(sql::USER_ID).await.parse().unwrap();
    let replica = app.replica(app.clock.clone()).await;
    assert_eq!(replica.services().connections.list.connections(user).await.unwrap().len(), 1);
    replica.services().connections.disconnects.disconnect(user, id.parse().unwrap(), true).await.unwrap();
    assert_eq!(browser.status().await["authenticated"], false, "no replica remembers it");
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnects_win_over_refreshes_on_another_replica() {
    let app = TestApp::with_hubspot(&[], strict()).await;
    if app.database.is_sqlite() {
        return;
    }
    let replica = app.replica(app.clock.clone()).await;
    let browser = app.connected(ACME).await;
    let id = browser.status().await["connections"][0]["id"].as_str().unwrap().to_owned();
    app.advance(1261);
    app.hubspot.script(Rule::once(Kind::Refresh, Fault::HoldAfterIssue));
    let mut jobs = replica.services().connections.refreshes.acquire_refreshes(8).await.unwrap();
    let late = replica.services().connections.refreshes.refresh(jobs.remove(0));
    eventually("the refresh is under way", || async { app.hubspot.calls(Kind::Refresh).len() == 1 }).await;
    assert_eq!(browser.disconnect(&id).await.status, 200);
    app.hubspot.release();
    late.await.unwrap();
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 0);
    app.services.connections.disconnects.revoke_due().await.unwrap();
    assert_eq!(app.hubspot.grants().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_and_crash_concurrently_lose_nothing() {
    let hubspot =
        fake_hubspot::FakeHubSpot::start(Options { access_token_seconds: 10, ..Options::default() })
            .await
            .unwrap();
    let database = TestDatabase::fresh().await;
    if database.is_sqlite() {
        return;
    }
    let variables = settle(&hubspot, &database, &[]);
    let first = Process::serve(&variables);
    let others = settle(&hubspot, &database, &[]);
    let others: Vec<_> = others
        .into_iter()
        .filter(|(name, _)| name != "ENCRYPTION_KEYS")
        .chain(variables.iter().filter(|(name, _)| name == "ENCRYPTION_KEYS").cloned())
        .collect();
    let second = Process::serve(&others);
    for account in 1..=5 {
        first.connected(&hubspot, 7_000 + account).await;
    }
    // A refresh that the crash interrupts is repeated when its lease has expired, later than this test waits.
    eventually("a first round", || async { database.connections(sql::REFRESHED).await == 5 }).await;
    first.crash();
    let before = hubspot.calls(Kind::Refresh).len();
    eventually("the other one goes on", || async { hubspot.calls(Kind::Refresh).len() >= before + 5 }).await;
    assert!(hubspot.calls(Kind::Refresh).iter().all(|call| !call.overlapping));
    assert_eq!(database.connections(sql::HEALTHY).await, 5, "{}", second.log());
}
