//! `cargo xtask bench`: the figures, as ratios to a bare baseline in the same run.

use crate::run::{cargo, show};
use crate::{Result, Task};
use clap::Args;

/// Measures CPU per request against a bare baseline, in release builds, on one core
#[derive(Args)]
pub struct Bench {
    /// How long each figure is measured, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many connections send requests.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How many pages wait for their outcome at once.
    #[arg(long, default_value_t = 5000)]
    polls: usize,
}

impl Task for Bench {
    fn run(self) -> Result<()> {
        let mut build = cargo("build");
        show(build.args([
            "--release",
            "--locked",
            "-p",
            "hubspot-connect",
            "-p",
            "fake-hubspot",
            "-p",
            "bench",
        ]))?;
        let mut bench = cargo("run");
        bench.args(["--release", "--locked", "--quiet", "-p", "bench", "--bin", "bench", "--"]);
        bench.args(["--seconds", &self.seconds.to_string(), "--connections", &self.connections.to_string()]);
        bench.args(["--polls", &self.polls.to_string()]);
        show(&mut bench).map(|_| ())
    }
}
