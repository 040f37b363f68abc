//! A database for one test: a file, or a database on the PostgreSQL server that TEST_POSTGRES_URL names.

use hubspot_connect::domain::random::Random;
use migrations::SchemaManager;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TryGetable, Value,
};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::tables;

/// A database for one test.
pub struct TestDatabase {
    pub url: String,
    /// The folder of the SQLite file, removed with the test.
    pub folder: TempDir,
    /// Kept open to a server, where logging in costs more than any query; a file is opened each time.
    kept: OnceCell<DatabaseConnection>,
}

impl TestDatabase {
    /// Creates an empty one.
    pub async fn fresh() -> Self {
        Self::new(false).await
    }

    /// Creates one with the tables: they are copied, because creating them for each test would take longer than most
    /// tests do.
    pub async fn migrated() -> Self {
        Self::new(true).await
    }

    async fn new(tables: bool) -> Self {
        let folder = tables::folder();
        let url = match std::env::var("TEST_POSTGRES_URL") {
            Ok(server) => on_server(&server, tables).await,
            Err(_) => {
                let file = folder.path().join("test.db");
                if tables {
                    tables::copy_to(&file).await;
                }
                tables::url_of(&file)
            }
        };
        Self { url, folder, kept: OnceCell::new() }
    }

    pub fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    /// Returns the server of the database, if it is not a file.
    pub async fn server(&self) -> Option<TestServer> {
        let url = std::env::var("TEST_POSTGRES_URL").ok()?;
        let name = url::Url::parse(&self.url).expect("a URL").path().trim_start_matches('/').to_owned();
        Some(TestServer { admin: Database::connect(&url).await.expect("TEST_POSTGRES_URL"), name })
    }

    /// Opens a connection beside the service.
    pub async fn connect(&self) -> DatabaseConnection {
        if self.is_sqlite() {
            return tables::connect(&self.folder.path().join("test.db"));
        }
        Database::connect(&self.url).await.expect("the test's own connection")
    }

    async fn behind(&self) -> DatabaseConnection {
        if self.is_sqlite() {
            self.connect().await
        } else {
            self.kept.get_or_init(|| self.connect()).await.clone()
        }
    }

    async fn leave(&self, db: DatabaseConnection) {
        if self.is_sqlite() {
            db.close().await.expect("closes");
        }
    }

    /// Executes a statement beside the service.
    pub async fn execute(&self, sql: &str) -> u64 {
        let db = self.behind().await;
        let done = db.execute_unprepared(sql).await.unwrap_or_else(|why| panic!("{sql}: {why}"));
        self.leave(db).await;
        done.rows_affected()
    }

    /// Reads a number beside the service.
    pub async fn number(&self, sql: &str) -> i64 {
        self.value(sql).await
    }

    /// Reads a text beside the service.
    pub async fn text(&self, sql: &str) -> String {
        self.value(sql).await
    }

    /// Returns the steps of SQLite's plan for a statement, a line each. Empty on PostgreSQL, whose plans depend on the
    /// stored rows.
    pub async fn plan(&self, sql: &str) -> String {
        if !self.is_sqlite() {
            return String::new();
        }
        let db = self.connect().await;
        let numbered = (1..).take_while(|number| sql.contains(&format!("${number}"))).count();
        let values = vec![Value::String(None); numbered.max(sql.matches('?').count())];
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let explain = Statement::from_sql_and_values(DbBackend::Sqlite, explain, values);
        let steps = db.query_all_raw(explain).await.unwrap_or_else(|why| panic!("{sql}: {why}"));
        self.leave(db).await;
        let steps = steps.iter().map(|row| row.try_get::<String>("", "detail").expect("a step"));
        steps.collect::<Vec<_>>().join("\n")
    }

    async fn value<T: TryGetable>(&self, sql: &str) -> T {
        let db = self.behind().await;
        let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await;
        let row = row.unwrap_or_else(|why| panic!("{sql}: {why}")).expect("one row");
        self.leave(db).await;
        row.try_get_by_index(0).unwrap_or_else(|why| panic!("{sql}: {why:?}"))
    }

    /// Returns everything that is stored, as far as the database shows it: every table, or every file.
    pub async fn dump(&self) -> Vec<u8> {
        if self.is_sqlite() {
            let mut all = Vec::new();
            for entry in std::fs::read_dir(self.folder.path()).expect("the folder") {
                all.extend(std::fs::read(entry.expect("an entry").path()).expect("a file"));
            }
            return all;
        }
        let db = self.connect().await;
        let tables = Statement::from_string(
            DbBackend::Postgres,
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'",
        );
        let mut all = Vec::new();
        for table in db.query_all_raw(tables).await.expect("tables") {
            let table: String = table.try_get_by_index(0).expect("a name");
            let rows =
                Statement::from_string(DbBackend::Postgres, format!("SELECT t::text FROM {table} AS t"));
            for row in db.query_all_raw(rows).await.expect("rows") {
                all.extend(row.try_get_by_index::<String>(0).expect("a row").into_bytes());
            }
        }
        all
    }
}

/// A server would keep the databases of hundreds of tests until it is stopped: gigabytes to write, and minutes to
/// delete.
impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Ok(server) = std::env::var("TEST_POSTGRES_URL") else { return };
        let Ok(url) = url::Url::parse(&self.url) else { return };
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", url.path().trim_start_matches('/'));
        let work = async move {
            let admin = Database::connect(ConnectOptions::new(server).max_connections(1).to_owned()).await?;
            admin.execute_unprepared(&drop).await?;
            admin.close().await
        };
        // The runtime of the test may be shutting down.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let dropped = std::thread::spawn(move || runtime.block_on(work)).join();
        if !matches!(dropped, Ok(Ok(()))) {
            eprintln!("a database was left behind: {dropped:?}");
        }
    }
}

/// The server of a test's database, for its administrator.
pub struct TestServer {
    admin: DatabaseConnection,
    name: String,
}

impl TestServer {
    /// Sets or resets a default for all sessions of the test's database, and terminates the open ones: a session keeps
    /// the defaults with which it started.
    pub async fn set(&self, default: &str, value: Option<&str>) {
        let Self { admin, name } = self;
        let change = match value {
            Some(value) => format!("ALTER DATABASE {name} SET {default} = {value}"),
            None => format!("ALTER DATABASE {name} RESET {default}"),
        };
        admin.execute_unprepared(&change).await.expect("a default");
        self.throw_out().await;
    }

    async fn throw_out(&self) {
        let Self { admin, name } = self;
        let out = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        admin.execute_unprepared(&out).await.expect("no session is open");
    }

    /// Refuses connections to the test's database and terminates the open ones, or accepts them again.
    pub async fn shut(&self, shut: bool) {
        let Self { admin, name } = self;
        let door = format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {}", !shut);
        admin.execute_unprepared(&door).await.expect("the door");
        if shut {
            self.throw_out().await;
        }
    }
}

/// Creates a database on this server: an empty one, or one with the tables.
async fn on_server(server: &str, tables: bool) -> String {
    let name = format!("test_{}", Random::system().uuid().simple());
    let mut options = ConnectOptions::new(server);
    // A session holds the lock, so there must be only one.
    let admin = Database::connect(options.max_connections(1).to_owned()).await.expect("TEST_POSTGRES_URL");
    let template = match tables {
        true => format!(" TEMPLATE {}", template(server, &admin).await),
        false => String::new(),
    };
    admin.execute_unprepared(&format!("CREATE DATABASE {name}{template}")).await.expect("a new database");
    admin.close().await.expect("closes");
    at(server, &name)
}

fn at(server: &str, name: &str) -> String {
    let mut url = url::Url::parse(server).expect("a URL");
    url.set_path(name);
    url.to_string()
}

/// Returns the database from which others are copied. The first test that needs it creates it, and the others wait. It
/// has another name until it is complete, so that no test copies half of it.
async fn template(server: &str, admin: &DatabaseConnection) -> String {
    let last = migrations::all().last().expect("a schema change").name().to_owned();
    let name = format!("template_{last}");
    admin.execute_unprepared("SELECT pg_advisory_lock(4711)").await.expect("the lock");
    let known = format!("SELECT 1 AS found FROM pg_database WHERE datname = '{name}'");
    let known = Statement::from_string(DbBackend::Postgres, known);
    if admin.query_one_raw(known).await.expect("an answer").is_none() {
        let half = format!("half_{}", Random::system().uuid().simple());
        admin.execute_unprepared(&format!("CREATE DATABASE {half}")).await.expect("a new database");
        let db = Database::connect(at(server, &half)).await.expect("the new database");
        migrations::up(&SchemaManager::new(&db), 0).await.expect("the tables");
        db.close().await.expect("closes");
        admin.execute_unprepared(&format!("ALTER DATABASE {half} RENAME TO {name}")).await.expect("a name");
    }
    admin.execute_unprepared("SELECT pg_advisory_unlock(4711)").await.expect("the lock");
    name
}
