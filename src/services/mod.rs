//! The services: the operations of the service, by sub-domain.
//!
//! ```text
//!             start            callback            code exchanged
//!   (nothing) ─────▶ AuthRequest ─────▶ exchanging ─────▶ Token + TokenRefreshJob ◀──┐
//!                    awaiting_user          │                    │  refresh, again    │
//!                        │                  ▼                    │  and again ────────┘
//!                        └──▶ expired     failed                 ├──▶ needs_reauth   (HubSpot returned invalid_grant twice)
//!                                                                ├──▶ integrity_error (the row was tampered with)
//!                                                                └──▶ (nothing) + RevocationJob   (disconnect, logout)
//! ```
//!
//! A service never sees a request or a response, and never holds a transaction during a call to HubSpot. Each
//! sub-domain imports only those below it:
//!
//! ```text
//!   maintenance
//!   connect, marketplace ──▶ pending_grants ──▶ connections ──▶ platform
//!                                       proxy ──┘  webhooks ──┘
//! ```

mod connect;
mod connections;
mod maintenance;
mod marketplace;
mod pending_grants;
mod platform;
pub(crate) mod proxy;
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use connect::{
    AccountChoice, Answer, AuthRequestView, CompleteError, Connect, DecideError, FinishConnect, FinishError,
    Finished, FlowOutcome, HandoffResult, Message, NewSession, Outcome, PickupCodeError, SessionError,
    SessionView, Started,
};
pub use connect::{StartConnect, StartError, flow_of_state};
pub use connections::{Access, AccessError};
pub(crate) use connections::{
    BackendToken, Connections, Disconnected, Import, ImportError, Imported, Reader, TokenWarning,
};
pub(crate) use maintenance::Maintenance;
pub(crate) use marketplace::{ClaimInstallError, InstallError, Marketplace};
pub use marketplace::{JournalPoll, PollOutcome};
pub(crate) use pending_grants::Decision;
pub(crate) use platform::{
    BrowserSessions, Connection, ENDS_AT, Platform, Resealed, Subscription, Use, check_keys,
};
pub use platform::{GivenAnswer, KeyCheckError, Once, OnceError, reseal_all};
pub(crate) use proxy::Proxy;
pub(crate) use webhooks::{Unreadable, WebhookError, Webhooks};

use crate::config::Config;
use crate::domain::clock::Clock;
use crate::domain::random::Random;
use crate::hubspot::HubSpot;
use crate::keyring::Keyring;
pub use crate::store::OnceLease;
use crate::store::Store;
pub(crate) use crate::store::{
    ApiKey, ConnectSessionFilter, ConnectionFilter, DeliveryFilter, Endpoint, EndpointChanges, Event,
    EventFilter, ListedConnection, PendingGrant, StoreError, WebhookDelivery,
};
use crate::telemetry::metrics::Metrics;
use pending_grants::PendingGrants;
use platform::{Base, Changes, Notifier, RowCache, Tasks};

/// The services. Clones share everything.
#[derive(Debug, Clone)]
pub struct Services {
    /// The authorization flow.
    pub connect: Connect,
    /// Connections.
    pub connections: Connections,
    /// Installs that start at HubSpot.
    pub marketplace: Marketplace,
    /// Webhooks to the host's backend.
    pub webhooks: Webhooks,
    /// API calls forwarded to HubSpot.
    pub(crate) proxy: Proxy,
    /// The parts that the other sub-domains build on.
    pub platform: Platform,
    /// The work of each process for itself.
    pub maintenance: Maintenance,
    tasks: Tasks,
    /// Whether the process is stopping.
    stopping: Arc<AtomicBool>,
}

impl Services {
    /// Returns the services over these parts. It must be called on the runtime that outlives the web workers.
    pub(crate) fn new(
        config: &Config,
        store: Store,
        hubspot: HubSpot,
        keyring: Keyring,
        clock: Clock,
        random: Random,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (row_cache, notifier) = (RowCache::new(store.database().is_exclusive()), Notifier::default());
        let base = Base {
            store,
            hubspot: Arc::new(hubspot),
            keyring: Arc::new(keyring),
            clock,
            metrics,
            owner: random.uuid().to_string().into(),
            random,
            tasks: Tasks::on_this_runtime(),
            changes: Changes::new(row_cache.clone(), notifier.clone()),
            notifier,
            row_cache,
        };
        let stopping = Arc::default();
        let connections = Connections::new(&base, config);
        let pending_grants = PendingGrants::new(&base, &connections);
        let connect = Connect::new(&base, config, &connections, &pending_grants);
        let marketplace = Marketplace::new(&base, config, &connections.intake, &pending_grants);
        let webhooks = Webhooks::new(&base, config);
        let maintenance = Maintenance::new(&base, config, pending_grants, &connections, &webhooks, &stopping);
        Self {
            proxy: Proxy::new(&base, &connections.access_tokens, config.hubspot.account_rate),
            platform: Platform::new(&base, config),
            connect,
            connections,
            marketplace,
            webhooks,
            maintenance,
            tasks: base.tasks,
            stopping,
        }
    }

    /// Makes the readiness check fail from now on, so that no new requests are routed here, and ends all waits for a
    /// change.
    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.platform.notifier.wake_all();
    }

    /// Returns whether the process is stopping.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits until all work that was started and must be finished is done.
    pub async fn drain(&self) {
        self.tasks.drain().await;
    }
}
