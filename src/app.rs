//! Assembly: turns a [`Config`] into a wired service. The only module that knows all the others.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix_web::App as ActixApp;
use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::{Data, FormConfig, PayloadConfig};
use socket2::{Domain, Socket, Type};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::random::Random;
use crate::egress::{self, EgressError};
use crate::http::{BACKLOG, Limits, Templates, Web, admin_routes, envelope, serve};
use crate::hubspot::{HubSpot, HubSpotError};
use crate::jobs::Jobs;
use crate::keyring::{KeyError, Keyring};
use crate::services::{KeyCheckError, Services, check_keys};
use crate::store::{Database, OpenError, Store, StoreError};
use crate::telemetry::metrics::Metrics;

const MAX_BODY: usize = 16 * 1024;
/// The connection limits of the admin listener, in total and per address: enough for a handful of scrapers and probes.
const ADMIN_CONNECTIONS: (usize, usize) = (64, 16);
/// The time that open requests have to finish after the stop signal, in seconds.
const DRAIN_SECONDS: u64 = 30;

/// The reason the service cannot start.
#[derive(Debug, Error)]
pub enum StartupError {
    /// The clock is wrong: with it, every token would look valid for years.
    #[error("the system clock is at {0}, before the date of this release; set the clock of this machine")]
    Clock(String),
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// A query failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key in the configuration is invalid.
    #[error("ENCRYPTION_KEYS {0}")]
    Key(#[from] KeyError),
    /// The keys do not match the stored data.
    #[error(transparent)]
    Keys(#[from] KeyCheckError),
    /// The HTTPS client cannot be built.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// The HubSpot client cannot be built.
    #[error(transparent)]
    HubSpot(#[from] HubSpotError),
    /// A page does not compile.
    #[error("a page does not compile: {0}")]
    Templates(String),
    /// The address is in use, or the process may not listen on it.
    #[error("cannot listen on {address}: {why}; set {variable} to a free address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's error.
        why: std::io::Error,
        /// The variable that sets the address.
        variable: &'static str,
    },
}

/// The earliest time that the clock may show, 2026-01-01: no release is older.
const EARLIEST_PLAUSIBLE_TIME: Timestamp = Timestamp::from_unix_ms(1_767_225_600_000);

/// The service, listening but not yet serving.
pub struct App {
    server: Server,
    admin: Option<Server>,
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    /// Cancelled when the listeners must close their idle connections.
    closing: CancellationToken,
    services: Services,
    jobs: Jobs,
    store: Store,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Builds the services that the configuration describes and opens their database, after checking keys and schema. On
/// SQLite, only one process can hold the database at a time.
///
/// # Errors
/// [`StartupError`] says what is wrong and, where it can, what to do.
pub async fn build_services(
    config: &Config,
    clock: Clock,
    random: Random,
    metrics: Arc<Metrics>,
) -> Result<(Services, Store), StartupError> {
    if clock.now() < EARLIEST_PLAUSIBLE_TIME {
        return Err(StartupError::Clock(clock.now().rfc3339()));
    }
    let keyring = Keyring::new(&config.security.encryption_keys, &config.security.app_secret)?;
    let client = egress::client(&config.proxies)?;
    let hubspot = HubSpot::new(&config.hubspot, client, &config.proxies, clock.clone())?;
    let store = Store::over(Database::open(&config.database, clock.clone()).await?);
    check_keys(&store.platform, &keyring, &clock).await?;
    let services = Services::new(config, store.clone(), hubspot, keyring, clock, random, metrics);
    Ok((services, store))
}

impl App {
    /// Wires the service, checks keys and schema, and binds its addresses.
    ///
    /// # Errors
    /// [`StartupError`] says what is wrong and, where it can, what to do.
    pub async fn build(config: Config, clock: Clock, random: Random) -> Result<Self, StartupError> {
        let metrics = Arc::new(Metrics::default());
        let (services, store) = build_services(&config, clock, random.clone(), Arc::clone(&metrics)).await?;
        services.connections.upkeep.begin().await?;
        let templates = Templates::new().map_err(|why| StartupError::Templates(why.to_string()))?;
        let jobs = Jobs::new(services.clone(), &config.refresh, random);
        let web = Web::new(&config, services.clone(), Arc::clone(&metrics), templates);
        let closing = CancellationToken::new();
        let listeners = Listeners { web, metrics, closing: closing.clone() };
        let (server, address) = listeners.public(&config.server)?;
        let admin =
            config.server.admin_addr.map(|address| listeners.admin(&config.server, address)).transpose()?;
        let (admin, admin_address) = admin.unzip();
        Ok(Self { server, admin, address, admin_address, closing, services, jobs, store })
    }

    /// Returns the bound address, for configurations that ask for any free port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the bound address of the admin listener.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Returns the services, for tests that run background work themselves.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Returns the database, for tests that inspect it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Serves until `stop` is cancelled. Runs the background jobs too, unless `web_only`.
    ///
    /// # Errors
    /// If a listener fails.
    pub async fn run(self, stop: CancellationToken, web_only: bool) -> std::io::Result<()> {
        let handle = self.server.handle();
        let admin_handle = self.admin.as_ref().map(Server::handle);
        let serving = tokio::spawn(self.server);
        let admin = self.admin.map(tokio::spawn);
        let jobs = (!web_only).then(|| tokio::spawn(self.jobs.run(stop.clone())));
        let (replicas, stop_signal) = (self.services.platform.replicas.clone(), stop.clone());
        tokio::spawn(async move { replicas.watch_others(stop_signal).await });
        stop.cancelled().await;
        // First no new connections are accepted, then open work is finished. The web workers own the database
        // connections that were opened on them, so they stop last.
        self.services.begin_stop();
        handle.pause().await;
        self.closing.cancel();
        if let Some(jobs) = jobs {
            let _ = jobs.await;
        }
        let _ = tokio::time::timeout(Duration::from_secs(DRAIN_SECONDS), self.services.drain()).await;
        handle.stop(true).await;
        self.services.drain().await;
        if let Some(handle) = admin_handle {
            handle.stop(true).await;
        }
        self.store.database().close().await;
        let _ = serving.await;
        if let Some(admin) = admin {
            let _ = admin.await;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// The parts that both listeners share.
struct Listeners {
    web: Data<Web>,
    metrics: Arc<Metrics>,
    closing: CancellationToken,
}

impl Listeners {
    fn public(&self, settings: &config::Server) -> Result<(Server, SocketAddr), StartupError> {
        let limits = Limits {
            connections: settings.max_connections,
            per_client: settings.max_connections_per_client,
            keep_alive: settings.keep_alive,
            proxies: settings.trusted_proxies.clone(),
            workers: available_parallelism().unwrap_or(NonZeroUsize::MIN),
            drain: DRAIN_SECONDS,
        };
        let (web, variable) = (self.web.clone(), "SERVER_ADDR");
        let (listener, address) = bind(settings.addr, variable)?;
        let server = serve(listener, limits, Arc::clone(&self.metrics), self.closing.clone(), move || {
            ActixApp::new()
                .app_data(FormConfig::default().limit(MAX_BODY))
                .app_data(PayloadConfig::default().limit(MAX_BODY))
                .configure(|routes| Web::routes(&web, routes))
                .wrap(from_fn(envelope))
        });
        Ok((server.map_err(|why| StartupError::Listen { address, why, variable })?, address))
    }

    fn admin(
        &self,
        settings: &config::Server,
        address: SocketAddr,
    ) -> Result<(Server, SocketAddr), StartupError> {
        let (connections, per_client) = ADMIN_CONNECTIONS;
        let limits = Limits {
            connections,
            per_client,
            keep_alive: settings.keep_alive,
            proxies: Vec::new(),
            workers: NonZeroUsize::MIN,
            drain: 1,
        };
        let (web, variable) = (self.web.clone(), "ADMIN_ADDR");
        let (listener, address) = bind(address, variable)?;
        let server = serve(listener, limits, Arc::clone(&self.metrics), self.closing.clone(), move || {
            ActixApp::new().configure(|routes| admin_routes(&web, routes))
        });
        Ok((server.map_err(|why| StartupError::Listen { address, why, variable })?, address))
    }
}

fn bind(address: SocketAddr, variable: &'static str) -> Result<(TcpListener, SocketAddr), StartupError> {
    let refused = |why| StartupError::Listen { address, why, variable };
    let listener = match address.ip() == Ipv6Addr::UNSPECIFIED {
        // Without IPv6, the IPv4 wildcard address already covers all addresses.
        true => listen_on_all(address).or_else(|why| match why.kind() {
            ErrorKind::AddrInUse | ErrorKind::PermissionDenied => Err(why),
            _ => TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())),
        }),
        false => TcpListener::bind(address),
    };
    let listener = listener.map_err(refused)?;
    let taken = listener.local_addr().map_err(refused)?;
    Ok((listener, taken))
}

/// Listens on an IPv6 address and accepts IPv4 connections too, whatever the system's default is.
fn listen_on_all(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn all_addresses_cover_ipv4_and_ipv6() {
        let (_listener, address) = bind((Ipv6Addr::UNSPECIFIED, 0).into(), "PORT").expect("a free port");
        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).expect("IPv4");
        if address.is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, address.port())).expect("IPv6");
        }
    }
}
