//! An SQLite file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::named_params;
use rusqlite::{params, params_from_iter};

use super::{ACQUIRES, AcquireCost, median};
use crate::Failure;
use crate::refresh::rows::{self, Connection, TABLES};

pub struct Sqlite {
    path: PathBuf,
    db: Option<rusqlite::Connection>,
}

impl Sqlite {
    pub fn create(folder: &Path, name: &str) -> Result<Self, Failure> {
        let folder = folder.join(name);
        std::fs::create_dir(&folder)?;
        Ok(Self { path: folder.join("bench.db"), db: None })
    }

    pub fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Opens the file at the first use: the schema is created before.
    fn open(&mut self) -> Result<&rusqlite::Connection, Failure> {
        if self.db.is_none() {
            self.db = Some(rusqlite::Connection::open(&self.path)?);
        }
        self.db.as_ref().ok_or_else(|| "not open".into())
    }

    pub fn fill(&mut self, rows: impl Iterator<Item = Connection>) -> Result<(), Failure> {
        let db = rusqlite::Connection::open(&self.path)?;
        // After a failure here all is created again; measurements come later, over other connections.
        db.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; \
             PRAGMA cache_size = -1000000; BEGIN",
        )?;
        {
            let mut inserts = Vec::new();
            for table in &TABLES {
                let places = vec!["?"; table.columns.split(',').count()].join(", ");
                inserts.push(
                    db.prepare(&format!("INSERT INTO {} ({}) VALUES ({places})", table.name, table.columns))?,
                );
            }
            for row in rows {
                for (insert, values) in inserts.iter_mut().zip(row.values()) {
                    insert.execute(params_from_iter(values))?;
                }
            }
        }
        db.execute_batch("COMMIT; PRAGMA journal_mode = WAL")?;
        Ok(())
    }

    pub fn fill_floor(&mut self, tokens: &[String]) -> Result<(), Failure> {
        let db = self.open()?;
        db.execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE floor (id TEXT PRIMARY KEY, access TEXT, refresh TEXT, \
             obtained_at INTEGER, expires_at INTEGER, run_at INTEGER); BEGIN",
        )?;
        let mut insert = db.prepare("INSERT INTO floor VALUES (?1, ?2, ?3, 0, 0, 0)")?;
        for (number, token) in (0..).zip(tokens) {
            insert.execute(params![rows::id(number, "connection"), "C".repeat(300), token])?;
        }
        drop(insert);
        db.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok(())
    }

    pub fn number(&mut self, sql: &str) -> Result<i64, Failure> {
        Ok(self.open()?.query_row(sql, [], |row| row.get(0))?)
    }

    pub fn acquire(&mut self, now: i64) -> Result<AcquireCost, Failure> {
        let db = self.open()?;
        let sql = hubspot_connect::store::acquire_sql(false);
        // To SQLite these are names: their order is that of their first use.
        let values = named_params! { "$1": now, "$2": "bench", "$3": now, "$4": 64 };
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        let plan = plan.query_map(values, |row| row.get(3))?.collect::<Result<_, _>>()?;
        let mut acquire = db.prepare(&sql)?;
        let mut spans = Vec::new();
        for _ in 0..ACQUIRES {
            let started = Instant::now();
            if acquire.query(values)?.next()?.is_some() {
                return Err("something is due".into());
            }
            spans.push(started.elapsed());
        }
        Ok(AcquireCost { time: median(spans), plan })
    }

    pub fn remove(self) -> Result<(), Failure> {
        drop(self.db);
        let folder = self.path.parent().ok_or("no folder")?;
        Ok(std::fs::remove_dir_all(folder)?)
    }
}
