//! Access to either database, for entities and for SQL.

use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, QueryTrait, Statement, Value};

use super::StoreError;
use super::row::Row;
use super::sqlite::{self, Connections};

/// The connections of SQLite, or the pool or a transaction of PostgreSQL.
#[derive(Debug)]
pub enum Handle<'a, P> {
    /// SQLite, called on the current thread.
    Sqlite(&'a Connections),
    /// PostgreSQL.
    Postgres(&'a P),
}

impl<P: ConnectionTrait> Handle<'_, P> {
    /// Returns the kind of database.
    pub(in crate::store) fn backend(&self) -> DbBackend {
        self.get_database_backend()
    }

    /// Builds a statement for this database from SQL and values.
    pub(in crate::store) fn statement(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }

    /// Reads at most one row.
    pub(in crate::store) async fn one(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.query_one_raw(self.statement(sql, values)).await?.map(Row))
    }

    /// Reads all rows.
    pub(in crate::store) async fn all(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, StoreError> {
        Ok(self.query_all_raw(self.statement(sql, values)).await?.into_iter().map(Row).collect())
    }

    /// Executes a change and returns the number of changed rows.
    pub(in crate::store) async fn change(&self, query: impl QueryTrait) -> Result<u64, StoreError> {
        Ok(self.execute_raw(query.build(self.backend())).await?.rows_affected())
    }

    /// Executes a change in SQL and returns the number of changed rows.
    pub(in crate::store) async fn run(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<u64, StoreError> {
        Ok(self.execute_raw(self.statement(sql, values)).await?.rows_affected())
    }
}

#[async_trait]
impl<P: ConnectionTrait> ConnectionTrait for Handle<'_, P> {
    fn get_database_backend(&self) -> DbBackend {
        match self {
            Self::Sqlite(_) => DbBackend::Sqlite,
            Self::Postgres(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        log(&statement.sql);
        match self {
            Self::Sqlite(connections) => {
                Ok(connections.with(|db| sqlite::execute(db, &statement)).await?.into())
            }
            Self::Postgres(db) => db.execute_raw(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match self {
            Self::Sqlite(_) => self.execute_raw(Statement::from_string(DbBackend::Sqlite, sql)).await,
            Self::Postgres(db) => db.execute_unprepared(sql).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        log(&statement.sql);
        match self {
            Self::Sqlite(connections) => {
                let rows = connections.with(|db| sqlite::query(db, &statement)).await?;
                Ok(rows.into_iter().next().map(Into::into))
            }
            Self::Postgres(db) => db.query_one_raw(statement).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        log(&statement.sql);
        match self {
            Self::Sqlite(connections) => {
                let rows = connections.with(|db| sqlite::query(db, &statement)).await?;
                Ok(rows.into_iter().map(Into::into).collect())
            }
            Self::Postgres(db) => db.query_all_raw(statement).await,
        }
    }
}

/// Logs a statement without its values. The start and the end of a transaction are not logged.
fn log(sql: &str) {
    tracing::trace!(sql, "statement");
}
