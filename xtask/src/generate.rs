//! `cargo xtask generate`: documents that the program itself writes, so that they stay correct.

use crate::run::{cargo_build, program, read, root, show, target_dir};
use crate::steps::Done;
use crate::{Result, Task, browser, log_events, promises, setup};
use clap::Args;
use std::fs;

/// Write the files that are generated from the code: .env.example, docs/configuration.md, docs/errors.md, docs/log-events.md,
/// docs/promises.md, openapi.json, and the types of the client in sdk/server, if Node.js is installed
#[derive(Args)]
pub struct Generate {
    /// Keep openapi.json as the one of the next release, with which later ones are compared
    #[arg(long)]
    released: bool,
}

/// The client whose types are generated from openapi.json.
const CLIENT: &str = "sdk/server";

/// The names of the documents, and their files.
const DOCUMENTS: [(&str, &str); 6] = [
    ("env", ".env.example"),
    ("configuration", "docs/configuration.md"),
    ("errors", "docs/errors.md"),
    (LOG_EVENTS, "docs/log-events.md"),
    ("openapi", "openapi.json"),
    (PROMISES, "docs/promises.md"),
];
/// The documents that are generated from files of the repository. `hubspot-connect print` writes the others.
const LOG_EVENTS: &str = "log-events";
const PROMISES: &str = "promises";

impl Task for Generate {
    fn run(self) -> Result<()> {
        build_programs()?;
        for (name, file) in DOCUMENTS {
            fs::write(root().join(file), printed(name)?).map_err(|why| format!("{file}: {why}"))?;
            println!("{file} written");
        }
        if self.released {
            let folder = root().join("released");
            fs::create_dir_all(&folder)
                .and_then(|()| fs::copy(root().join("openapi.json"), folder.join("openapi.json")))
                .map_err(|why| format!("released/openapi.json: {why}"))?;
            println!("released/openapi.json written");
        }
        write_types()
    }
}

/// Writes the types that the TypeScript client takes from the description of the API. Its own check, a part of `cargo
/// xtask test`, compares them.
fn write_types() -> Result<()> {
    if setup::NODE.is_missing() {
        println!("{CLIENT}/src/schema.ts was not updated: {}", setup::NODE.remedy());
        return Ok(());
    }
    browser::install_packages(CLIENT)?;
    show(program("npm").args(["run", "--silent", "generate"]).current_dir(root().join(CLIENT)))
}

/// Compares the committed documents with what the program prints.
pub fn check() -> Result<Done> {
    let (here, absent): (Vec<_>, Vec<_>) =
        DOCUMENTS.into_iter().partition(|(_, file)| root().join(file).exists());
    if here.is_empty() {
        return Ok(Done::Skipped("not committed yet".to_owned()));
    }
    build_programs()?;
    for (_, file) in absent {
        println!("    {file} is not committed yet");
    }
    let mut stale = Vec::new();
    for (name, file) in here {
        let committed = fs::read_to_string(root().join(file)).map_err(|why| format!("{file}: {why}"))?;
        if committed != printed(name)? {
            stale.push(file);
        }
    }
    if stale.is_empty() {
        return Ok(().into());
    }
    Err(format!("{} differs from the code; run `cargo xtask generate`", stale.join(", ")))
}

/// Builds the programs that the checks run, together, so that all are compiled with the same features, once.
pub fn build_programs() -> Result<()> {
    let mut build = cargo_build("build");
    let packages = ["hubspot-connect", "demo", "torture", "fake-hubspot"];
    show(build.args(packages.iter().flat_map(|package| ["--package", package])).arg("--bins"))
}

fn printed(name: &str) -> Result<String> {
    match name {
        LOG_EVENTS => log_events::document(),
        PROMISES => promises::document(),
        _ => read(program(target_dir().join("debug/hubspot-connect")).args(["print", name])),
    }
}
