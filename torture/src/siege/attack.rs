//! An attacker: a client address that keeps up a number of connections of one kind.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::{Failure, connect};

/// The time after which an attacker opens a closed connection again: long enough that the attack does not take the
/// processors that the service needs on this machine.
const PAUSE: Duration = Duration::from_secs(5);
/// Requests that are pipelined, without waiting for responses.
const AHEAD: usize = 64;

/// The way in which a connection is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Nothing is sent.
    Nothing,
    /// Half a request head is sent.
    HalfHead,
    /// A request and one byte of the next are sent.
    OneByteMore,
    /// A request is sent, then nothing.
    Idle,
    /// A chunked body that is refused and never ends.
    RefusedBody,
    /// Polls of an authorization request, many pipelined.
    PolledAhead,
    /// Long responses that are never read.
    Unread,
    /// Polls whose client resets the connection.
    AbandonedPoll,
}

/// The target of attacks.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address of the service.
    pub address: SocketAddr,
    /// Its host name.
    pub host: String,
    /// The verifier of an authorization request.
    pub verifier: String,
    /// The ETag of its status.
    pub tag: String,
}

/// The arguments of an attacker's process.
#[derive(Debug, Args)]
pub struct Orders {
    #[arg(long, value_enum, hide = true)]
    pub attack: Option<Kind>,
    #[arg(long, hide = true, default_value = "127.0.0.1")]
    source: Ipv4Addr,
    #[arg(long, hide = true, default_value = "127.0.0.1:0")]
    target: SocketAddr,
    #[arg(long, hide = true, default_value = "")]
    host: String,
    #[arg(long, hide = true, default_value = "")]
    verifier: String,
    #[arg(long, hide = true, default_value = "")]
    tag: String,
}

impl Kind {
    /// All kinds, in the order of the report.
    pub const ALL: [Self; 8] = [
        Self::Nothing,
        Self::HalfHead,
        Self::OneByteMore,
        Self::Idle,
        Self::RefusedBody,
        Self::PolledAhead,
        Self::Unread,
        Self::AbandonedPoll,
    ];

    /// Returns its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::HalfHead => "half-head",
            Self::OneByteMore => "one-byte-more",
            Self::Idle => "idle",
            Self::RefusedBody => "refused-body",
            Self::PolledAhead => "polled-ahead",
            Self::Unread => "unread",
            Self::AbandonedPoll => "abandoned-poll",
        }
    }

    /// Returns the bytes that are sent on each connection.
    fn text(self, orders: &Orders) -> String {
        let (host, verifier, tag) = (&orders.host, &orders.verifier, &orders.tag);
        let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
        let poll = "/api/hubspot/status?wait=25";
        match self {
            Self::Nothing => String::new(),
            Self::HalfHead => "GET /livez HTTP/1.1\r\nHo".to_owned(),
            Self::OneByteMore => get("/livez", "") + "G",
            Self::Idle => get("/livez", ""),
            Self::RefusedBody => format!(
                "POST /api/hubspot/connections/id/proxy/crm/v3/objects/contacts HTTP/1.1\r\nHost: {host}\r\n\
                 Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"a\":\r\n"
            ),
            Self::PolledAhead => {
                get(poll, &format!("Hubspot-Connect-Verifier: {verifier}\r\nIf-None-Match: {tag}\r\n"))
                    .repeat(AHEAD)
            }
            Self::Unread => get("/api/openapi.json", "").repeat(16),
            Self::AbandonedPoll => {
                get(poll, &format!("Hubspot-Connect-Verifier: {verifier}\r\nIf-None-Match: {tag}\r\n"))
            }
        }
    }
}

/// Attacks until standard input is closed, then keeps the open connections until the process ends.
pub async fn run(kind: Kind, orders: &Orders, connections: usize) -> Result<(), Failure> {
    let (silence, is_silent) = watch::channel(false);
    let text = kind.text(orders);
    let (source, target) = (orders.source, orders.target);
    for _ in 0..connections {
        tokio::spawn(hold(kind, text.clone(), source, target, is_silent.clone()));
    }
    tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await??;
    silence.send_replace(true);
    std::future::pending().await
}

/// Keeps one connection open, and opens it again when the service has closed it.
async fn hold(
    kind: Kind,
    text: String,
    source: Ipv4Addr,
    target: SocketAddr,
    mut is_silent: watch::Receiver<bool>,
) {
    loop {
        if let Ok(mut tcp) = connect(source, target).await
            && tcp.write_all(text.as_bytes()).await.is_ok()
        {
            if kind == Kind::AbandonedPoll {
                sleep(Duration::from_millis(100)).await;
                let _ = tcp.set_zero_linger();
                drop(tcp);
            } else {
                until_closed(kind, tcp).await;
            }
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = is_silent.wait_for(|is_silent| *is_silent) => return,
        }
    }
}

async fn until_closed(kind: Kind, mut tcp: TcpStream) {
    if kind == Kind::Unread {
        // Only a reset is noticed without reading.
        let _ = tcp.ready(Interest::ERROR).await;
        return;
    }
    let mut heard = [0; 1024];
    while matches!(tcp.read(&mut heard).await, Ok(1..)) {}
}
