//! The floor: the cost of connecting when only its reads, writes and calls are done, by the leanest means. One thread
//! owns SQLite and lets waiting requests share a commit; statements are prepared; nothing is checked.
#![expect(clippy::expect_used, reason = "a baseline must stop at an error")]

use actix_web::http::header::{LOCATION, SET_COOKIE};
use actix_web::web::{Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

type Write = Box<dyn FnOnce(&Connection) + Send>;

/// A sender of work to the thread that writes.
#[derive(Clone)]
struct Writer(mpsc::UnboundedSender<(Write, oneshot::Sender<()>)>);

impl Writer {
    fn open(path: &str) -> Self {
        let db = Connection::open(path).expect("opens");
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE IF NOT EXISTS flow (id TEXT PRIMARY KEY, cookie TEXT, status TEXT, a TEXT, b TEXT, c TEXT, at INTEGER);
             CREATE TABLE IF NOT EXISTS token (id TEXT PRIMARY KEY, user TEXT, access TEXT, refresh TEXT, at INTEGER);
             CREATE TABLE IF NOT EXISTS job (id TEXT PRIMARY KEY, run_at INTEGER);
             CREATE TABLE IF NOT EXISTS session (id TEXT PRIMARY KEY, user TEXT, at INTEGER);",
        )
        .expect("creates");
        let (queue, mut jobs) = mpsc::unbounded_channel::<(Write, oneshot::Sender<()>)>();
        std::thread::spawn(move || {
            let mut batch = Vec::new();
            while jobs.blocking_recv_many(&mut batch, 256) > 0 {
                db.execute_batch("BEGIN IMMEDIATE").expect("begins");
                let mut done = Vec::with_capacity(batch.len());
                for (write, answer) in batch.drain(..) {
                    write(&db);
                    done.push(answer);
                }
                db.execute_batch("COMMIT").expect("commits");
                for answer in done {
                    let _ = answer.send(());
                }
            }
        });
        Self(queue)
    }

    async fn write(&self, write: impl FnOnce(&Connection) + Send + 'static) {
        let (answer, answered) = oneshot::channel();
        assert!(self.0.send((Box::new(write), answer)).is_ok(), "the writer lives");
        answered.await.expect("written");
    }
}

struct Floor {
    writer: Writer,
    http: reqwest::Client,
    hubspot: String,
    own: String,
    count: std::sync::atomic::AtomicU64,
}

impl Floor {
    fn id(&self) -> String {
        let count = self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("{:016x}{:016x}", count.wrapping_mul(0x9e37_79b9_7f4a_7c15), std::process::id())
    }
}

async fn bare() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body("{\"authenticated\":false,\"connections\":[]}")
}

async fn insert(floor: Data<Floor>) -> HttpResponse {
    start_row(&floor, floor.id()).await;
    HttpResponse::Ok().finish()
}

async fn start_row(floor: &Floor, id: String) {
    let pad = "x".repeat(43);
    let write = move |db: &Connection| {
        let sql = "INSERT INTO flow (id, cookie, status, a, b, c, at) VALUES (?1, ?2, 'new', ?2, ?2, ?2, 1)";
        db.prepare_cached(sql).expect("prepares").execute(params![id, pad]).expect("inserts");
    };
    floor.writer.write(write).await;
}

async fn start(floor: Data<Floor>) -> HttpResponse {
    let id = floor.id();
    start_row(&floor, id.clone()).await;
    let to = format!(
        "{}/oauth/authorize?client_id=bench&redirect_uri={}/floor/auth/hubspot/callback&scope=oauth&state={id}",
        floor.hubspot, floor.own
    );
    HttpResponse::Found()
        .insert_header((LOCATION, to))
        .insert_header((SET_COOKIE, format!("f={id}; Path=/")))
        .finish()
}

fn parameter<'a>(query: &'a str, name: &str) -> &'a str {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).expect("the parameter")
}

async fn callback(request: HttpRequest, floor: Data<Floor>) -> HttpResponse {
    let (id, code) = (parameter(request.query_string(), "state"), parameter(request.query_string(), "code"));
    let (flow, token) = (id.to_owned(), floor.id());
    let consumed = flow.clone();
    floor
        .writer
        .write(move |db| {
            let sql = "UPDATE flow SET status = 'busy' WHERE id = ?1 AND status = 'new'";
            db.prepare_cached(sql).expect("prepares").execute(params![consumed]).expect("updates");
        })
        .await;
    let form = format!(
        "grant_type=authorization_code&client_id=bench&client_secret=bench-secret&code={code}&redirect_uri={}/floor/auth/hubspot/callback",
        floor.own
    );
    let grant = post(&floor, "/oauth/2026-09/token", form).await;
    let text = String::from_utf8_lossy(&grant).into_owned();
    let access = text
        .split("\"access_token\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a token")
        .to_owned();
    let (id, kept, finished) = (token.clone(), text, flow.clone());
    floor
        .writer
        .write(move |db| {
            let token = "INSERT INTO token (id, user, access, refresh, at) VALUES (?1, ?1, ?2, ?2, 1)";
            db.prepare_cached(token).expect("prepares").execute(params![id, kept]).expect("inserts");
            db.prepare_cached("INSERT INTO job (id, run_at) VALUES (?1, 1)")
                .expect("prepares")
                .execute(params![id])
                .expect("inserts");
            let flow = "UPDATE flow SET status = 'done', a = ?2 WHERE id = ?1";
            db.prepare_cached(flow).expect("prepares").execute(params![finished, id]).expect("updates");
        })
        .await;
    let introspect =
        format!("client_id=bench&client_secret=bench-secret&token={access}&token_type_hint=access_token");
    let details =
        floor.http.get(format!("{}/account-info/2026-09/details", floor.hubspot)).bearer_auth(&access);
    let (_, details) =
        tokio::join!(post(&floor, "/oauth/2026-09/token/introspect", introspect), details.send());
    details.expect("an answer").bytes().await.expect("a body");
    let (named, session) = (token.clone(), floor.id());
    let cookie = format!("s={session}; Path=/");
    floor
        .writer
        .write(move |db| {
            db.prepare_cached("UPDATE token SET user = 'known' WHERE id = ?1")
                .expect("prepares")
                .execute(params![named])
                .expect("updates");
            let row = "INSERT INTO session (id, user, at) VALUES (?1, ?2, 1)";
            db.prepare_cached(row).expect("prepares").execute(params![session, named]).expect("inserts");
        })
        .await;
    HttpResponse::SeeOther()
        .insert_header((LOCATION, format!("/floor/auth/hubspot/done?flow={flow}#_")))
        .insert_header((SET_COOKIE, cookie))
        .finish()
}

async fn post(floor: &Floor, path: &str, form: String) -> Bytes {
    let call = floor
        .http
        .post(format!("{}{path}", floor.hubspot))
        .header("content-type", "application/x-www-form-urlencoded");
    call.body(form).send().await.expect("an answer").bytes().await.expect("a body")
}

async fn done(request: HttpRequest, floor: Data<Floor>) -> HttpResponse {
    read(&floor, parameter(request.query_string(), "flow").to_owned(), false).await;
    HttpResponse::Ok().content_type("text/html").body("<!doctype html><title>Connected</title>")
}

async fn handoff(body: Bytes, floor: Data<Floor>) -> HttpResponse {
    let text = String::from_utf8_lossy(&body).into_owned();
    let flow = text.split('"').nth(3).expect("a flow").to_owned();
    read(&floor, flow, true).await;
    HttpResponse::Ok().content_type("application/json").body("{\"origin\":null,\"message\":{}}")
}

/// Reads the flow and its token, and records the hand-off.
async fn read(floor: &Floor, flow: String, hand_off: bool) {
    floor
        .writer
        .write(move |db| {
            let sql = "SELECT token.access FROM flow JOIN token ON token.id = flow.a WHERE flow.id = ?1";
            let _: String = db
                .prepare_cached(sql)
                .expect("prepares")
                .query_row(params![flow], |row| row.get(0))
                .expect("a row");
            if hand_off {
                let sql = "UPDATE flow SET at = 2 WHERE id = ?1 AND at = 1";
                db.prepare_cached(sql).expect("prepares").execute(params![flow]).expect("updates");
            }
        })
        .await;
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("PORT DATABASE HUBSPOT");
    let (port, path, hubspot) = (next(), next(), next());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let floor = Data::new(Floor {
        writer: Writer::open(&path),
        http: client(),
        hubspot,
        own: format!("http://localhost:{port}"),
        count: Default::default(),
    });
    HttpServer::new(move || {
        App::new()
            .app_data(floor.clone())
            .route("/bare", web::get().to(bare))
            .route("/insert", web::get().to(insert))
            .route("/floor/auth/hubspot/start", web::get().to(start))
            .route("/floor/auth/hubspot/callback", web::get().to(callback))
            .route("/floor/auth/hubspot/done", web::get().to(done))
            .route("/floor/auth/hubspot/handoff", web::post().to(handoff))
    })
    .bind(("127.0.0.1", port.parse().expect("a port")))?
    .run()
    .await
}

#[expect(clippy::disallowed_methods, reason = "the baseline does not use the service's client")]
fn client() -> reqwest::Client {
    reqwest::Client::new()
}
