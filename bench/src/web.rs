//! The web: a flow, a status, pages that wait, a start, each against a bare handler.
#![expect(clippy::print_stdout, reason = "the figures go to standard output")]

use std::time::Duration;

use crate::load::Load;
use crate::refresh::verdict;
use crate::report::{Figure, Report};
use crate::servers::{Floor, HubSpot, Service};
use crate::{Arguments, Failure, polls};

/// The goal for the memory in MiB of 1,000 waiting pages, and for that of an idle service.
const WAITING_MIB: f64 = 20.0;
const IDLE_MIB: f64 = 20.0;
/// The goal for the percentage of the flows that slow responses of HubSpot allow.
const REACHED: f64 = 95.0;

/// Measures and prints the figures.
pub async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let load = Load { connections: arguments.connections, time: Duration::from_secs(arguments.seconds) };
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(".")?;
    let mut report = Report::default();

    let hubspot = HubSpot::start(Duration::ZERO)?;
    let floor = Floor::start(folder.path(), &hubspot)?;
    report.add("bare handler", load.requests(&floor.0, "/bare").await?);
    report.add("bare handler, one durable row (group commit)", load.requests(&floor.0, "/insert").await?);
    report.add("the flow's reads, writes and calls, bare", load.flows(&floor.0, "/floor").await?);
    drop(floor);

    let service = Service::start(folder.path(), &hubspot)?;
    report.add("start", load.requests(&service.0, "/auth/hubspot/start").await?);
    report.add("whole flow", load.flows(&service.0, "").await?);
    report.add("status, no connection", load.requests(&service.0, "/api/hubspot/status").await?);
    report.add("status, connected", load.status(&service.0).await?);
    let loaded = service.0.resident_kib()?;
    drop(service);

    let service = Service::start(folder.path(), &hubspot)?;
    let waiting = polls::measure(&service, arguments.polls, arguments.polls.min(500)).await?;
    let each = mib(1) * 1000.0 * waiting.kib_each;
    report.note(format!(
        "{} pages wait for their outcome: {each:.1} MiB for 1,000 of them ({}); from the change to the response p50 {:.2} ms, p99 {:.2} ms",
        arguments.polls,
        verdict(each, WAITING_MIB),
        waiting.percentile(50).as_secs_f64() * 1000.0,
        waiting.percentile(99).as_secs_f64() * 1000.0
    ));
    drop(service);

    let (ready, idle) = Service::cold_starts(folder.path(), &hubspot, 7).await?;
    drop(hubspot);
    report.note(format!(
        "ready after exec on an existing database: median {:.1} ms of 7",
        ready.as_secs_f64() * 1000.0
    ));
    report.note(format!(
        "resident memory: {:.1} MiB idle ({}), {:.1} MiB after the flows and requests above",
        mib(idle),
        verdict(mib(idle), IDLE_MIB),
        mib(loaded)
    ));

    let slow = HubSpot::start(Duration::from_millis(200))?;
    let many = Load { connections: 128, time: load.time.max(Duration::from_secs(5)) };
    // Three responses of HubSpot follow one another in a flow: the consent page (as slow here as the rest), the
    // exchange, then introspection and account details concurrently.
    let percent = |flows: &Figure| 100.0 * flows.per_second() / (128.0 / (3.0 * 0.2));
    let bare = many.flows(&Floor::start(folder.path(), &slow)?.0, "/floor").await?;
    let flows = many.flows(&Service::start(folder.path(), &slow)?.0, "").await?;
    let reached = percent(&flows);
    report.note(format!(
        "HubSpot takes 200 ms per response, 128 connections: {:.0} flows/s, {reached:.1} % of connections / (3 x 200 ms) (goal {REACHED}: {}); the bare flow reaches {:.1} %",
        flows.per_second(),
        if reached >= REACHED { "met" } else { "MISSED" },
        percent(&bare)
    ));
    println!("{report}");
    Ok(())
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
