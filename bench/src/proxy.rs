//! The proxy: what it adds to a direct call to HubSpot, in CPU time and until the first byte.
//!
//! HubSpot is a server in this process that always answers the same. A direct call is made by a bare reqwest client in
//! this process as well, and its CPU time is that client's and the server's together; the proxy's figures contain
//! nothing of the server, because they are those of the service's process.
#![expect(clippy::print_stdout, reason = "the figures go to standard output")]
#![expect(clippy::disallowed_methods, reason = "the bare client is the baseline of the proxy")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use test_support::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http::Connection;
use crate::load::flow;
use crate::process::Process;
use crate::servers::{HubSpot, Service, program};
use crate::{Arguments, Failure};

/// The goal for the CPU time that the proxy adds to a call.
const GOAL_MS: f64 = 0.15;
/// The number of streamed responses that are timed.
const STREAMS: usize = 300;

const PLAIN: &str = "/crm/v3/objects/contacts";
const STREAM: &str = "/crm/v3/objects/stream";

/// Measures and prints the figures.
pub async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(".")?;
    let upstream = upstream().await?;
    let backend = Backend::start(folder.path(), &format!("http://127.0.0.1:{upstream}")).await?;
    let time = Duration::from_secs(arguments.seconds);
    let direct = direct_calls(upstream, time).await?;
    let proxied = backend.calls(arguments.connections, time).await?;
    let [bare, through] = [first_byte(upstream, STREAM, "").await?, backend.first_byte().await?];
    println!(
        "direct call by a bare reqwest client: {direct:.4} ms CPU (the client and the answering server)"
    );
    println!(
        "proxied call: {proxied:.4} ms CPU of the service, {:.2} x a direct call; the proxy adds {proxied:.4} ms (goal {GOAL_MS}, {})",
        proxied / direct,
        if proxied <= GOAL_MS { "met" } else { "MISSED" }
    );
    println!(
        "first byte of a streamed response, median of {STREAMS}: direct {:.3} ms, proxied {:.3} ms, {:.2} x",
        ms(bare),
        ms(through),
        ms(through) / ms(bare)
    );
    Ok(())
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

/// The service in front of the upstream, with a connection and a key.
struct Backend {
    service: Process,
    headers: String,
    /// The path of the proxy, before HubSpot's own paths.
    proxy: String,
}

impl Backend {
    async fn start(folder: &Path, upstream: &str) -> Result<Self, Failure> {
        let hubspot = HubSpot::start(Duration::ZERO)?;
        let database = format!("sqlite://{}?mode=rwc", folder.join("proxy.db").display());
        let port = free_port();
        let mut command = Service::command(&hubspot, &database, port)?;
        let first = Process::start(&command, 0, port)?;
        first.wait()?;
        let mut person = Connection::open(port).await?;
        let cookies = flow(&mut person, &mut None, "").await?;
        let status = person.get("/api/hubspot/status", &cookies).await?;
        let status: serde_json::Value = serde_json::from_slice(&status.body)?;
        let connection = status["connections"][0]["id"].as_str().ok_or("no connection")?.to_owned();
        drop(first);
        let mut create = Command::new(program("hubspot-connect")?);
        create.args(["api-keys", "create", "bench", "--scope", "proxy"]).stderr(Stdio::null());
        create.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let key = String::from_utf8(create.output()?.stdout)?;
        // From here on HubSpot is the server that always answers the same.
        command.env("HUBSPOT_API_URL", upstream);
        command.env("HUBSPOT_ACCOUNT_RATE", "1000000/1").env("RATE_LIMIT_API_PER_MINUTE", "0");
        let service = Process::start(&command, 0, port)?;
        service.wait()?;
        let headers = format!("authorization: Bearer {}\r\n", key.trim());
        Ok(Self { service, headers, proxy: format!("/api/hubspot/connections/{connection}/proxy") })
    }

    /// Returns the CPU milliseconds of the service per call.
    async fn calls(&self, connections: usize, time: Duration) -> Result<f64, Failure> {
        // A first round opens connections and warms caches; it is not counted.
        self.round(connections, time / 5).await?;
        let before = self.service.cpu()?;
        let calls = self.round(connections, time).await?;
        Ok(ms(self.service.cpu()? - before) / calls as f64)
    }

    async fn round(&self, connections: usize, time: Duration) -> Result<u64, Failure> {
        let deadline = Instant::now() + time;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..connections {
            let (port, headers) = (self.service.port, self.headers.clone());
            let path = format!("{}{PLAIN}", self.proxy);
            tasks.spawn(async move {
                call_until(port, &path, &headers, deadline).await.map_err(|why| why.to_string())
            });
        }
        let mut calls = 0;
        while let Some(done) = tasks.join_next().await {
            calls += done??;
        }
        Ok(calls)
    }

    async fn first_byte(&self) -> Result<Duration, Failure> {
        first_byte(self.service.port, &format!("{}{STREAM}", self.proxy), &self.headers).await
    }
}

async fn call_until(port: u16, path: &str, headers: &str, deadline: Instant) -> Result<u64, Failure> {
    let mut connection = Connection::open(port).await?;
    let mut calls = 0;
    while Instant::now() < deadline {
        let answer = connection.send("GET", path, headers, "").await?;
        if answer.status != 200 || answer.headers("hubspot-connect-origin").next().is_none() {
            return Err(format!("{} {}", answer.head, String::from_utf8_lossy(&answer.body)).into());
        }
        calls += 1;
    }
    Ok(calls)
}

/// Returns the CPU milliseconds of this process per direct call: the client's, and the server's that answers it.
async fn direct_calls(port: u16, time: Duration) -> Result<f64, Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("http://127.0.0.1:{port}{PLAIN}");
    let me = std::process::id();
    let (mut calls, before, deadline) = (0_u32, crate::process::cpu_of(me)?, Instant::now() + time);
    while Instant::now() < deadline {
        let answer = client.get(&url).header("authorization", "Bearer x").send().await?;
        answer.bytes().await?;
        calls += 1;
    }
    Ok(ms(crate::process::cpu_of(me)? - before) / f64::from(calls))
}

/// Returns the median time from the request to the first byte of the body of a response whose rest comes later.
async fn first_byte(port: u16, path: &str, headers: &str) -> Result<Duration, Failure> {
    let mut spans = Vec::with_capacity(STREAMS);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost:{port}\r\n{headers}\r\n");
    for _ in 0..STREAMS {
        let (began, mut heard) = (Instant::now(), Vec::new());
        stream.write_all(request.as_bytes()).await?;
        while !contains(&heard, b"first") {
            more(&mut stream, &mut heard).await?;
        }
        spans.push(began.elapsed());
        while !contains(&heard, b"0\r\n\r\n") {
            more(&mut stream, &mut heard).await?;
        }
    }
    spans.sort_unstable();
    Ok(spans[STREAMS / 2])
}

fn contains(heard: &[u8], wanted: &[u8]) -> bool {
    heard.windows(wanted.len()).any(|bytes| bytes == wanted)
}

async fn more(stream: &mut TcpStream, heard: &mut Vec<u8>) -> Result<(), Failure> {
    match stream.read_buf(heard).await? {
        0 => Err(format!("the connection was closed: {}", String::from_utf8_lossy(heard)).into()),
        _ => Ok(()),
    }
}

/// Starts a server that answers with a kilobyte of JSON, or with a piece at once and another one two milliseconds
/// later.
async fn upstream() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move { answer_all(stream).await.map_err(|why| why.to_string()) });
        }
    });
    Ok(port)
}

async fn answer_all(mut stream: TcpStream) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let body = format!("{{\"results\":[\"{}\"]}}", "x".repeat(1000));
    let plain = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-hubspot-ratelimit-remaining: 109\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    loop {
        let mut asked = Vec::new();
        while !contains(&asked, b"\r\n\r\n") {
            more(&mut stream, &mut asked).await?;
        }
        if contains(&asked, STREAM.as_bytes()) {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await?;
            tokio::time::sleep(Duration::from_millis(2)).await;
            stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").await?;
        } else {
            stream.write_all(plain.as_bytes()).await?;
        }
    }
}
