//! The database of a run: created for it, and only read beside the replicas.

use hubspot_connect::domain::random::Random;
use sea_orm::{
    ConnectionTrait, Database as Orm, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement,
};
use url::Url;

use crate::Failure;
use crate::history::{AuthRequest, Connection, NeedsReauth, Stored};

/// A database that exists for one run.
pub struct Database {
    /// Its URL.
    pub url: Url,
    name: String,
    admin: DatabaseConnection,
    db: DatabaseConnection,
}

impl Database {
    /// Creates one on a server.
    pub async fn create(server: &str) -> Result<Self, Failure> {
        let name = format!("torture_{}", Random::system().uuid().simple());
        let admin = Orm::connect(server).await?;
        admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await?;
        let mut url = Url::parse(server)?;
        url.set_path(&name);
        let db = Orm::connect(url.as_str()).await?;
        Ok(Self { url, name, admin, db })
    }

    /// Drops it.
    pub async fn remove(self) -> Result<(), Failure> {
        self.db.close().await?;
        self.admin.execute_unprepared(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await?;
        Ok(())
    }

    /// Returns everything that the judge evaluates.
    pub async fn stored(&self) -> Result<Stored, Failure> {
        Ok(Stored {
            connections: self.connections().await?,
            spare_jobs: self.spare_jobs().await?,
            revocations: self.number("SELECT COUNT(*) FROM revocation_job").await?,
            auth_requests: self.auth_requests().await?,
        })
    }

    /// Returns the connections, each with its jobs; one statement, so that both are of the same moment.
    pub async fn connections(&self) -> Result<Vec<Connection>, DbErr> {
        let sql = "SELECT id, state, refresh_fingerprint, obtained_at, COUNT(connection_id) AS jobs, \
                   COALESCE(MAX(strikes), 0) AS strikes FROM token LEFT JOIN token_refresh_job ON connection_id = id \
                   GROUP BY id";
        let read = |row: &QueryResult| {
            Ok(Connection {
                id: row.try_get("", "id")?,
                state: row.try_get("", "state")?,
                fingerprint: row.try_get("", "refresh_fingerprint")?,
                obtained_at: row.try_get("", "obtained_at")?,
                jobs: row.try_get("", "jobs")?,
                strikes: row.try_get("", "strikes")?,
            })
        };
        self.all(sql, read).await
    }

    /// Returns jobs without an active connection.
    async fn spare_jobs(&self) -> Result<Vec<String>, DbErr> {
        let sql = "SELECT connection_id FROM token_refresh_job WHERE NOT EXISTS \
                   (SELECT 1 FROM token WHERE id = connection_id AND state = 'active')";
        self.all(sql, |row| row.try_get("", "connection_id")).await
    }

    /// Returns connections in `needs_reauth`.
    pub async fn needs_reauth(&self, at: i64) -> Result<Vec<NeedsReauth>, DbErr> {
        let sql = "SELECT id, refresh_fingerprint FROM token WHERE state = 'needs_reauth'";
        let read = |row: &QueryResult| {
            Ok(NeedsReauth {
                at,
                connection: row.try_get("", "id")?,
                fingerprint: row.try_get("", "refresh_fingerprint")?,
            })
        };
        self.all(sql, read).await
    }

    /// Returns contradictions at this moment: jobs and connections that do not match.
    pub async fn mismatches(&self) -> Result<Vec<String>, DbErr> {
        let sql = "SELECT COALESCE(id, connection_id) AS id, state FROM token FULL JOIN token_refresh_job \
                   ON connection_id = id WHERE (id IS NULL OR connection_id IS NULL OR state <> 'active') \
                   AND (state = 'active' OR connection_id IS NOT NULL)";
        let read = |row: &QueryResult| {
            let (id, state): (String, Option<String>) = (row.try_get("", "id")?, row.try_get("", "state")?);
            Ok(format!("{id} ({})", state.as_deref().unwrap_or("no connection")))
        };
        self.all(sql, read).await
    }

    async fn auth_requests(&self) -> Result<Vec<AuthRequest>, DbErr> {
        let sql = "SELECT id, status, consumed_at, expires_at, connection_id FROM auth_request";
        let read = |row: &QueryResult| {
            Ok(AuthRequest {
                flow: row.try_get("", "id")?,
                status: row.try_get("", "status")?,
                consumed_at: row.try_get("", "consumed_at")?,
                expires_at: row.try_get("", "expires_at")?,
                connection: row.try_get("", "connection_id")?,
            })
        };
        self.all(sql, read).await
    }

    async fn number(&self, sql: &str) -> Result<i64, DbErr> {
        let row = self.db.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
        row.map_or(Ok(0), |row| row.try_get_by_index(0))
    }

    async fn all<T>(
        &self,
        sql: &str,
        read: impl Fn(&QueryResult) -> Result<T, DbErr>,
    ) -> Result<Vec<T>, DbErr> {
        let rows = self.db.query_all_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
        rows.iter().map(read).collect()
    }
}
