//! `cargo xtask siege`: shows that hostile connections block no other client.

use crate::run::{cargo, program, show, target_dir};
use crate::{Result, Task, generate};
use clap::Args;

/// Hold thousands of hostile connections open beside an honest client, and check that it is served
///
/// One kind of attack after the other, from two client addresses. Prints a table: the slowest response to the honest
/// client, the peak memory of the service, and when the last hostile connection was closed after its client fell
/// silent.
#[derive(Args)]
pub struct Siege {
    /// Minutes of the siege: all kinds of attack at least once
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Number of hostile connections
    #[arg(long, default_value_t = 20_000)]
    connections: usize,
}

impl Task for Siege {
    fn run(self) -> Result<()> {
        let mut build = cargo("build");
        show(build.args(["--release", "--locked", "-p", "hubspot-connect", "-p", "torture", "--bins"]))?;
        let minutes = ["--minutes".to_owned(), self.minutes.to_string()];
        siege("release", &minutes, self.connections)
    }
}

/// Runs the siege that is part of `cargo xtask test`: the attacks that differ most, few connections, and the binaries
/// that exist by then.
pub fn briefly() -> Result<()> {
    generate::build_programs()?;
    let kinds = ["one-byte-more", "unread", "abandoned-poll"];
    let kinds = kinds.iter().flat_map(|kind| ["--kind".to_owned(), (*kind).to_owned()]);
    let arguments: Vec<String> = ["--seconds".to_owned(), "3".to_owned()].into_iter().chain(kinds).collect();
    siege("debug", &arguments, 2_000)
}

fn siege(profile: &str, arguments: &[String], connections: usize) -> Result<()> {
    let mut siege = program(target_dir().join(profile).join("siege"));
    show(siege.args(arguments).args(["--connections", &connections.to_string()]))
}
