//! Connections of which none is due: the cost of storing them.

use std::fmt::Write;
use std::time::Duration;

use super::database::Engine;
use super::replica::Replica;
use super::rows::Connection;
use super::{grouped, now, verdict};
use crate::Failure;
use crate::servers::HubSpot;

pub const HEAD: &str =
    "stored connections, none due     live ms  ready ms  RSS MiB  CPU ms / 10 s   acquire us";
/// The number of starts of the median, unless the first one takes too long for others.
const STARTS: usize = 3;
const TOO_LONG: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(10);

/// The goals for many stored connections compared with few: the ratio of CPU time, additional memory, additional start
/// time.
const CPU: f64 = 1.2;
const MIB: f64 = 10.0;
const START_MS: f64 = 50.0;

struct Idle {
    live_ms: f64,
    ready_ms: f64,
    resident_mib: f64,
    cpu_ms: f64,
    acquire_us: f64,
    plan: Vec<String>,
}

/// Returns the figures of one engine, as lines of the table.
pub async fn measure(engine: &Engine, sizes: &[u64]) -> Result<String, Failure> {
    let hubspot = HubSpot::with_grants(0)?;
    let mut text = String::new();
    let mut few: Option<Idle> = None;
    let mut plan = Vec::new();
    for size in sizes {
        let idle = one(engine, &hubspot, *size).await?;
        let name = format!("{}, {}", engine.name(), grouped(*size));
        writeln!(
            text,
            "  {name:<28} {:>9.1} {:>9.1} {:>8.1} {:>14.2} {:>10.0}",
            idle.live_ms, idle.ready_ms, idle.resident_mib, idle.cpu_ms, idle.acquire_us
        )?;
        plan.clone_from(&idle.plan);
        match &few {
            None => few = Some(idle),
            Some(few) => idle.against(few, &mut text)?,
        }
    }
    writeln!(text, "  plan of the acquire with the most of them:")?;
    plan.iter().try_for_each(|step| writeln!(text, "    {step}"))?;
    Ok(text)
}

impl Idle {
    fn against(&self, few: &Self, text: &mut String) -> std::fmt::Result {
        let cpu = self.cpu_ms / few.cpu_ms;
        let (memory, start) = (self.resident_mib - few.resident_mib, self.ready_ms - few.ready_ms);
        writeln!(
            text,
            "    compared with the first: CPU x {cpu:.2} ({}), RSS {memory:+.1} MiB ({}), ready {start:+.1} ms ({}), acquire x {:.2}",
            verdict(cpu, CPU),
            verdict(memory, MIB),
            verdict(start, START_MS),
            self.acquire_us / few.acquire_us,
        )
    }
}

async fn one(engine: &Engine, hubspot: &HubSpot, size: u64) -> Result<Idle, Failure> {
    let rows = Connection::idle(size, now())?;
    let mut database = engine.create_with("idle", hubspot, rows).await?;
    let (mut live, mut ready) = (Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..STARTS {
        // An SQLite file belongs to one process: the previous one has to end first.
        drop(last.take());
        let replica = Replica::start(hubspot, &database)?;
        let spans = replica.live_and_ready().await?;
        live.push(ms(spans.0));
        ready.push(ms(spans.1));
        last = Some(replica);
        if spans.1 > TOO_LONG {
            break;
        }
    }
    let replica = last.ok_or("not started")?;
    // The first second after a start is not idle.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = replica.process.cpu_of_threads()?;
    tokio::time::sleep(IDLE).await;
    let after = replica.process.cpu_of_threads()?;
    let spent = after.iter().map(|(thread, spent)| spent - before.get(thread).unwrap_or(&0)).sum::<u64>();
    let resident = replica.process.resident_kib()?;
    drop(replica);
    let acquire = database.acquire(now()).await?;
    database.remove().await?;
    Ok(Idle {
        live_ms: median(live),
        ready_ms: median(ready),
        resident_mib: resident as f64 / 1024.0,
        cpu_ms: spent as f64 / 1e6,
        acquire_us: acquire.time.as_secs_f64() * 1e6,
        plan: acquire.plan,
    })
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
