//! Measures the service against a bare baseline in the same run: CPU per request on one core, and ratios.
//!
//! The service, the baselines (`floor`, `refresh_floor`) and the simulated HubSpot are real processes; server processes
//! are pinned to core 0, HubSpot and the load to core 1. CPU time is the kernel's count for the server process.

mod http;
mod lease;
mod load;
mod polls;
mod process;
mod proxy;
mod refresh;
mod report;
mod servers;
mod web;

use clap::{Parser, ValueEnum};

/// An error that stops a measurement.
type Failure = Box<dyn std::error::Error>;

/// Measure the service against a bare baseline in the same run.
#[derive(Debug, Parser)]
#[group(skip)]
struct Arguments {
    /// Measure only this part.
    #[arg(long)]
    only: Option<Part>,
    /// Seconds for each figure of the web.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Number of connections that send requests.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Number of pages that wait for their outcome concurrently.
    #[arg(long, default_value_t = 5000)]
    polls: usize,
    #[command(flatten)]
    refresh: refresh::Arguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Flows, status requests, pages that wait.
    Web,
    /// Refreshes and other background work.
    Refresh,
    /// Calls that are forwarded to HubSpot.
    Proxy,
    /// Access tokens for backends.
    Lease,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    process::tie_to_core(std::process::id(), 1)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let wanted = |part| arguments.only.is_none_or(|only| only == part);
        if wanted(Part::Web) {
            web::measure(&arguments).await?;
        }
        if wanted(Part::Lease) {
            lease::measure(std::time::Duration::from_secs(arguments.seconds)).await?;
        }
        if wanted(Part::Refresh) {
            refresh::measure(&arguments.refresh).await?;
        }
        if wanted(Part::Proxy) {
            proxy::measure(&arguments).await?;
        }
        Ok(())
    })
}
