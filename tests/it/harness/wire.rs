//! Both ends of a call byte by byte: a client that sends raw bytes, and a server that the test plays.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// The limit of every wait.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// One end of a connection.
pub struct Wire {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Wire {
    /// Connects to the server at this URL.
    pub async fn to(base: &str) -> Self {
        let address = base.trim_start_matches("http://").replace("localhost", "127.0.0.1");
        Self::over(TcpStream::connect(address).await.expect("a server"))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an open connection");
        Self { stream, heard: Vec::new() }
    }

    /// Sends these bytes.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the other end reads");
    }

    /// Sends these bytes, or as many as the other end accepts. Returns whether it accepted all.
    pub async fn try_say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Waits for this text, and returns everything up to its end.
    pub async fn hear(&mut self, end: &str) -> String {
        match self.try_hear(end).await {
            Some(said) => said,
            None => panic!("gone before {end:?}: {}", String::from_utf8_lossy(&self.heard)),
        }
    }

    /// Does the same; `None` if the other end closes before.
    pub async fn try_hear(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.heard.windows(end.len()).position(|bytes| bytes == end.as_bytes()) {
                let said = self.heard.drain(..at + end.len()).collect();
                return Some(String::from_utf8(said).expect("text"));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads a head: the first line and the header fields.
    pub async fn head(&mut self) -> String {
        self.hear("\r\n\r\n").await
    }

    /// Reads until the other end closes or resets.
    pub async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.heard)).into_owned()
    }

    /// Waits for more; returns false if the other end has closed.
    async fn more(&mut self) -> bool {
        let read = timeout(READ_TIMEOUT, self.stream.read_buf(&mut self.heard)).await;
        !matches!(read.expect("the other end says something or hangs up"), Ok(0) | Err(_))
    }
}

/// Returns the values of a header field in a head.
pub fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

/// A server on this machine that the test plays.
pub struct Upstream {
    pub url: String,
    calls: mpsc::UnboundedReceiver<TcpStream>,
    count: Arc<AtomicUsize>,
    accepting: AbortHandle,
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let (came, calls) = mpsc::unbounded_channel();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = came.send(stream);
            }
        });
        Self { url: format!("http://{address}"), calls, count, accepting: accepting.abort_handle() }
    }

    /// Accepts the next connection.
    pub async fn next(&mut self) -> Wire {
        let came = timeout(READ_TIMEOUT, self.calls.recv()).await.expect("a call");
        Wire::over(came.expect("it accepts"))
    }

    /// Returns the number of connections.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
