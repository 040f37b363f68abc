//! The floor of a refresh: the calls with the service's own HTTP client, and the responses stored in durable batches by
//! the leanest means. No lease, no encryption, no check.
#![expect(clippy::expect_used, reason = "a baseline must stop at an error")]
#![expect(clippy::print_stdout, reason = "it prints when it is done")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hubspot_connect::domain::clock::Clock;
use hubspot_connect::egress;
use serde::Deserialize;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// The number of responses that share a commit.
const BATCH: usize = 256;

const UPDATE: &str = "UPDATE floor SET access = ?2, refresh = ?3, obtained_at = ?4, expires_at = ?5, run_at = ?6 \
                      WHERE id = ?1";
const UPDATE_MANY: &str = "UPDATE floor SET access = new.access, refresh = new.refresh, \
    obtained_at = new.obtained_at, expires_at = new.expires_at, run_at = new.run_at \
    FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) \
    AS new (id, access, refresh, obtained_at, expires_at, run_at) WHERE floor.id = new.id";

/// A due token.
struct Due {
    id: String,
    refresh: String,
}

/// The new tokens to store.
struct New {
    id: String,
    access: String,
    refresh: String,
    obtained_at: i64,
    expires_at: i64,
    run_at: i64,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    refresh_token: String,
    expires_in: i64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [hubspot, database, in_flight, store] = arguments.as_slice() else {
        panic!("HUBSPOT DATABASE IN_FLIGHT store|drop");
    };
    let due = Arc::new(read(database).await);
    let (new, answers) = unbounded_channel();
    let storing = match store.as_str() {
        "store" => Some(start_storing(database, answers).await),
        _ => None,
    };
    let http = egress::client(&hubspot_connect::domain::proxies::Proxies::none()).expect("a client");
    let next = Arc::new(AtomicUsize::new(0));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..in_flight.parse().expect("a number") {
        let url = format!("{hubspot}/oauth/2026-09/token");
        calls.spawn(refresh(http.clone(), url, Arc::clone(&due), Arc::clone(&next), new.clone()));
    }
    drop(new);
    while let Some(ended) = calls.join_next().await {
        ended.expect("all calls succeed");
    }
    if let Some(stored) = storing {
        stored.await.expect("all is stored");
    }
    println!("done");
    // Until it is killed, and the thread that stores with it: their CPU time is read while they live.
    std::future::pending::<()>().await;
}

/// Refreshes one token after the other until all are done.
async fn refresh(
    http: reqwest::Client,
    url: String,
    due: Arc<Vec<Due>>,
    next: Arc<AtomicUsize>,
    new: UnboundedSender<New>,
) {
    let clock = Clock::system();
    while let Some(Due { id, refresh }) = due.get(next.fetch_add(1, Ordering::Relaxed)) {
        let form = format!(
            "grant_type=refresh_token&refresh_token={refresh}&client_id=bench&client_secret=bench-secret"
        );
        let call = http.post(&url).header("content-type", "application/x-www-form-urlencoded").body(form);
        let obtained_at = clock.now().unix_ms();
        let body = call.send().await.expect("an answer").bytes().await.expect("a body");
        let answer: Answer = serde_json::from_slice(&body).expect("tokens");
        let life = answer.expires_in * 1000;
        // Without storing there is no receiver.
        let _ = new.send(New {
            id: id.clone(),
            access: answer.access_token,
            refresh: answer.refresh_token,
            obtained_at,
            expires_at: obtained_at + life,
            run_at: obtained_at + life / 2,
        });
    }
}

fn is_postgres(database: &str) -> bool {
    database.starts_with("postgres")
}

async fn read(database: &str) -> Vec<Due> {
    const ALL: &str = "SELECT id, refresh FROM floor";
    if is_postgres(database) {
        let mut db = PgConnection::connect(database).await.expect("opens");
        let rows = sqlx::query(ALL).fetch_all(&mut db).await.expect("reads");
        return rows.iter().map(|row| Due { id: row.get(0), refresh: row.get(1) }).collect();
    }
    let db = rusqlite::Connection::open(database).expect("opens");
    let mut all = db.prepare(ALL).expect("prepares");
    let rows = all.query_map([], |row| Ok(Due { id: row.get(0)?, refresh: row.get(1)? }));
    rows.expect("reads").map(|row| row.expect("a row")).collect()
}

/// Stores incoming tokens; the returned receiver resolves when all are stored.
async fn start_storing(database: &str, answers: UnboundedReceiver<New>) -> oneshot::Receiver<()> {
    let (done, stored) = oneshot::channel();
    if is_postgres(database) {
        let db = PgConnection::connect(database).await.expect("opens");
        tokio::spawn(async {
            store_in_postgres(db, answers).await;
            done.send(()).expect("the receiver waits");
        });
        return stored;
    }
    let db = rusqlite::Connection::open(database).expect("opens");
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL").expect("is set");
    std::thread::spawn(move || {
        store_in_sqlite(&db, answers);
        done.send(()).expect("the receiver waits");
        loop {
            std::thread::park();
        }
    });
    stored
}

fn store_in_sqlite(db: &rusqlite::Connection, mut answers: UnboundedReceiver<New>) {
    let mut update = db.prepare(UPDATE).expect("prepares");
    while let Some(first) = answers.blocking_recv() {
        db.execute_batch("BEGIN IMMEDIATE").expect("begins");
        let mut next = Some(first);
        let mut stored = 0;
        while let Some(new) = next {
            let New { id, access, refresh, obtained_at, expires_at, run_at } = new;
            let values = rusqlite::params![id, access, refresh, obtained_at, expires_at, run_at];
            assert_eq!(update.execute(values).expect("updates"), 1);
            stored += 1;
            next = if stored < BATCH { answers.blocking_recv() } else { None };
        }
        db.execute_batch("COMMIT").expect("commits");
    }
}

async fn store_in_postgres(mut db: PgConnection, mut answers: UnboundedReceiver<New>) {
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH && answers.recv_many(&mut batch, BATCH).await > 0 {}
        if batch.is_empty() {
            return;
        }
        let texts = |field: fn(&New) -> &str| batch.iter().map(field).collect::<Vec<_>>();
        let moments = |field: fn(&New) -> i64| batch.iter().map(field).collect::<Vec<_>>();
        let stored = sqlx::query(UPDATE_MANY)
            .bind(texts(|new| &new.id))
            .bind(texts(|new| &new.access))
            .bind(texts(|new| &new.refresh))
            .bind(moments(|new| new.obtained_at))
            .bind(moments(|new| new.expires_at))
            .bind(moments(|new| new.run_at))
            .execute(&mut db)
            .await
            .expect("updates");
        assert_eq!(stored.rows_affected(), batch.len() as u64);
    }
}
