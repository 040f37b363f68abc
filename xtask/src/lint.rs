//! `cargo xtask lint`: everything that is checked without running the service.

use crate::run::{cargo, cargo_build, has_cargo, show};
use crate::steps::{Done, Steps};
use crate::{Result, Task, generate, sbom};
use clap::Args;

/// Check formatting, lints, documentation, licences and generated documents
#[derive(Args)]
pub struct Lint {}

impl Task for Lint {
    fn run(self) -> Result<()> {
        let mut steps = Steps::default();
        code(&mut steps);
        papers(&mut steps);
        steps.finish()
    }
}

/// What the code must satisfy before it is worth testing, and is checked in no time after a small change.
pub fn quick(steps: &mut Steps) {
    steps.run("formatting", || show(cargo("fmt").args(["--all", "--check"])));
    steps.run("clippy", || {
        show(cargo_build("clippy").args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
}

/// The same, and its documentation.
pub fn code(steps: &mut Steps) {
    quick(steps);
    steps.run("documentation", || {
        let mut doc = cargo_build("doc");
        show(
            doc.args(["--workspace", "--no-deps", "--document-private-items"])
                .env("RUSTDOCFLAGS", "-Dwarnings"),
        )
    });
}

/// What lies beside the code: the licences of what it stands on, the documents made from it.
pub fn papers(steps: &mut Steps) {
    steps.run("dependencies", || {
        if !has_cargo("deny") {
            return Ok(Done::Skipped("`cargo install cargo-deny --locked` installs the checker".to_owned()));
        }
        show(cargo("deny").args(["--locked", "check", "bans", "licenses", "sources"])).map(Done::from)
    });
    steps.run("bill of materials", sbom::check);
    steps.run("generated documents", generate::check);
}
