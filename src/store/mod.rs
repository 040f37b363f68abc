//! Store: connect, transact, and what differs between SQLite and PostgreSQL.
//!
//! The SQL itself is the same on both; `db` knows how each is reached.
//! The store holds ciphertext and hashes, never plaintext.

mod connect;
mod connections;
pub mod db;
mod entity;
mod marketplace;
mod platform;
mod webhooks;

use std::ops::Deref;

pub use connect::auth_request::{Consumed, NewAuthRequest};
pub use connect::save::{NewTokens, Saved, Source};
pub use connections::access_row::AccessRow;
pub use connections::claim::{ClaimOne, Claimed, claim_sql};
pub use connections::listing::{Listed, Wanted};
pub use connections::reconcile::Reconciled;
pub use connections::refreshed::Committed;
pub use connections::revocation::Removed;
pub use connections::token::Details;
pub use db::{Database, OpenError, SchemaStatus, StoreError};
pub use entity::api_key::Model as ApiKey;
pub use entity::claimed_install::Model as ClaimedInstall;
pub use entity::connect_session::Model as ConnectSession;
pub use entity::event::Model as Event;
pub use entity::pending_grant::{Model as PendingGrant, Undecided};
pub use entity::revocation_job::Model as RevocationJob;
pub use entity::session::Model as SessionRow;
pub use entity::token::Model as TokenRow;
pub use entity::webhook_delivery::WebhookDelivery;
pub use entity::webhook_endpoint::Model as Endpoint;
pub use marketplace::journal::JournalLease;
pub use platform::idempotency::{OnceFound, OnceLease};
pub use platform::reseal::{SealedRow, SealedTable};
pub use platform::session::Revoke;
pub use webhooks::webhook_delivery::{Behind, ClaimedDelivery};
pub use webhooks::webhook_endpoint::EndpointChanges;

use connections::gathered::Gathered;
use db::{Batch, Tx, Work};

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
    /// The store in this database.
    pub fn over(db: Database) -> Self {
        Self {
            access: (!db.is_exclusive()).then(|| Gathered::from(db.clone())),
            starts: Batch::through(db.writer(), connect::starts::insert_all),
            refreshed: Batch::through(db.writer(), connections::refreshed::store_all),
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
