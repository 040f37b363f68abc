//! `cargo xtask postgres`: a PostgreSQL server that exists for one command.

mod binaries;
mod owner;
mod server;

pub use binaries::Binaries;
pub use server::Server;

use crate::run::{program, show};
use crate::suite::POSTGRES_URL;
use crate::{Result, Task};
use clap::Args;
use std::process::Stdio;

/// Run one command beside a fresh PostgreSQL server, whose URL it finds in TEST_POSTGRES_URL
///
/// For example `cargo xtask postgres -- cargo nextest run --test it refresh`. The server is gone when the command ends.
#[derive(Args)]
pub struct Postgres {
    /// The command and its arguments
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

impl Task for Postgres {
    fn run(self) -> Result<()> {
        let server = Server::start()?;
        let (name, arguments) = self.command.split_first().ok_or("no command given")?;
        show(program(name).args(arguments).env(POSTGRES_URL, server.url()).stdin(Stdio::inherit()))
    }
}
