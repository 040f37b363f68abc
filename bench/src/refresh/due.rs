//! Due tokens: the cost of a refresh, against a bare loop that makes the same calls and writes.

use std::fmt::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use super::database::{Database, Engine};
use super::replica::Replica;
use super::rows::Connection;
use super::{Asked, IN_FLIGHT, grouped, now, tokens, verdict};
use crate::Failure;
use crate::process::Process;
use crate::report::Figure;
use crate::servers::{HubSpot, program};

pub const HEAD: &str =
    "due tokens, on one core                          CPU s / 1,000   per second  x batches";
/// The goal: CPU time as a multiple of the bare loop with its batches.
const SQLITE: f64 = 2.0;
const POSTGRES: f64 = 2.5;
/// The goal for the milliseconds from the start of the service to its first call.
const FIRST: f64 = 100.0;
/// The number of tokens above which two concurrent replicas show nothing new.
const TOGETHER: usize = 10_000;
/// The time after which a measurement is aborted.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(600);

/// The result of a run of the service.
struct Run {
    figure: Figure,
    /// The milliseconds from the start of the last replica to the first call; negative if an earlier one was first.
    first_ms: i64,
    calls: usize,
    refreshed: usize,
    peak_kib: u64,
}

/// Returns the figures of one engine and one number of tokens, as lines of the table.
pub async fn measure(engine: &Engine, due: usize) -> Result<String, Failure> {
    let hubspot = HubSpot::with_grants(due)?;
    let tokens = tokens(&hubspot).await?;
    let mut floor = engine.create("floor").await?;
    floor.fill_floor(&tokens).await?;
    let dropped = bare_loop(&hubspot, &floor, "drop", due)?;
    let stored = bare_loop(&hubspot, &floor, "store", due)?;
    floor.remove().await?;

    let mut text = String::new();
    writeln!(text, "{}, {} due", engine.name(), grouped(due as u64))?;
    let mut line = |name: &str, figure: &Figure| {
        let ratio = figure.cpu_ms() / stored.cpu_ms();
        let (cost, speed) = (figure.cpu_ms(), figure.per_second());
        writeln!(text, "  {name:<46} {cost:>13.4} {speed:>12.0} {ratio:>10.2}")
    };
    line("bare loop, responses dropped", &dropped)?;
    line("bare loop, durable batches of 256", &stored)?;
    let alone = refresh(engine, &hubspot, &tokens, 1).await?;
    line("service", &alone.figure)?;
    let both = match engine {
        Engine::Postgres(_) if due <= TOGETHER => Some(refresh(engine, &hubspot, &tokens, 2).await?),
        _ => None,
    };
    if let Some(both) = &both {
        line("service, two concurrent replicas", &both.figure)?;
    }
    let ratio = alone.figure.cpu_ms() / stored.cpu_ms();
    let goal = if matches!(engine, Engine::Postgres(_)) { POSTGRES } else { SQLITE };
    writeln!(text, "  service: {ratio:.2} x the bare loop with batches ({})", verdict(ratio, goal))?;
    alone.report(&mut text, "alone", due)?;
    if let Some(both) = both {
        both.report(&mut text, "two replicas", due)?;
    }
    Ok(text)
}

impl Run {
    fn report(&self, text: &mut String, name: &str, due: usize) -> std::fmt::Result {
        let once = if self.calls == due && self.refreshed == due { "each once" } else { "NOT EACH ONCE" };
        writeln!(
            text,
            "  {name}: first call {} ms after exec ({}), all fresh after {:.2} s; {} calls, {} refreshed: {once}; peak {:.1} MiB",
            self.first_ms,
            verdict(self.first_ms as f64, FIRST),
            self.figure.elapsed.as_secs_f64(),
            grouped(self.calls as u64),
            grouped(self.refreshed as u64),
            self.peak_kib as f64 / 1024.0,
        )
    }
}

fn bare_loop(hubspot: &HubSpot, floor: &Database, store: &str, due: usize) -> Result<Figure, Failure> {
    let mut command = Command::new(program("refresh_floor")?);
    command.args([&hubspot.url(), &floor.place(), &IN_FLIGHT.to_string(), store]);
    let started = Instant::now();
    let process = Process::start_and_hear(&command, 0)?;
    Ok(Figure { operations: due as u64, elapsed: started.elapsed(), cpu: process.cpu()? })
}

/// Measures from the start of the service to the last refresh.
async fn refresh(
    engine: &Engine,
    hubspot: &HubSpot,
    tokens: &[String],
    replicas: usize,
) -> Result<Run, Failure> {
    hubspot.control("DELETE", "/__journal", "").await?;
    let rows = Connection::due(tokens, now())?;
    let mut database = engine.create_with("due", hubspot, rows).await?;
    let running = (0..replicas).map(|_| Replica::start(hubspot, &database)).collect::<Result<Vec<_>, _>>()?;
    let first = running.first().ok_or("no replica")?;
    wait_until_fresh(hubspot, &mut database, tokens.len(), first.started).await?;
    let elapsed = first.started.elapsed();
    let mut cpu = Duration::ZERO;
    for replica in &running {
        cpu += replica.process.cpu()?;
    }
    // A repeated call would come soon.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let asked = Asked::of(hubspot).await?;
    let run = Run {
        figure: Figure { operations: tokens.len() as u64, elapsed, cpu },
        first_ms: asked.first_at_ms - first.started_at_ms,
        calls: asked.calls,
        refreshed: database.refreshed().await?,
        peak_kib: first.process.peak_kib()?,
    };
    drop(running);
    database.remove().await?;
    Ok(run)
}

/// Waits until all tokens are refreshed. Reads the database only when HubSpot has got all calls: until then the service
/// has it for itself.
async fn wait_until_fresh(
    hubspot: &HubSpot,
    database: &mut Database,
    tokens: usize,
    since: Instant,
) -> Result<(), Failure> {
    while Asked::of(hubspot).await?.calls < tokens || database.has_due(now()).await? {
        if since.elapsed() > MEASURE_TIMEOUT {
            let asked = Asked::of(hubspot).await?.calls;
            return Err(
                format!("only {asked} of {tokens} tokens were refreshed in {MEASURE_TIMEOUT:?}").into()
            );
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
