//! Services: the verbs of the service, one file each.
//!
//! ```text
//!             start            callback            code exchanged
//!   (nothing) ─────▶ AuthRequest ─────▶ exchanging ─────▶ Token + TokenRefreshJob ◀──┐
//!                    awaiting_user          │                    │  refresh, again    │
//!                        │                  ▼                    │  and again ────────┘
//!                        └──▶ expired     failed                 ├──▶ needs_reauth   (HubSpot said twice: no more)
//!                                                                ├──▶ integrity_error (the row was tampered with)
//!                                                                └──▶ (nothing) + RevocationJob   (disconnect, logout)
//! ```
//!
//! A verb never sees a request or a response, and never holds a transaction while HubSpot is asked.

mod connect;
mod connections;
mod maintenance;
mod marketplace;
mod platform;
pub mod proxy;
mod webhooks;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use crate::store::Install as WaitingInstall;
pub use connect::account_mismatch::{Choice, DecideError, Decision};
pub use connect::authorization_status::{AccessToken, Attempt, ClaimError};
pub use connect::connect_sessions::{CompleteError, NewSession, NewlyMade, SessionError, SessionView};
pub use connect::finish::{Answer, FinishConnect, FinishError, Finished};
pub use connect::handoff::{Delivery, Ended, Message, Outcome};
pub use connect::start::{StartConnect, StartError, Started, flow_of_state};
pub use connections::{
    Access, AccessError, AccessTokens, AccountDetails, CircuitBreaker, ConnectionList, Connections,
    Disconnected, Disconnects, Import, ImportError, Imported, Imports, Lease, LeaseWarning, Refreshes,
    Revoked, Uninstalled, Uninstalls, Upkeep,
};
pub use maintenance::readiness::Readiness;
pub use marketplace::install::{ClaimInstallError, ClaimedInstall, InstallError};
pub use marketplace::journal::{Look, Looked};
pub use platform::{
    ApiKeys, BrowserSessions, Connection, ENDS_AT, GivenAnswer, Idempotency, KeyCheckError, Notifier, Once,
    OnceError, OnceLease, Platform, Resealed, SessionValues, Subscription, Use, check_keys, reseal_all,
};
pub use webhooks::deliveries::Underway;
pub use webhooks::endpoints::WebhookError;

use crate::config::{Config, TokenDelivery};
use crate::domain::chance::Chance;
use crate::domain::clock::Clock;
use crate::domain::origin::{AllowedOrigins, Origin};
use crate::hubspot::HubSpot;
use crate::keyring::Keyring;
use crate::store::Store;
pub use crate::store::{AccessRow, EndpointChanges, Listed, ListedState, StoreError, Wanted};
use crate::telemetry::metrics::Metrics;
use crate::webhook::Webhooks;
use marketplace::journal::Watch;
use platform::{Base, Changes, Tasks};
use proxy::{Accounts, Forced};
use webhooks::deliveries::Outgoing;

/// What the verbs need to know of the configuration.
#[derive(Debug, Clone)]
struct Rules {
    own_origin: Origin,
    host_origins: AllowedOrigins,
    token_delivery: TokenDelivery,
    flow_ttl: Duration,
    /// How long an install waits to be claimed.
    claim_time: Duration,
}

/// The verbs. Clones share everything.
#[derive(Debug, Clone)]
pub struct Services(Arc<Parts>);

/// What they are made of.
#[derive(Debug)]
pub struct Parts {
    store: Store,
    hubspot: Arc<HubSpot>,
    keyring: Arc<Keyring>,
    clock: Clock,
    chance: Chance,
    rules: Rules,
    metrics: Arc<Metrics>,
    /// Who this process is when it takes leases.
    owner: Arc<str>,
    tasks: Tasks,
    notifier: Notifier,
    changes: Changes,
    /// What the other parts stand on.
    pub platform: Platform,
    /// Connections.
    pub connections: Connections,
    /// The way to the host's backend.
    webhooks: Webhooks,
    /// Deliveries that are under way.
    outgoing: Outgoing,
    /// How reading the Webhooks Journal has gone lately.
    watch: Watch,
    /// How fast each HubSpot account may be asked.
    accounts: Accounts,
    /// Connections that were renewed because of a 401.
    forced: Forced,
    /// Whether the process is on its way out.
    stopping: AtomicBool,
}

impl Services {
    /// The verbs over these parts. To be called on the runtime that outlives the web workers.
    pub fn new(
        config: &Config,
        store: Store,
        hubspot: HubSpot,
        keyring: Keyring,
        clock: Clock,
        chance: Chance,
        metrics: Arc<Metrics>,
    ) -> Self {
        let rules = Rules {
            own_origin: config.server.origin(),
            host_origins: config.security.host_origins.clone(),
            token_delivery: config.security.token_delivery,
            flow_ttl: config.security.flow_ttl,
            claim_time: config.marketplace.claim_time,
        };
        let base = Base::new(store, hubspot, keyring, clock, chance, metrics);
        Self(Arc::new(Parts {
            platform: Platform::new(&base, config),
            connections: Connections::new(&base, config),
            changes: base.changes(),
            webhooks: Webhooks::new(&config.webhooks, &config.proxies),
            outgoing: Outgoing::default(),
            watch: Watch::default(),
            accounts: Accounts::new(config.hubspot.account_rate),
            forced: Forced::default(),
            stopping: AtomicBool::new(false),
            rules,
            store: base.store,
            hubspot: base.hubspot,
            keyring: base.keyring,
            owner: base.owner,
            clock: base.clock,
            chance: base.chance,
            metrics: base.metrics,
            tasks: base.tasks,
            notifier: base.notifier,
        }))
    }

    /// From here on the service says that it is not ready: nobody new is to be sent to it, and who waits for a change
    /// is answered.
    pub fn begin_stop(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
        self.0.notifier.wake_all();
    }

    /// Whether the process is on its way out.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::SeqCst)
    }

    /// Waits until no work is left that was begun and has to be finished.
    pub async fn drain(&self) {
        self.0.tasks.drain().await;
    }
}

/// Until every part stands by itself.
impl Deref for Services {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
