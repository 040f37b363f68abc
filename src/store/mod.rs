//! The store: rows, transactions, and the differences between SQLite and PostgreSQL.
//!
//! The SQL is the same on both; `db` knows how to reach each of them. The store contains ciphertext and hashes, never
//! plaintext.

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
pub use db::{Backlog, Database, IntegrityCheck, OpenError, SchemaStatus, StoreError};
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

/// The stores of the sub-domains, on one database.
#[derive(Debug, Clone)]
pub struct Store {
    /// The rows of flows.
    pub connect: ConnectStore,
    /// The rows of connections.
    pub connections: ConnectionStore,
    /// The rows of Marketplace installs and of the Webhooks Journal.
    pub marketplace: MarketplaceStore,
    /// The rows that all sub-domains share.
    pub platform: PlatformStore,
    /// The rows of events and webhook endpoints.
    pub webhooks: WebhookStore,
    db: Database,
}

impl Store {
    /// Builds the stores on this database.
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

    /// Returns the database that the stores share.
    pub fn database(&self) -> &Database {
        &self.db
    }
}
