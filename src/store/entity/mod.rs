//! The tables as sea-orm sees them: one file for each, a typed model of its row; and `flag`, the type of
//! columns that are true or false.
//!
//! A column is of a type of the domain, so that nothing is parsed where a row is used. The order of the fields is that of
//! the columns. What no entity can say in one statement stands as SQL in the file of the verb. `event_sequence` has no
//! entity: a single SQL statement uses it.

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

/// The relations of an entity that is joined with no other.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

/// Returns the names of an entity's columns for a statement in SQL. With `*` in its place, PostgreSQL would refuse the
/// statements that are prepared already when a later release adds a column.
pub fn columns<E: EntityTrait>() -> String {
    E::Column::iter().map(|column| column.as_str()).collect::<Vec<_>>().join(", ")
}
