//! Both ends of a call byte by byte: a client that says what it likes, and a server that a test plays itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Longer than anything that is waited for should take.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// One end of a connection.
pub struct Wire {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Wire {
    /// A connection to the server at this URL.
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

    /// Sends these bytes, or as many of them as the other end takes. Whether it took all.
    pub async fn try_say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Waits until this has been heard, and gives all up to its end.
    pub async fn hear(&mut self, end: &str) -> String {
        match self.try_hear(end).await {
            Some(said) => said,
            None => panic!("gone before {end:?}: {}", String::from_utf8_lossy(&self.heard)),
        }
    }

    /// The same; `None` if the other end hangs up before.
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

    /// A head: the first line and the header fields.
    pub async fn head(&mut self) -> String {
        self.hear("\r\n\r\n").await
    }

    /// All that is still said until the other end hangs up, in whatever way.
    pub async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.heard)).into_owned()
    }

    /// Waits for more; false if the other end has hung up.
    async fn more(&mut self) -> bool {
        let read = timeout(READ_TIMEOUT, self.stream.read_buf(&mut self.heard)).await;
        !matches!(read.expect("the other end says something or hangs up"), Ok(0) | Err(_))
    }
}

/// The values of a header field in a head.
pub fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

/// A server on this machine that a test plays itself.
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

    /// The next connection.
    pub async fn next(&mut self) -> Wire {
        let came = timeout(READ_TIMEOUT, self.calls.recv()).await.expect("somebody calls");
        Wire::over(came.expect("it accepts"))
    }

    /// How many have connected.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
