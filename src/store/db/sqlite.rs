//! SQLite, called through rusqlite on the current thread: a statement takes microseconds, less than handing it to
//! another thread.
//!
//! sea-orm uses it as a proxy database, so entities and migrations are the same as on PostgreSQL.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, Value as Owned, ValueRef};
use rusqlite::{CachedStatement, Connection, OpenFlags};
use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{
    DatabaseConnection, DbBackend, DbErr, ProxyDatabaseConnector, ProxyDatabaseTrait, ProxyExecResult,
    ProxyRow, RuntimeErr, Statement, Value,
};
use tokio::sync::Semaphore;

use crate::config::FileMode;

/// The time that a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of prepared statements that a connection caches.
const STATEMENT_CACHE: usize = 128;

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Writing. Refreshes write all over the table, so the connection caches up to 16 MiB of pages.
    Write,
    /// Reading beside the writing connection. The connection caches up to 2 MiB of pages.
    Read,
    /// Reading a file without changing it or the files beside it.
    Inspect {
        /// Whether no write-ahead log is in use, so that none must be created for reading.
        immutable: bool,
    },
}

/// Opens a file.
///
/// # Errors
/// [`DbErr::Conn`] if the file cannot be used as a database.
pub fn open(file: &Path, access: Access, mode: FileMode) -> Result<Connection, DbErr> {
    opened(file, access, mode).map_err(|why| DbErr::Conn(RuntimeErr::Internal(why.to_string())))
}

fn opened(file: &Path, access: Access, mode: FileMode) -> rusqlite::Result<Connection> {
    let db = match access {
        Access::Inspect { immutable } => {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(address(file, immutable), flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?
        }
        Access::Read | Access::Write => {
            let flags = match mode {
                FileMode::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
                FileMode::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
                FileMode::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            };
            Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?
        }
    };
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    // Otherwise SQLite plans a statement with a bound LIMIT again at each execution.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if matches!(access, Access::Inspect { .. }) {
        return Ok(db);
    }
    let cache = if access == Access::Write { -16_384 } else { -2048 };
    // Any setting below FULL may lose the last commits in a power cut, and a rotated refresh token with them.
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA cache_size = {cache}; PRAGMA secure_delete = ON; PRAGMA trusted_schema = OFF; \
         PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON"
    ))?;
    Ok(db)
}

/// Returns the file as a URL for SQLite.
fn address(file: &Path, immutable: bool) -> String {
    let path = percent_encode(file.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC);
    format!("file:{path}{}", if immutable { "?immutable=1" } else { "" })
}

/// Executes a statement and returns the number of changed rows.
pub(super) fn execute(db: &Connection, statement: &Statement) -> Result<ProxyExecResult, DbErr> {
    let changed = match &statement.values {
        // There may be several statements, and some may return rows.
        None => db.execute_batch(&statement.sql).map(|()| db.changes()),
        Some(_) => prepared(db, statement).and_then(|mut prepared| Ok(prepared.raw_execute()? as u64)),
    };
    let changed = changed.map_err(|why| DbErr::Exec(RuntimeErr::Internal(why.to_string())))?;
    Ok(ProxyExecResult::new(0, changed))
}

/// Executes a statement and returns its rows.
pub(super) fn query(db: &Connection, statement: &Statement) -> Result<Vec<ProxyRow>, DbErr> {
    rows(db, statement).map_err(|why| DbErr::Query(RuntimeErr::Internal(why.to_string())))
}

fn rows(db: &Connection, statement: &Statement) -> rusqlite::Result<Vec<ProxyRow>> {
    let mut prepared = prepared(db, statement)?;
    let columns: Vec<_> = prepared.columns().iter().map(Column::of).collect();
    let mut found = Vec::new();
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next()? {
        let mut values = BTreeMap::new();
        for (at, column) in columns.iter().enumerate() {
            values.insert(column.name.clone(), column.read(at, row.get_ref(at)?)?);
        }
        found.push(ProxyRow::new(values));
    }
    Ok(found)
}

/// A column of a result.
struct Column {
    name: String,
    is_number: bool,
}

impl Column {
    fn of(column: &rusqlite::Column<'_>) -> Self {
        let is_number = column.decl_type().is_some_and(|declared| declared.eq_ignore_ascii_case("integer"));
        Self { name: column.name().to_owned(), is_number }
    }

    /// Reads a value. sea-orm reads a value of an unexpected type as NULL, so a type that no column of the schema has
    /// is an error here.
    fn read(&self, at: usize, value: ValueRef<'_>) -> rusqlite::Result<Value> {
        match value {
            ValueRef::Null => Ok(Value::String(None)),
            ValueRef::Integer(number) => Ok(number.into()),
            ValueRef::Text(text) if !self.is_number => Ok(std::str::from_utf8(text)?.into()),
            other => Err(rusqlite::Error::InvalidColumnType(at, self.name.clone(), other.data_type())),
        }
    }
}

fn prepared<'a>(db: &'a Connection, statement: &Statement) -> rusqlite::Result<CachedStatement<'a>> {
    let mut prepared = db.prepare_cached(&statement.sql)?;
    let values = statement.values.as_ref().map_or(&[][..], |values| &values.0);
    for place in 1..=prepared.parameter_count() {
        // SQLite treats `$3` as a parameter name. A bare question mark has none.
        let number = prepared.parameter_name(place).and_then(|name| name.get(1..)?.parse().ok());
        let value = values.get(number.unwrap_or(place) - 1);
        let value = value.ok_or(rusqlite::Error::InvalidParameterCount(values.len(), place))?;
        prepared.raw_bind_parameter(place, bound(value)?)?;
    }
    Ok(prepared)
}

fn bound(value: &Value) -> rusqlite::Result<ToSqlOutput<'_>> {
    let owned = match value {
        Value::String(Some(text)) => return Ok(ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))),
        Value::Bytes(Some(bytes)) => return Ok(ToSqlOutput::Borrowed(ValueRef::Blob(bytes))),
        Value::BigInt(number) => number.map(Owned::Integer),
        Value::Int(number) => number.map(|number| Owned::Integer(number.into())),
        Value::Bool(truth) => truth.map(|truth| Owned::Integer(truth.into())),
        Value::BigUnsigned(Some(number)) => Some(Owned::Integer(i64::try_from(*number).map_err(|_| {
            rusqlite::Error::ToSqlConversionFailure("the number is too large for SQLite".into())
        })?)),
        Value::String(None) | Value::Bytes(None) | Value::BigUnsigned(None) => None,
        other => {
            let why = format!("the schema has no values of this type: {other:?}");
            return Err(rusqlite::Error::ToSqlConversionFailure(why.into()));
        }
    };
    Ok(ToSqlOutput::Owned(owned.unwrap_or(Owned::Null)))
}

/// Connections to one file, used on the caller's thread.
#[derive(Debug)]
pub struct Connections {
    slots: Vec<Mutex<Option<Connection>>>,
    /// One permit per idle connection.
    free: Semaphore,
}

impl Connections {
    /// Wraps these connections.
    pub(super) fn of(connections: impl IntoIterator<Item = Connection>) -> Self {
        let slots: Vec<_> = connections.into_iter().map(|db| Mutex::new(Some(db))).collect();
        let free = Semaphore::new(slots.len());
        Self { slots, free }
    }

    /// Calls `work` with an idle connection, or waits for one.
    pub(super) async fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DbErr>,
    ) -> Result<T, DbErr> {
        let closed = || DbErr::Conn(RuntimeErr::Internal("the database is closed".to_owned()));
        // Dropped after the guard of the connection, so that every holder of a permit finds a connection.
        let _permit = self.free.acquire().await.map_err(|_| closed())?;
        let slot = self.slots.iter().find_map(|slot| match slot.try_lock() {
            Ok(slot) => Some(slot),
            Err(TryLockError::Poisoned(slot)) => Some(slot.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        work(slot.as_ref().and_then(|slot| slot.as_ref()).ok_or_else(closed)?)
    }

    /// Closes all connections after their running statements have finished.
    pub(super) fn close(&self) {
        self.free.close();
        for slot in &self.slots {
            let db = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(Err((_, why))) = db.map(Connection::close) {
                tracing::warn!(error = %why, "failed to close the database");
            }
        }
    }
}

/// Returns a connection as sea-orm's, for migrations and for tests. Transactions start and commit by statements,
/// because sea-orm does not report a failed COMMIT of a proxy.
pub fn as_proxy(db: Connection) -> DatabaseConnection {
    let proxy = Proxy(Connections::of([db]));
    let connected = ProxyDatabaseConnector::connect(DbBackend::Sqlite, Arc::new(Box::new(proxy)));
    connected.expect("connecting a proxy does nothing that can fail")
}

#[derive(Debug)]
struct Proxy(Connections);

#[async_trait]
impl ProxyDatabaseTrait for Proxy {
    async fn query(&self, statement: Statement) -> Result<Vec<ProxyRow>, DbErr> {
        self.0.with(|db| query(db, &statement)).await
    }

    async fn execute(&self, statement: Statement) -> Result<ProxyExecResult, DbErr> {
        self.0.with(|db| execute(db, &statement)).await
    }

    async fn begin(&self) {
        panic!("a transaction begins with BEGIN IMMEDIATE, as a statement whose failure comes back");
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn fresh() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().expect("a folder");
        let db = open(&folder.path().join("a?b#c%d.db"), Access::Write, FileMode::Create).expect("a file");
        let tables =
            "CREATE TABLE t (id TEXT PRIMARY KEY, at INTEGER, sealed TEXT) ; CREATE INDEX i ON t (at)";
        execute(&db, &Statement::from_string(DbBackend::Sqlite, tables)).expect("a table");
        (folder, db)
    }

    fn statement(sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)
    }

    #[test]
    fn numbered_parameters_are_bound_by_number_and_question_marks_in_order() {
        let (_folder, db) = fresh();
        let values: [Value; 3] = [7.into(), "b".into(), "c".into()];
        let numbered = statement("INSERT INTO t (id, at, sealed) VALUES ($2, $1 + $1, $3)", values.clone());
        assert_eq!(execute(&db, &numbered).expect("a row").rows_affected, 1);
        let bare = "SELECT * FROM t WHERE at = ? * 2 AND id = ? AND sealed = ?";
        let rows = query(&db, &statement(bare, values)).expect("its row");
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].try_get::<i64, _>("at").expect("a number"), 14);
        assert_eq!(rows[0].try_get::<String, _>("sealed").expect("a text"), "c");
    }

    #[test]
    fn parameters_without_a_value_are_errors() {
        let (_folder, db) = fresh();
        execute(&db, &statement("DELETE FROM t WHERE id = $2", ["a".into()]))
            .expect_err("there is no second");
        execute(&db, &statement("DELETE FROM t WHERE id = ? OR id = ?", ["a".into()])).expect_err("nor here");
    }

    #[test]
    fn type_mismatches_are_errors_and_not_null() {
        let (_folder, db) = fresh();
        for wrong in ["'soon'", "1.5", "x'00'"] {
            let insert = format!("INSERT OR REPLACE INTO t (id, at) VALUES ('a', {wrong})");
            execute(&db, &statement(&insert, [])).expect("SQLite takes any value");
            query(&db, &statement("SELECT at FROM t", [])).expect_err(wrong);
        }
    }

    #[test]
    fn files_with_special_characters_are_inspected_and_unchanged() {
        let (folder, db) = fresh();
        drop(db);
        let file = folder.path().join("a?b#c%d.db");
        let twice = PathBuf::from(format!("/{}", file.display()));
        open(&twice, Access::Inspect { immutable: true }, FileMode::Read).expect("two slashes are one");
        let db = open(&file, Access::Inspect { immutable: true }, FileMode::Read).expect("the same file");
        let rows = query(&db, &statement("SELECT COUNT(*) AS rows FROM t", [])).expect("the table");
        assert_eq!(rows[0].try_get::<i64, _>("rows").expect("a number"), 0);
        execute(&db, &statement("DELETE FROM t", [])).expect_err("it is for reading");
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1);
    }

    #[test]
    fn commits_are_durable_and_plans_are_stable() {
        let (_folder, db) = fresh();
        for (pragma, expected) in [("synchronous", 2), ("foreign_keys", 1), ("secure_delete", 1)] {
            let rows = query(&db, &statement(&format!("PRAGMA {pragma}"), [])).expect("a pragma");
            assert_eq!(rows[0].try_get::<i64, _>(pragma).expect("a number"), expected, "{pragma}");
        }
        assert!(db.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG).expect("a setting"));
    }
}
