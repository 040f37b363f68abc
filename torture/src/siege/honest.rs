//! The honest client: sends one request after the other on its own connections and records the response times.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::connect;

const PAUSE: Duration = Duration::from_millis(20);
/// A response that takes longer is a failure. The goal during an attack is a second, which the report shows; it is not
/// checked, because the attackers share the processors with the service.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const PATHS: [&str; 3] = ["/login", "/api/hubspot/status", "/livez"];

/// The figures of the honest client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub requests: u64,
    pub failures: u64,
    pub slowest: Duration,
}

/// A running honest client.
pub struct Honest {
    stop: watch::Sender<bool>,
    work: JoinHandle<Figures>,
}

impl Honest {
    pub fn begin(source: Ipv4Addr, target: SocketAddr) -> Self {
        let (stop, is_over) = watch::channel(false);
        let work = tokio::spawn(async move {
            let mut figures = Figures::default();
            while !*is_over.borrow() {
                let path = PATHS[usize::try_from(figures.requests).unwrap_or_default() % PATHS.len()];
                let began = Instant::now();
                let served = timeout(REQUEST_TIMEOUT, ask(source, target, path)).await;
                figures.requests += 1;
                figures.slowest = figures.slowest.max(began.elapsed());
                if !matches!(served, Ok(Ok(true))) {
                    figures.failures += 1;
                }
                sleep(PAUSE).await;
            }
            figures
        });
        Self { stop, work }
    }

    pub async fn end(&mut self) -> Figures {
        self.stop.send_replace(true);
        (&mut self.work).await.unwrap_or_default()
    }
}

async fn ask(source: Ipv4Addr, target: SocketAddr, path: &str) -> std::io::Result<bool> {
    let mut tcp = connect(source, target).await?;
    let port = target.port();
    let text = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    tcp.write_all(text.as_bytes()).await?;
    let mut heard = String::new();
    tcp.read_to_string(&mut heard).await?;
    Ok(heard.starts_with("HTTP/1.1 200"))
}
