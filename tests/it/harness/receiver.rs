//! A receiver of webhooks on this machine, which misbehaves on order and remembers what it heard.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What the receiver does with a message.
#[derive(Debug, Clone)]
pub enum Manner {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status and a header.
    With(u16, &'static str, String),
    /// Answers 200 after so long.
    Slow(Duration),
    /// Answers 200 with so many bytes.
    Huge(usize),
    /// Hangs up without an answer.
    HangUp,
}

/// A message as it was heard.
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

/// A receiver. It goes with this value.
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

    /// As WEBHOOK_ALLOWED_HOSTS has it.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The next messages are met like this, one after the other.
    pub fn next(&self, manners: impl IntoIterator<Item = Manner>) {
        self.state.lock().expect("memory").next.extend(manners);
    }

    /// All other messages are met like this.
    pub fn always(&self, manner: Manner) {
        self.state.lock().expect("memory").usual = Some(manner);
    }

    /// All that was heard so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.state.lock().expect("memory").heard.clone()
    }

    /// The types of all messages so far.
    pub fn kinds(&self) -> Vec<String> {
        self.heard().iter().map(Heard::kind).collect()
    }

    /// How often anybody has connected, with or without saying anything.
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
    // Whoever does not want to hear more hangs up.
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
