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

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;

pub use crate::store::Install as WaitingInstall;
pub use connect::account_mismatch::{Choice, DecideError, Decision};
pub use connect::authorization_status::{AccessToken, Attempt, ClaimError};
pub use connect::connect_sessions::{CompleteError, NewSession, NewlyMade, SessionError, SessionView};
pub use connect::finish::{Answer, FinishConnect, FinishError, Finished};
pub use connect::handoff::{Delivery, Ended, Message, Outcome};
pub use connect::start::{StartConnect, StartError, Started, flow_of_state};
pub use connections::access_token::{Access, AccessError};
pub use connections::disconnect::{Disconnected, Revoked};
pub use connections::import::{Import, ImportError, Imported};
pub use connections::lease::{Lease, LeaseWarning};
pub use connections::uninstall::Uninstalled;
pub use maintenance::readiness::Readiness;
pub use marketplace::install::{ClaimInstallError, ClaimedInstall, InstallError};
pub use marketplace::journal::{Look, Looked};
pub use platform::{
    ApiKeys, BrowserSessions, Connection, Connections, ENDS_AT, GivenAnswer, Idempotency, KeyCheckError,
    Notifier, Once, OnceError, OnceLease, Platform, Resealed, SessionValues, Subscription, Use, check_keys,
    reseal_all,
};
pub use webhooks::deliveries::Underway;
pub use webhooks::endpoints::WebhookError;

use crate::config::{Config, OnSessionExpiry, TokenDelivery};
use crate::domain::chance::Chance;
use crate::domain::clock::Clock;
use crate::domain::id::ConnectionId;
use crate::domain::origin::{AllowedOrigins, Origin};
use crate::domain::secret::Secret;
use crate::domain::token::{RefreshPolicy, Token};
use crate::hubspot::HubSpot;
use crate::keyring::{Context, Keyring, OpenError};
use crate::store::Store;
pub use crate::store::{AccessRow, EndpointChanges, Listed, ListedState, StoreError, Wanted};
use crate::telemetry::metrics::Metrics;
use crate::webhook::Webhooks;
use connections::access_token::Renewals;
use connections::circuit_breaker::Gate;
use marketplace::journal::Watch;
use platform::{Base, Changes, RowCache, Tasks};
use proxy::{Accounts, Forced};
use webhooks::deliveries::Outgoing;
use webhooks::events::CredentialsAlarm;

/// What the verbs need to know of the configuration.
#[derive(Debug, Clone)]
struct Rules {
    own_origin: Origin,
    host_origins: AllowedOrigins,
    token_delivery: TokenDelivery,
    flow_ttl: Duration,
    on_session_expiry: OnSessionExpiry,
    refresh: RefreshPolicy,
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
    gate: Gate,
    tasks: Tasks,
    notifier: Notifier,
    row_cache: RowCache,
    changes: Changes,
    /// What the other parts stand on.
    pub platform: Platform,
    /// Connections that this process is refreshing.
    busy: Mutex<HashSet<ConnectionId>>,
    /// Renewals that somebody waits for.
    renewals: Renewals,
    /// The way to the host's backend.
    webhooks: Webhooks,
    /// Deliveries that are under way.
    outgoing: Outgoing,
    /// Whether the refusal of our credentials is told.
    credentials: CredentialsAlarm,
    /// How reading the Webhooks Journal has gone lately.
    watch: Watch,
    /// How fast each HubSpot account may be asked.
    accounts: Accounts,
    /// Connections that were renewed because of a 401.
    forced: Forced,
    /// How many of these may ask HubSpot at once.
    slots: Semaphore,
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
            on_session_expiry: config.security.on_session_expiry,
            refresh: config.refresh.policy,
            claim_time: config.marketplace.claim_time,
        };
        let base = Base::new(store, hubspot, keyring, clock, chance, metrics);
        Self(Arc::new(Parts {
            platform: Platform::new(&base, config),
            changes: base.changes(),
            busy: Mutex::default(),
            renewals: Renewals::default(),
            webhooks: Webhooks::new(&config.webhooks, &config.proxies),
            outgoing: Outgoing::default(),
            credentials: CredentialsAlarm::default(),
            watch: Watch::default(),
            accounts: Accounts::new(config.hubspot.account_rate),
            forced: Forced::default(),
            slots: Semaphore::new(config.refresh.max_in_flight),
            stopping: AtomicBool::new(false),
            gate: Gate::default(),
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
            row_cache: base.row_cache,
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

impl Parts {
    fn open_access(&self, token: &Token) -> Result<Secret, OpenError> {
        self.keyring.open(&token.access, context(token, "access", &token.id.to_string()))
    }

    fn open_refresh(&self, token: &Token) -> Result<Secret, OpenError> {
        self.keyring.open(&token.refresh, context(token, "refresh", &token.id.to_string()))
    }
}

fn context<'a>(token: &'a Token, kind: &'static str, row: &'a str) -> Context<'a> {
    Context { kind, row, generation: token.generation, client_id: &token.client_id }
}
