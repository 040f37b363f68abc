//! Store: connect, transact, and what differs between SQLite and PostgreSQL.
//!
//! The SQL itself is the same on both; `db` knows how each is reached.
//! The store holds ciphertext and hashes, never plaintext.

mod access_row;
mod api_key;
mod auth_request;
mod claim;
mod connect;
mod connect_session;
mod crypto_meta;
pub mod db;
mod degraded;
mod entity;
mod event;
mod external_user;
mod gathered;
mod idempotency;
mod install;
mod journal;
mod listing;
mod pending_grant;
mod reconcile;
mod refresh_job;
mod refreshed;
mod reseal;
mod revocation;
mod session;
mod starts;
mod token;
mod webhook_delivery;
mod webhook_endpoint;

use std::ops::Deref;

pub use access_row::AccessRow;
pub use auth_request::{Consumed, NewAuthRequest};
pub use claim::{ClaimOne, Claimed, claim_sql};
pub use connect::{NewTokens, Saved, Source};
pub use db::{Database, OpenError, SchemaStatus, StoreError};
pub use entity::api_key::Model as ApiKey;
pub use entity::claimed_install::Model as ClaimedInstall;
pub use entity::event::Model as Event;
pub use entity::pending_grant::{Model as PendingGrant, Undecided};
pub use entity::revocation_job::Model as RevocationJob;
pub use entity::session::Model as SessionRow;
pub use entity::token::Model as TokenRow;
pub use entity::webhook_delivery::WebhookDelivery;
pub use entity::webhook_endpoint::Model as Endpoint;
pub use idempotency::{OnceFound, OnceLease};
pub use journal::{Advanced, JournalLease};
pub use listing::{Listed, ListedState, Wanted};
pub use reconcile::Reconciled;
pub use refreshed::Committed;
pub use reseal::{SealedRow, SealedTable};
pub use revocation::Removed;
pub use session::Revoke;
pub use token::Details;
pub use webhook_delivery::{Behind, ClaimedDelivery};
pub use webhook_endpoint::EndpointChanges;

use crate::config::Database as Settings;
use crate::domain::clock::Clock;
use db::{Batch, Tx, Work};
use gathered::Gathered;

/// The database, with a method for each thing that is asked of it.
#[derive(Debug, Clone)]
pub struct Store {
    db: Database,
    /// Reads of access tokens, where each has a long way to go.
    access: Option<Gathered>,
    /// New AuthRequests.
    starts: Batch<NewAuthRequest, bool>,
    /// Refreshed tokens.
    refreshed: Batch<Committed, bool>,
}

impl Store {
    /// Opens the database to serve from it: on SQLite this process has it for itself.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub async fn open(settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        Ok(Self::over(Database::open(settings, clock).await?))
    }

    /// Opens the database beside a process that serves from it, for the command line.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do; a missing file is not created.
    pub async fn open_beside(settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        Ok(Self::over(Database::open_beside(settings, clock).await?))
    }

    /// Opens the database read-only, without creating or changing a file. Only SQLite's shared memory is written to, and
    /// only if there is a write-ahead log in use.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub async fn inspect(settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        Ok(Self::over(Database::inspect(settings, clock).await?))
    }

    fn over(db: Database) -> Self {
        Self {
            access: (!db.is_exclusive()).then(|| Gathered::from(db.clone())),
            starts: Batch::through(db.writer(), starts::insert_all),
            refreshed: Batch::through(db.writer(), refreshed::store_all),
            db,
        }
    }
}

impl Deref for Store {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.db
    }
}
