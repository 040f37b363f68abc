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

pub use connect::ConnectStore;
pub use connect::auth_request::{Consumed, NewAuthRequest};
pub use connect::connect_session::ConnectSessionFilter;
pub use connect::save::{NewTokens, Saved, Source};
pub use connections::ConnectionStore;
pub use connections::access_row::AccessRow;
pub use connections::connection_query::{ConnectionFilter, ListedConnection};
pub use connections::reconcile::Reconciled;
pub use connections::refresh_commit::RefreshedTokens;
pub use connections::refresh_lease::{AcquireResult, AcquiredJob, acquire_sql};
pub use connections::revocation::Removed;
pub use connections::token::Details;
pub use db::{Database, OpenError, SchemaStatus, StoreError};
pub use entity::api_key::Model as ApiKey;
pub use entity::claimed_install::Model as ClaimedInstall;
pub use entity::connect_session::Model as ConnectSession;
pub use entity::event::Model as Event;
pub use entity::pending_grant::{Model as PendingGrant, Undecided};
pub use entity::project::Model as Project;
pub use entity::revocation_job::Model as RevocationJob;
pub use entity::session::Model as SessionRow;
pub use entity::token::Model as TokenRow;
pub use entity::webhook_delivery::WebhookDelivery;
pub use entity::webhook_endpoint::Model as Endpoint;
pub use marketplace::MarketplaceStore;
pub use marketplace::journal::JournalLease;
pub use platform::PlatformStore;
pub use platform::idempotency::{OnceFound, OnceLease};
pub use platform::reseal::{SealedRow, SealedTable};
pub use platform::session::Revoke;
pub use webhooks::WebhookStore;
pub use webhooks::event::EventFilter;
pub use webhooks::webhook_delivery::{AcquiredDelivery, DeliveryCursor, DeliveryFilter};
pub use webhooks::webhook_endpoint::EndpointChanges;

use db::{Tx, Work};

/// The handles of the sub-domains, over one database.
#[derive(Debug, Clone)]
pub struct Store {
    /// The rows of flows.
    pub connect: ConnectStore,
    /// The rows of connections.
    pub connections: ConnectionStore,
    /// The rows of what begins at HubSpot.
    pub marketplace: MarketplaceStore,
    /// The rows that the other sub-domains stand on.
    pub platform: PlatformStore,
    /// The rows of events and their receivers.
    pub webhooks: WebhookStore,
    db: Database,
}

impl Store {
    /// Makes the handles in this database.
    pub fn over(db: Database) -> Self {
        Self {
            connect: ConnectStore::over(db.clone()),
            connections: ConnectionStore::over(db.clone()),
            marketplace: MarketplaceStore::over(db.clone()),
            platform: PlatformStore::over(db.clone()),
            webhooks: WebhookStore::over(db.clone()),
            db,
        }
    }

    /// Returns the database that the handles share.
    pub fn database(&self) -> &Database {
        &self.db
    }
}
