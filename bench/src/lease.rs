//! Access tokens for backends: the cost and latency of one, beside a bare handler that reads one row and decrypts one
//! token. On SQLite, and on PostgreSQL where `TEST_POSTGRES_URL` names a server.
#![expect(clippy::print_stdout, reason = "the figures go to standard output")]

use std::process::Command;
use std::time::{Duration, Instant};

use test_support::free_port;
use tokio::task::JoinSet;

use crate::Failure;
use crate::http::Connection;
use crate::process::Process;
use crate::refresh::database::{Database, Engine, engines};
use crate::refresh::rows;
use crate::report::Figure;
use crate::servers::{ENCRYPTION_KEY, HubSpot, Service, program};

/// The number of concurrent backends.
const CONNECTIONS: usize = 16;
/// The number of connections, which take turns.
const STORED: u64 = 64;

/// The goal: CPU time as a multiple of the bare handler's.
const CPU: f64 = 1.5;
/// The goal for the 99th percentile.
const P99_MS: f64 = 1.0;

/// The cost of getting tokens.
struct Lent {
    figure: Figure,
    p99: Duration,
}

/// Measures and prints the figures.
pub async fn measure(time: Duration) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(".")?;
    println!(
        "{:<34} {:>10} {:>14} {:>9}",
        "access tokens, 16 connections", "per second", "CPU s / 1,000", "p99 ms"
    );
    for engine in engines(folder.path()) {
        let hubspot = HubSpot::with_grants(0)?;
        let stored = rows::Connection::fresh(STORED, crate::refresh::now())?;
        let database = engine.create_with("lease", &hubspot, stored).await?;
        let bare = floor(&database, time).await?;
        let service = service(&database, &hubspot, time).await?;
        database.remove().await?;
        report(&engine, &bare, &service);
    }
    Ok(())
}

fn report(engine: &Engine, bare: &Lent, service: &Lent) {
    for (who, lent) in [("bare handler", bare), ("service", service)] {
        let name = format!("  {}, {who}", engine.name());
        let (rate, cpu) = (lent.figure.per_second(), lent.figure.cpu_ms());
        println!("{name:<34} {rate:>10.0} {cpu:>14.4} {:>9.3}", ms(lent.p99));
    }
    let ratio = service.figure.cpu_ms() / bare.figure.cpu_ms();
    println!(
        "    {ratio:.2} x the CPU of the bare handler ({}); p99 {:.3} ms ({})",
        crate::refresh::verdict(ratio, CPU),
        ms(service.p99),
        crate::refresh::verdict(ms(service.p99), P99_MS)
    );
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

async fn floor(database: &Database, time: Duration) -> Result<Lent, Failure> {
    let port = free_port();
    let mut command = Command::new(program("lease_floor")?);
    command.arg(port.to_string()).arg(database.place()).arg(ENCRYPTION_KEY);
    let process = Process::start(&command, 0, port)?;
    process.wait()?;
    ask(&process, time, |id| (format!("/token/{id}"), String::new())).await
}

async fn service(database: &Database, hubspot: &HubSpot, time: Duration) -> Result<Lent, Failure> {
    let port = free_port();
    let mut command = Service::command(hubspot, &database.url(), port)?;
    command.env("RATE_LIMIT_API_PER_MINUTE", "0");
    let mut make = Service::command(hubspot, &database.url(), port)?;
    let made = make.args(["api-keys", "create", "bench", "--scope", "tokens:read"]).output()?;
    let key = String::from_utf8(made.stdout)?;
    let process = Process::start(&command, 0, port)?;
    process.wait()?;
    let headers = format!("authorization: Bearer {}\r\n", key.trim());
    ask(&process, time, |id| (format!("/api/hubspot/connections/{id}/token?min_ttl=60"), headers.clone()))
        .await
}

async fn ask(
    server: &Process,
    time: Duration,
    request: impl Fn(&str) -> (String, String),
) -> Result<Lent, Failure> {
    let requests: Vec<_> = (0..STORED).map(|number| request(&rows::id(number, "connection"))).collect();
    // A first round warms caches and opens connections; it is not counted.
    round(server.port, &requests, time / 5).await?;
    let (before, started) = (server.cpu()?, Instant::now());
    let mut spans = round(server.port, &requests, time).await?;
    let cpu = server.cpu()? - before;
    let figure = Figure { operations: spans.len() as u64, elapsed: started.elapsed(), cpu };
    spans.sort_unstable();
    Ok(Lent { figure, p99: spans[spans.len() * 99 / 100] })
}

async fn round(port: u16, requests: &[(String, String)], time: Duration) -> Result<Vec<Duration>, Failure> {
    let deadline = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for number in 0..CONNECTIONS {
        let requests = requests.to_vec();
        tasks.spawn(
            async move { repeat(port, &requests, number, deadline).await.map_err(|why| why.to_string()) },
        );
    }
    let mut spans = Vec::new();
    while let Some(done) = tasks.join_next().await {
        spans.extend(done??);
    }
    Ok(spans)
}

async fn repeat(
    port: u16,
    requests: &[(String, String)],
    first: usize,
    deadline: Instant,
) -> Result<Vec<Duration>, Failure> {
    let mut connection = Connection::open(port).await?;
    let mut spans = Vec::new();
    let mut turn = requests.iter().cycle().skip(first);
    while let Some((path, headers)) = turn.next().filter(|_| Instant::now() < deadline) {
        let started = Instant::now();
        let answer = connection.send("GET", path, headers, "").await?;
        spans.push(started.elapsed());
        if answer.status != 200 {
            return Err(format!("{path}: {} {}", answer.head, String::from_utf8_lossy(&answer.body)).into());
        }
    }
    Ok(spans)
}
