//! A database on a PostgreSQL server.

use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{ACQUIRES, AcquireCost, median};
use crate::Failure;
use crate::refresh::rows::{self, Connection, TABLES};

/// The number of rows that are copied at once.
const CHUNK: usize = 10_000;

pub struct Postgres {
    server: String,
    name: String,
    url: String,
    db: PgConnection,
}

impl Postgres {
    pub async fn create(server: &str, name: &str) -> Result<Self, Failure> {
        let name = format!("bench_{name}");
        let mut admin = PgConnection::connect(server).await?;
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        let (start, _) = server.rsplit_once('/').ok_or("no database in the URL of the server")?;
        let url = format!("{start}/{name}");
        let db = PgConnection::connect(&url).await?;
        Ok(Self { server: server.to_owned(), name, url, db })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn fill(&mut self, rows: impl Iterator<Item = Connection>) -> Result<(), Failure> {
        // The rows are known to be consistent, so foreign keys need no check.
        self.db.execute("SET session_replication_role = replica").await?;
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            let mut lines = [const { String::new() }; TABLES.len()];
            for row in rows.by_ref().take(CHUNK) {
                for (lines, values) in lines.iter_mut().zip(row.values()) {
                    *lines += &values.join("\t");
                    lines.push('\n');
                }
            }
            for (table, lines) in TABLES.iter().zip(lines) {
                let copy = format!("COPY {} ({}) FROM STDIN", table.name, table.columns);
                let mut copy = self.db.copy_in_raw(&copy).await?;
                copy.send(lines.into_bytes()).await?;
                copy.finish().await?;
            }
        }
        self.settle().await
    }

    pub async fn fill_floor(&mut self, tokens: &[String]) -> Result<(), Failure> {
        let table = "CREATE TABLE floor (id text PRIMARY KEY, access text, refresh text, obtained_at bigint, \
                     expires_at bigint, run_at bigint)";
        self.db.execute(table).await?;
        let ids: Vec<String> = (0..).zip(tokens).map(|(number, _)| rows::id(number, "connection")).collect();
        let insert = "INSERT INTO floor SELECT id, repeat('C', 300), refresh, 0, 0, 0 \
                      FROM UNNEST($1::text[], $2::text[]) AS new (id, refresh)";
        sqlx::query(insert).bind(ids).bind(tokens).execute(&mut self.db).await?;
        self.settle().await
    }

    /// Does before the measurement what the server would do later by itself.
    async fn settle(&mut self) -> Result<(), Failure> {
        self.db.execute("VACUUM ANALYZE").await?;
        self.db.execute("CHECKPOINT").await?;
        Ok(())
    }

    pub async fn number(&mut self, sql: &'static str) -> Result<i64, Failure> {
        Ok(sqlx::query_scalar(sql).fetch_one(&mut self.db).await?)
    }

    pub async fn acquire(&mut self, now: i64) -> Result<AcquireCost, Failure> {
        let sql = hubspot_connect::store::acquire_sql(true);
        let mut spans = Vec::new();
        for _ in 0..ACQUIRES {
            let started = Instant::now();
            let acquire =
                sqlx::query(AssertSqlSafe(sql.clone())).bind(now).bind("bench").bind(now).bind(64_i64);
            if acquire.fetch_optional(&mut self.db).await?.is_some() {
                return Err("something is due".into());
            }
            spans.push(started.elapsed());
        }
        let explain = format!("EXPLAIN (ANALYZE, BUFFERS) {sql}");
        let explain = sqlx::query_scalar(AssertSqlSafe(explain));
        let plan = explain.bind(now).bind("bench").bind(now).bind(64_i64).fetch_all(&mut self.db).await?;
        Ok(AcquireCost { time: median(spans), plan })
    }

    pub async fn remove(self) -> Result<(), Failure> {
        self.db.close().await?;
        let mut admin = PgConnection::connect(&self.server).await?;
        admin.execute(AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name))).await?;
        Ok(())
    }
}
