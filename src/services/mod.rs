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
pub use marketplace::{
    ClaimInstallError, ClaimedInstall, InstallError, Installs, Journal, Look, Looked, Marketplace,
};
pub use platform::{
    ApiKeys, BrowserSessions, Connection, ENDS_AT, GivenAnswer, Idempotency, KeyCheckError, Notifier, Once,
    OnceError, OnceLease, Platform, Resealed, SessionValues, Subscription, Use, check_keys, reseal_all,
};

pub use proxy::Proxy;
pub use webhooks::{Deliveries, Endpoints, Underway, WebhookError, Webhooks};

use crate::config::{Config, TokenDelivery};
use crate::domain::chance::Chance;
use crate::domain::clock::Clock;
use crate::domain::origin::{AllowedOrigins, Origin};
use crate::hubspot::HubSpot;
use crate::keyring::Keyring;
use crate::store::Store;
pub use crate::store::{AccessRow, EndpointChanges, Listed, ListedState, StoreError, Wanted};
use crate::telemetry::metrics::Metrics;
use platform::{Base, Tasks};

/// What the verbs need to know of the configuration.
#[derive(Debug, Clone)]
struct Rules {
    own_origin: Origin,
    host_origins: AllowedOrigins,
    token_delivery: TokenDelivery,
    flow_ttl: Duration,
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
    tasks: Tasks,
    notifier: Notifier,
    /// What the other parts stand on.
    pub platform: Platform,
    /// Connections.
    pub connections: Connections,
    /// What begins at HubSpot.
    pub marketplace: Marketplace,
    /// Webhooks to the host's backend.
    pub webhooks: Webhooks,
    /// Calls passed on to HubSpot.
    pub proxy: Proxy,
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
        };
        let base = Base::new(store, hubspot, keyring, clock, chance, metrics);
        let connections = Connections::new(&base, config);
        Self(Arc::new(Parts {
            platform: Platform::new(&base, config),
            marketplace: Marketplace::new(&base, config, &connections.intake),
            webhooks: Webhooks::new(&base, config),
            proxy: Proxy::new(&base, &connections.access_tokens, config.hubspot.account_rate),
            connections,
            stopping: AtomicBool::new(false),
            rules,
            store: base.store,
            hubspot: base.hubspot,
            keyring: base.keyring,
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
