//! The HTTP server: actix-http on connections that are counted and watched.
//!
//! `HttpServer` of actix-web hands a connection over and never sees it again. This server is composed of the same
//! parts, with two more between the socket and actix-http: a limit on the connections of one client, and a watch that
//! bounds how long a connection may stay in any state.

mod answer;
mod boundary;
mod clients;
mod reaper;
mod stream;
mod watch;

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Request, Response};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_factory, fn_service,
    map_config,
};
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, Server, ServiceResponse};
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use actix_web::{Error, HttpMessage};
use ipnet::IpNet;
use rustix::process::{Resource, getrlimit};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use self::answer::{Answer, Exchange};
use self::clients::Clients;
use self::reaper::Reaper;
use self::stream::WatchedStream;
pub(super) use self::watch::Watch;
use crate::http::paths::is_streamed;
use crate::telemetry::metrics::Metrics;

/// The time that the head of the first request of a connection may take before it is answered with 408.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for which the system tries to deliver written data, even after the connection is closed.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of bytes that the system buffers for a client that does not read. By default it would grow to
/// megabytes.
const MAX_UNSENT: u32 = 64 * 1024;
/// The file descriptors that connections leave to everything else: calls to HubSpot and to webhooks, the database,
/// log files.
const RESERVED_FILES: usize = 256;

/// The number of connections that may wait to be accepted. The standard library asks for 128: a burst of connections
/// then makes the system drop a client's first packet, which the client repeats a second later.
pub const BACKLOG: i32 = 4096;

/// The limits of a server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The number of connections that may be open.
    pub connections: usize,
    /// The number of them that one client address may have.
    pub per_client: usize,
    /// The time that a connection may be kept open without a request, in seconds, unless the room is needed.
    pub keep_alive: u64,
    /// The addresses of trusted proxies, which are not limited as clients, because each stands for many.
    pub proxies: Vec<IpNet>,
    /// The number of worker threads.
    pub workers: NonZeroUsize,
    /// The time that open requests may take once the server stops, in seconds.
    pub drain: u64,
}

/// Serves an application on a listener. Once `stop` is cancelled, connections without a request are closed; the server
/// itself is stopped by its handle.
///
/// # Errors
/// If the listener cannot be used.
pub fn serve<F, I, S>(
    listener: TcpListener,
    limits: Limits,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    app: F,
) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<
            Request,
            Config = AppConfig,
            Response = ServiceResponse<BoxBody>,
            Error = Error,
            InitError = (),
        > + 'static,
{
    rustix::net::listen(&listener, BACKLOG)?;
    let per_worker = capacity(limits.connections).div_ceil(limits.workers.get());
    let clients = Clients::new(capacity(limits.connections), limits.per_client, limits.proxies);
    let server = Server::build()
        .workers(limits.workers.get())
        .max_concurrent_connections(per_worker)
        .shutdown_timeout(limits.drain)
        .disable_signals();
    let server = server.listen("http", listener, move || {
        let app = app().into_factory().map_err(|why: Error| Response::from(why.error_response()));
        let app = map_config(app, |()| AppConfig::default());
        let watched = apply_fn_factory(app, |request: Request, app: &_| {
            let watch = request.conn_data::<Rc<Watch>>().cloned().unwrap_or_default();
            let exchange =
                Exchange::begin(watch, is_streamed(request.path()), body_length(request.headers()));
            let answer = Service::call(app, request);
            async move { Ok(Response::from(answer.await?).map_body(|_, body| Answer::new(body, exchange))) }
        });
        let http = HttpService::build()
            .client_request_timeout(HEAD_TIMEOUT)
            .keep_alive(Duration::from_secs(limits.keep_alive))
            // A proxied call ends when its caller hangs up, and so do reads (`envelope`).
            .h1_allow_half_closed(false)
            .on_connect_ext(|stream: &WatchedStream, data| {
                data.insert(Rc::clone(&stream.watch));
            })
            .h1(watched);
        let (clients, metrics, stop) = (Arc::clone(&clients), Arc::clone(&metrics), stop.clone());
        // Runs once in the thread of each worker.
        fn_factory(move || {
            let http = http.new_service(());
            let (clients, metrics, stop) = (Arc::clone(&clients), Arc::clone(&metrics), stop.clone());
            async move {
                let reaper = Rc::new(Reaper::default());
                actix_web::rt::spawn(Rc::clone(&reaper).run(stop));
                let keep_alive = limits.keep_alive;
                let worker = Rc::new(Worker { http: http.await?, clients, keep_alive, metrics, reaper });
                Ok::<_, ()>(fn_service(move |tcp: TcpStream| Rc::clone(&worker).serve(tcp)))
            }
        })
    })?;
    Ok(server.run())
}

/// Returns the wanted number of connections, or as many as the limit on open files allows.
fn capacity(wanted: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
    files.map_or(wanted, |files| wanted.min(files.saturating_sub(RESERVED_FILES).max(files / 2)))
}

/// The state that the connections of one thread share.
struct Worker<H> {
    http: H,
    clients: Arc<Clients>,
    keep_alive: u64,
    metrics: Arc<Metrics>,
    reaper: Rc<Reaper>,
}

impl<H> Worker<H>
where
    H: Service<(WatchedStream, Option<SocketAddr>), Response = (), Error = DispatchError>,
{
    /// Serves one connection to its end.
    async fn serve(self: Rc<Self>, tcp: TcpStream) -> Result<(), ()> {
        // A client that has disconnected already has no address any more.
        let Ok(peer) = tcp.peer_addr() else { return Ok(()) };
        let Some(slot) = self.clients.admit(peer.ip()) else {
            self.metrics.http.closed("client_limit");
            let _ = tcp.set_zero_linger();
            return Ok(());
        };
        let socket = SockRef::from(&tcp);
        let _ = socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
        let _ = socket.set_tcp_notsent_lowat(MAX_UNSENT);
        // A response may take several writes, none of which should wait until the one before is acknowledged.
        let _ = tcp.set_nodelay(true);
        let _open = self.metrics.http.opened();
        let watched = self.reaper.watch(self.keep_alive, slot);
        let watch = Rc::clone(&watched.watch);
        let mut http = pin!(self.http.call((WatchedStream::new(tcp, watch), Some(peer))));
        let end = poll_fn(|context| match watched.watch.closed(context.waker()) {
            Some(why) => Poll::Ready(Err(why)),
            None => http.as_mut().poll(context).map(Ok),
        });
        match end.await {
            Err(why) => self.metrics.http.closed(why),
            Ok(Err(why)) => self.failed(peer, &why),
            Ok(Ok(())) => {}
        }
        Ok(())
    }

    /// Counts and logs a failed connection. Malformed requests are counted, not logged at the default level:
    /// otherwise any client could fill the log.
    fn failed(&self, peer: SocketAddr, why: &DispatchError) {
        match why {
            DispatchError::Parse(_) => {
                self.metrics.http.malformed.inc();
            }
            DispatchError::Body(why) => {
                tracing::warn!(error = %why, "response body failed");
                return;
            }
            _ => {}
        }
        tracing::debug!(%peer, error = %why, "connection failed");
    }
}

/// Returns the length of the body of a request with these headers; `None` if it is chunked.
pub(super) fn body_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    headers.get(CONTENT_LENGTH).map_or(Some(0), |length| length.to_str().ok()?.parse().ok())
}
