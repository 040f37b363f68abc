//! `cargo xtask torture`: shows that no refresh token is lost when processes are killed.

use crate::postgres::Server;
use crate::run::{cargo, program, show, target_dir};
use crate::suite::POSTGRES_URL;
use crate::{Result, Task, generate};
use clap::Args;

/// Kill, freeze and cut off replicas while they refresh, and check that no refresh token is lost and that access tokens
/// are what the service says they are
///
/// Three replicas on a PostgreSQL server, a HubSpot that rotates every refresh token at its use, users who connect and
/// disconnect, and backends that read access tokens at the same time. Prints a table of figures, a line for each
/// invariant, and the command that repeats the run.
#[derive(Args)]
pub struct Torture {
    /// Minutes of faults
    #[arg(long, conflicts_with = "seconds")]
    minutes: Option<u64>,
    /// Seconds of faults; at least as long as the freeze that outlasts a lease
    #[arg(long)]
    seconds: Option<u64>,
    /// Seed of the faults; the same seed draws the same faults
    #[arg(long)]
    seed: Option<u64>,
    /// Number of connections
    #[arg(long, default_value_t = 200)]
    connections: usize,
    /// End faults early that cause long waits at the end
    #[arg(long)]
    hurry: bool,
    /// Use the binaries of the dev profile instead of release builds
    #[arg(long)]
    debug_binaries: bool,
}

impl Task for Torture {
    fn run(self) -> Result<()> {
        let profile = if self.debug_binaries {
            generate::build_programs()?;
            "debug"
        } else {
            let mut build = cargo("build");
            show(build.args(["--release", "--locked", "-p", "hubspot-connect", "-p", "torture", "--bins"]))?;
            "release"
        };
        let numbers = [("--minutes", self.minutes), ("--seconds", self.seconds), ("--seed", self.seed)];
        let given =
            numbers.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?.to_string()]));
        let mut arguments: Vec<String> = given.flatten().collect();
        arguments.extend(["--connections".to_owned(), self.connections.to_string()]);
        arguments.extend(self.hurry.then(|| "--hurry".to_owned()));
        torture(profile, &arguments)
    }
}

/// Runs the torture that is part of `cargo xtask test`: as short as the freeze that outlasts a lease allows, with the
/// binaries that exist by then.
pub fn briefly() -> Result<()> {
    generate::build_programs()?;
    torture("debug", &["--seconds".to_owned(), "68".to_owned(), "--hurry".to_owned()])
}

fn torture(profile: &str, arguments: &[String]) -> Result<()> {
    let server = Server::given_or_forgetful()?;
    let mut torture = program(target_dir().join(profile).join("torture"));
    show(torture.args(arguments).env(POSTGRES_URL, server.url()))
}
