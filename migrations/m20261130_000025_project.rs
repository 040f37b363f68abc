//! Projects: products that share a service. Existing rows belong to the project `default`.
//!
//! The previous release identifies the host's users by their external id alone, so all its replicas must be stopped
//! first.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text, text_null};
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend, Statement};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The tables whose rows belong to a project. An event without a project concerns the whole app.
const OWNED: [(&str, ColumnType); 5] = [
    ("api_key", text),
    ("connect_session", text),
    ("event", text_null),
    ("token", text),
    ("webhook_endpoint", text),
];

type ColumnType = fn(&'static str) -> ColumnDef;

const NO_INDEXES: [&str; 3] =
    ["DROP INDEX token_created", "DROP INDEX token_account_created", "DROP INDEX token_inactive"];

/// Connections are listed by project. SQLite has no statistics and chooses the index with the most columns that are
/// compared with `=`, so the project is a column of each index that a list needs.
const BY_PROJECT: [&str; 3] = [
    "CREATE INDEX token_created ON token (project_id, created_at, id)",
    "CREATE INDEX token_account_created ON token (portal_id, project_id, created_at, id)",
    "CREATE INDEX token_inactive ON token (state, project_id, created_at, id) WHERE state <> 'active'",
];

const OF_ALL: [&str; 3] = [
    "CREATE INDEX token_created ON token (created_at, id)",
    "CREATE INDEX token_account_created ON token (portal_id, created_at, id)",
    "CREATE INDEX token_inactive ON token (state, created_at, id) WHERE state <> 'active'",
];

/// Indexes for lists of a project in order of time.
const LISTS: [(&str, &str, &[&str]); 2] = [
    ("connect_session_project", "connect_session", &["project_id", "id"]),
    ("event_project", "event", &["project_id", "created_at", "id"]),
];

/// Changes the primary key of the host's users. SQLite cannot change one, so the table is copied.
const USERS_UP: [&[&str]; 2] = [
    &[
        "ALTER TABLE external_user ADD COLUMN project_id text NOT NULL DEFAULT 'default'",
        "ALTER TABLE external_user DROP CONSTRAINT external_user_pkey",
        "ALTER TABLE external_user ADD PRIMARY KEY (project_id, external_id)",
    ],
    &[
        "ALTER TABLE external_user RENAME TO external_user_before",
        "CREATE TABLE external_user (project_id text NOT NULL, external_id text NOT NULL, \
         user_id text NOT NULL UNIQUE, created_at bigint NOT NULL, PRIMARY KEY (project_id, external_id))",
        "INSERT INTO external_user SELECT 'default', external_id, user_id, created_at FROM external_user_before",
        "DROP TABLE external_user_before",
    ],
];

const USERS_DOWN: [&[&str]; 2] = [
    &[
        "ALTER TABLE external_user DROP CONSTRAINT external_user_pkey",
        "ALTER TABLE external_user ADD PRIMARY KEY (external_id)",
        "ALTER TABLE external_user DROP COLUMN project_id",
    ],
    &[
        "ALTER TABLE external_user RENAME TO external_user_after",
        "CREATE TABLE external_user (external_id text NOT NULL PRIMARY KEY, user_id text NOT NULL UNIQUE, \
         created_at bigint NOT NULL)",
        "INSERT INTO external_user SELECT external_id, user_id, created_at FROM external_user_after",
        "DROP TABLE external_user_after",
    ],
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let project = Table::create()
            .table("project")
            .col(text("id").primary_key())
            .col(text_null("host_origins"))
            .col(big_integer("created_at"))
            .to_owned();
        manager.create_table(project).await?;
        run(manager, &["INSERT INTO project (id, created_at) VALUES ('default', 0)"]).await?;
        for (table, column) in OWNED {
            let column = column("project_id").default("default").to_owned();
            manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await?;
        }
        run(manager, &NO_INDEXES).await?;
        run(manager, &BY_PROJECT).await?;
        for (name, table, columns) in LISTS {
            let mut index = Index::create().name(name).table(table).to_owned();
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        run(manager, of(manager, USERS_UP)).await
    }

    /// Fails if there is another project than `default`: in the previous release, its keys would give access to
    /// everything.
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let others = "SELECT id FROM project WHERE id <> 'default'";
        if db.query_one_raw(Statement::from_string(db.get_database_backend(), others)).await?.is_some() {
            return Err(DbErr::Custom(
                "there are projects; `hubspot-connect projects delete` removes them".to_owned(),
            ));
        }
        for (name, table, _) in LISTS {
            manager.drop_index(Index::drop().name(name).table(table).to_owned()).await?;
        }
        run(manager, of(manager, USERS_DOWN)).await?;
        run(manager, &NO_INDEXES).await?;
        run(manager, &OF_ALL).await?;
        for (table, _) in OWNED {
            manager.alter_table(Table::alter().table(table).drop_column("project_id").to_owned()).await?;
        }
        manager.drop_table(Table::drop().table("project").to_owned()).await
    }
}

fn of(
    manager: &SchemaManager<'_>,
    [postgres, sqlite]: [&'static [&'static str]; 2],
) -> &'static [&'static str] {
    if manager.get_database_backend() == DbBackend::Postgres { postgres } else { sqlite }
}

async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    for sql in statements {
        manager.get_connection().execute_unprepared(sql).await?;
    }
    Ok(())
}
