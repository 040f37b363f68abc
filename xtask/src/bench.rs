//! `cargo xtask bench`: benchmark figures, as ratios to a bare baseline in the same run.

use crate::postgres::Server;
use crate::run::{cargo, show};
use crate::suite::POSTGRES_URL;
use crate::{Result, Task, setup};
use clap::{Args, ValueEnum};
use std::process::Command;

/// Measure CPU per request and per refresh against a bare baseline, in release builds, on one core
#[derive(Args)]
pub struct Bench {
    /// Measure only this part.
    #[arg(long, value_name = "PART")]
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
    /// Numbers of due tokens, separated by commas.
    #[arg(long, default_value = "1000,10000,100000")]
    due: String,
    /// Numbers of stored connections of which none is due, separated by commas; the smallest first.
    #[arg(long, default_value = "1000,100000,1000000")]
    stored: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Flows, status requests, pages that wait
    Web,
    /// Due refreshes, idle connections, an outage; on SQLite and on PostgreSQL
    Refresh,
    /// Calls that are forwarded to HubSpot
    Proxy,
    /// Access tokens for backends, on SQLite and on PostgreSQL
    Lease,
}

impl Task for Bench {
    fn run(self) -> Result<()> {
        let packages = ["-p", "hubspot-connect", "-p", "fake-hubspot", "-p", "bench"];
        show(cargo("build").args(["--release", "--locked"]).args(packages))?;
        let mut bench = cargo("run");
        bench.args(["--release", "--locked", "--quiet", "-p", "bench", "--bin", "bench", "--"]);
        bench.args(["--seconds", &self.seconds.to_string(), "--connections", &self.connections.to_string()]);
        bench.args(["--polls", &self.polls.to_string(), "--due", &self.due, "--stored", &self.stored]);
        if let Some(part) = self.only.and_then(|part| part.to_possible_value()) {
            bench.args(["--only", part.get_name()]);
        }
        let server = if matches!(self.only, Some(Part::Web | Part::Proxy)) { None } else { postgres()? };
        if let Some(server) = &server {
            bench.env(POSTGRES_URL, server.url());
        }
        show(&mut bench).map(|_| ())
    }
}

/// Returns the server that is named, or one with durable commits. It shares a core with the simulated HubSpot, away
/// from the measured process.
fn postgres() -> Result<Option<Server>> {
    if setup::POSTGRES.is_missing() {
        eprintln!("only SQLite is measured: {}", setup::POSTGRES.remedy());
        return Ok(None);
    }
    let me = std::process::id().to_string();
    show(Command::new("taskset").args(["-cp", "1", &me]).stdout(std::process::Stdio::null()))?;
    Server::given_or_durable().map(Some)
}
