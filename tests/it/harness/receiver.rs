//! A receiver of webhooks on this machine, with scripted faults and a record of its messages.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// The receiver's response to a message.
#[derive(Debug, Clone)]
pub enum Manner {
    /// This status.
    Status(u16),
    /// This status and a header.
    With(u16, &'static str, String),
    /// 200 after a delay.
    Slow(Duration),
    /// 200 with this many bytes.
    Huge(usize),
    /// A close without a response.
    HangUp,
}

/// A received message.
#[derive(Debug, Clone)]
pub struct Heard {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().expect("a type").to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

#[derive(Debug, Default)]
struct State {
    heard: Vec<Heard>,
    next: VecDeque<Manner>,
    usual: Option<Manner>,
    connections: usize,
}

/// A receiver, stopped on drop.
pub struct Receiver {
    pub port: u16,
    state: Arc<Mutex<State>>,
    accepting: AbortHandle,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                shared.lock().expect("memory").connections += 1;
                tokio::spawn(serve(caller, Arc::clone(&shared)));
            }
        });
        Self { port, state, accepting: accepting.abort_handle() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Returns its host for WEBHOOK_ALLOWED_HOSTS.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sets the responses to the next messages, in order.
    pub fn next(&self, manners: impl IntoIterator<Item = Manner>) {
        self.state.lock().expect("memory").next.extend(manners);
    }

    /// Sets the response to all other messages.
    pub fn always(&self, manner: Manner) {
        self.state.lock().expect("memory").usual = Some(manner);
    }

    /// Returns all messages so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.state.lock().expect("memory").heard.clone()
    }

    /// Returns the types of all messages so far.
    pub fn kinds(&self) -> Vec<String> {
        self.heard().iter().map(Heard::kind).collect()
    }

    /// Returns the number of connections, with or without a request.
    pub fn connections(&self) -> usize {
        self.state.lock().expect("memory").connections
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut caller: TcpStream, state: Arc<Mutex<State>>) {
    let Some(heard) = hear(&mut caller).await else { return };
    let manner = {
        let mut state = state.lock().expect("memory");
        state.heard.push(heard);
        state.next.pop_front().or_else(|| state.usual.clone()).unwrap_or(Manner::Status(200))
    };
    let plain = |status: u16| format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 2\r\n\r\nok");
    let answer = match manner {
        Manner::Status(status) => plain(status),
        Manner::With(status, name, value) => {
            format!("HTTP/1.1 {status} Whatever\r\n{name}: {value}\r\ncontent-length: 2\r\n\r\nok")
        }
        Manner::Slow(pause) => {
            tokio::time::sleep(pause).await;
            plain(200)
        }
        Manner::Huge(size) => {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n{}", "x".repeat(size))
        }
        Manner::HangUp => return,
    };
    // The sender closes the connection when it has read enough.
    let _ = caller.write_all(answer.as_bytes()).await;
    let _ = caller.shutdown().await;
}

async fn hear(caller: &mut TcpStream) -> Option<Heard> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if caller.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < end + 4 + length {
        if caller.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Heard { path, headers, body: String::from_utf8(bytes[end + 4..].to_vec()).ok()? })
}
