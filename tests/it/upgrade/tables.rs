//! The tables of that release: their schema, and all rows as text.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

use crate::harness::database::TestDatabase;

/// The newest migration of that release. Its schema is a dump, because a migration may be edited.
pub const LAST_MIGRATION: &str = "m20261129_000021_unsettled_scopes";
const SQLITE: &str = include_str!("../fixtures/schema-21.sqlite.sql");
const POSTGRES: &str = include_str!("../fixtures/schema-21.postgres.sql");

/// Tables of that release whose rows may have moved: other tests check that these are not lost.
const MOVED: [&str; 2] = ["parked_grant", "install"];

/// Returns the tables that must keep every row, with their columns.
pub async fn kept_tables(database: &TestDatabase) -> BTreeMap<String, Vec<String>> {
    let mut tables = tables_of(database).await;
    tables.retain(|table, _| !MOVED.contains(&table.as_str()) && table != "seaql_migrations");
    tables
}

/// Returns all tables with their columns.
pub async fn tables_of(database: &TestDatabase) -> BTreeMap<String, Vec<String>> {
    let sql = match database.is_sqlite() {
        true => {
            "SELECT tables.name || ' ' || columns.name AS found FROM sqlite_master AS tables \
             JOIN pragma_table_info(tables.name) AS columns WHERE tables.type = 'table' ORDER BY 1"
        }
        false => {
            "SELECT table_name || ' ' || column_name AS found FROM information_schema.columns \
             WHERE table_schema = 'public' ORDER BY 1"
        }
    };
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for found in texts(database, sql).await {
        let (table, column) = found.split_once(' ').expect("a table and a column");
        tables.entry(table.to_owned()).or_default().push(column.to_owned());
    }
    tables
}

/// Returns all rows of these columns, as text.
pub async fn rows_of(
    database: &TestDatabase,
    tables: &BTreeMap<String, Vec<String>>,
) -> BTreeMap<String, Vec<String>> {
    let mut rows = BTreeMap::new();
    for (table, columns) in tables {
        let row = match database.is_sqlite() {
            true => columns
                .iter()
                .map(|column| format!("quote({column})"))
                .collect::<Vec<_>>()
                .join(" || ' ' || "),
            false => format!("ROW({})::text", columns.join(", ")),
        };
        let sql = format!("SELECT {row} AS found FROM {table} ORDER BY 1");
        rows.insert(table.clone(), texts(database, &sql).await);
    }
    rows
}

/// Returns the only column of these rows.
pub async fn texts(database: &TestDatabase, sql: &str) -> Vec<String> {
    let db = database.connect().await;
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let rows = db.query_all_raw(statement).await.unwrap_or_else(|why| panic!("{sql}: {why}"));
    db.close().await.expect("closes");
    rows.iter().map(|row| row.try_get_by_index(0).expect("a text")).collect()
}

/// Creates the schema of that release in an empty database.
pub async fn make_schema(db: &DatabaseConnection) {
    let schema = if db.get_database_backend() == DbBackend::Sqlite { SQLITE } else { POSTGRES };
    db.execute_unprepared(schema).await.expect("the schema");
}
