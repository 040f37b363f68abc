//! Kills, freezes and cuts off replicas of the service while they refresh, and checks that no refresh token is lost and
//! that every access token that is read works.
//!
//! Three real processes serve from one PostgreSQL database, each behind lines to the database and to a simulated
//! HubSpot that can be cut. The HubSpot rotates refresh tokens at every use and refuses old ones, so every loss shows.
//! The faults are drawn from a seed ([`plan`], [`noise`], [`users`], [`backend`]); the events are recorded
//! ([`history`]); the invariants are in [`judge`].
//!
//! Clocks that differ between replicas are not covered: real processes share the clock of the machine. The tests of the
//! service run replicas with separate clocks in one process.
#![expect(clippy::print_stdout, reason = "a command-line program prints to standard output")]

mod backend;
mod browser;
mod chaos;
mod commits;
mod database;
mod history;
mod judge;
mod logs;
mod noise;
mod plan;
mod record;
mod replica;
mod report;
mod run;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use hubspot_connect::domain::random::Random;
use tempfile::TempDir;

use history::History;
use plan::{LONG_FREEZE_MS, pick};
use report::Report;

/// An error that stops a run.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Kill, freeze and cut off replicas of the service, and check that no refresh token is lost.
#[derive(Debug, Parser)]
pub struct Arguments {
    /// Minutes of faults
    #[arg(long, conflicts_with = "seconds")]
    minutes: Option<u64>,
    /// Seconds of faults; at least until the long freeze ends
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// Seed of the faults; the same seed draws the same faults
    #[arg(long)]
    seed: Option<u64>,
    /// Number of connections
    #[arg(long, default_value_t = 200)]
    connections: usize,
    /// End faults that leave leases early, and do not wait for second refusals
    #[arg(long)]
    hurry: bool,
    /// List every fault even if no invariant is broken
    #[arg(long)]
    verbose: bool,
    /// The service; by default the binary beside this one
    #[arg(long)]
    program: Option<PathBuf>,
}

impl Arguments {
    fn length_ms(&self) -> u64 {
        let seconds = self.minutes.map_or(self.seconds, |minutes| 60 * minutes);
        // The long freeze starts after two seconds.
        (1000 * seconds).max(LONG_FREEZE_MS + 3_000)
    }

    fn program(&self) -> Result<PathBuf, Failure> {
        let path = match &self.program {
            Some(path) => std::path::absolute(path)?,
            None => std::env::current_exe()?.with_file_name("hubspot-connect"),
        };
        if path.exists() {
            Ok(path)
        } else {
            Err(format!("{} is not built; run `cargo xtask torture`", path.display()).into())
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| pick(&Random::system(), 1_000_000));
    let again = format!(
        "cargo xtask torture --seconds {} --connections {} --seed {seed}{}",
        arguments.length_ms() / 1000,
        arguments.connections,
        if arguments.hurry { " --hurry" } else { "" }
    );
    println!("seed {seed}");
    let began = Instant::now();
    let outcome = tempfile::Builder::new().prefix("torture-").tempdir().map_err(Failure::from);
    let outcome = outcome.map(|folder| (make(&arguments, seed, &folder), folder));
    let (history, folder) = match outcome {
        Ok((Ok(history), folder)) => (history, folder),
        Ok((Err(why), folder)) => return give_up(&why, Some(folder), &again),
        Err(why) => return give_up(&why, None, &again),
    };
    let verdicts = judge::judge(&history);
    let broken = verdicts.iter().any(judge::Verdict::is_broken);
    let report = Report { history: &history, verdicts: &verdicts, verbose: broken || arguments.verbose };
    println!("\n{}\n    took {:.0} s; again: {again}", report, began.elapsed().as_secs_f64());
    if broken {
        println!("    the logs of the replicas are in {}", folder.keep().display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn make(arguments: &Arguments, seed: u64, folder: &TempDir) -> Result<History, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            history = run::run(arguments, seed, folder.path(), |line| println!("    {line}")) => history,
            // An aborted run leaves no process behind, stopped ones least of all.
            () = interrupted() => Err("interrupted".into()),
        }
    })
}

async fn interrupted() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => _ = signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

fn give_up(why: &Failure, folder: Option<TempDir>, again: &str) -> ExitCode {
    println!("\n    the run failed: {why}; again: {again}");
    if let Some(folder) = folder {
        println!("    the logs of the replicas are in {}", folder.keep().display());
    }
    ExitCode::FAILURE
}
