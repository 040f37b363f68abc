//! The floor of getting an access token: one row read by its key with a prepared statement, one Fernet token decrypted,
//! and a response. No API key is needed, and nothing is checked.
#![expect(clippy::expect_used, reason = "a baseline must stop at an error")]

use std::cell::OnceCell;

use actix_web::web::{self, Data, Path};
use actix_web::{App, HttpResponse, HttpServer};
use fernet::Fernet;
use rusqlite::{Connection, OpenFlags};
use sqlx::postgres::{PgPool, PgPoolOptions};

const SQLITE: &str = "SELECT access_sealed FROM token WHERE id = ?1";
const POSTGRES: &str = "SELECT access_sealed FROM token WHERE id = $1";

struct Floor {
    fernet: Fernet,
    place: String,
    postgres: Option<PgPool>,
}

impl Floor {
    async fn sealed(&self, id: String) -> String {
        match &self.postgres {
            Some(pool) => sqlx::query_scalar(POSTGRES).bind(id).fetch_one(pool).await.expect("a row"),
            // Each worker has its own connection: nothing is faster.
            None => DB.with(|db| {
                let db = db.get_or_init(|| {
                    Connection::open_with_flags(&self.place, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opens")
                });
                let mut read = db.prepare_cached(SQLITE).expect("prepares");
                read.query_row([id], |row| row.get(0)).expect("a row")
            }),
        }
    }
}

thread_local! {
    static DB: OnceCell<Connection> = const { OnceCell::new() };
}

async fn lend(id: Path<String>, floor: Data<Floor>) -> HttpResponse {
    let sealed = floor.sealed(id.into_inner()).await;
    let plain = floor.fernet.decrypt(&sealed).expect("opens");
    HttpResponse::Ok().content_type("application/json").body(plain)
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("PORT DATABASE KEY");
    let (port, place, key) = (next(), next(), next());
    let postgres = match place.starts_with("postgres") {
        true => {
            let options = PgPoolOptions::new().max_connections(16).test_before_acquire(false);
            Some(options.connect(&place).await.expect("a database"))
        }
        false => None,
    };
    let floor = Data::new(Floor { fernet: Fernet::new(&key).expect("a key"), place, postgres });
    HttpServer::new(move || App::new().app_data(floor.clone()).route("/token/{id}", web::get().to(lend)))
        .bind(("127.0.0.1", port.parse().expect("a port")))?
        .run()
        .await
}
