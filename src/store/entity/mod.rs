//! The tables as sea-orm entities: one file per table with a typed model of its row; and `flag`, the type of boolean
//! columns.
//!
//! Columns have types of the domain, so that nothing is parsed where a row is used. The order of the fields is that of
//! the columns. Statements that entities cannot express are SQL in the file that executes them. `event_sequence` has no
//! entity: only one SQL statement uses it.

pub mod alarm;
pub mod api_key;
pub mod auth_request;
pub mod claimed_install;
pub mod connect_session;
pub mod crypto_meta;
pub mod event;
pub mod external_user;
pub mod flag;
pub mod idempotency_key;
pub mod install_attempt;
pub mod journal_reader;
pub mod pending_grant;
pub mod project;
pub mod revocation_job;
pub mod session;
pub mod token;
pub mod token_refresh_job;
pub mod webhook_delivery;
pub mod webhook_endpoint;

use sea_orm::{DeriveRelation, EntityTrait, EnumIter, IdenStatic, Iterable};

/// The relations of an entity that is never joined.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

/// Returns the names of an entity's columns for an SQL statement. With `*` instead, PostgreSQL would reject statements
/// that are already prepared when a later release adds a column.
pub fn columns<E: EntityTrait>() -> String {
    E::Column::iter().map(|column| column.as_str()).collect::<Vec<_>>().join(", ")
}
