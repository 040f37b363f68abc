//! A small HTTP proxy on this machine that records its requests: plain http requests are forwarded, and `CONNECT` opens
//! a tunnel (RFC 9110 section 9.3.6). Names that end in `.test` resolve to this machine.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A proxy, stopped on drop.
pub struct HttpProxy {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    accepting: AbortHandle,
}

impl HttpProxy {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&heard);
        let accepting = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(serve(caller, Arc::clone(&shared)));
            }
        });
        Self { port, heard, accepting: accepting.abort_handle() }
    }

    /// Returns its URL for variables, with credentials.
    pub fn url(&self) -> String {
        format!("http://user:hunter2@127.0.0.1:{}", self.port)
    }

    /// Returns its URL without credentials.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the heads of all requests so far.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("heads").clone()
    }

    /// Counts the requests with this prefix.
    pub fn count(&self, beginning: &str) -> usize {
        self.heard().iter().filter(|head| head.starts_with(beginning)).count()
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut caller: TcpStream, heard: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if caller.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    heard.lock().expect("heads").push(head.clone());
    let (line, fields) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (authority, path) = match method {
        "CONNECT" => (target, None),
        _ => {
            let rest = target.strip_prefix("http://")?;
            let slash = rest.find('/').unwrap_or(rest.len());
            (&rest[..slash], Some(&rest[slash..]))
        }
    };
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let host = if host.ends_with(".test") { "127.0.0.1" } else { host };
    let Ok(mut server) = TcpStream::connect((host, port.parse::<u16>().ok()?)).await else {
        let _ = caller.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
        return None;
    };
    match path {
        None => caller.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?,
        Some(path) => {
            // One request per connection, so that each of them is recorded.
            let head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n{fields}");
            server.write_all(head.as_bytes()).await.ok()?;
        }
    }
    server.write_all(&bytes[end..]).await.ok()?;
    let _ = copy_bidirectional(&mut caller, &mut server).await;
    Some(())
}
