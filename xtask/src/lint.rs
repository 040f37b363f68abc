//! `cargo xtask lint`: all checks that do not run the service.

use crate::run::{cargo, cargo_build, has_cargo, show};
use crate::steps::{Done, Steps};
use crate::{Result, Task, deploy, generate, links, sbom, words};
use clap::Args;

/// Check formatting, lints, documentation, licences, generated documents, links and wording
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

/// Runs the quick checks that code must pass before it is tested.
pub fn quick(steps: &mut Steps) {
    steps.run("formatting", || show(cargo("fmt").args(["--all", "--check"])));
    steps.run("clippy", || {
        show(cargo_build("clippy").args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
}

/// Runs the same checks, and that of its documentation.
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

/// Checks the files beside the code: the licences of its dependencies, the documents and their links, the
/// deployment files.
pub fn papers(steps: &mut Steps) {
    steps.run("dependencies", || {
        if !has_cargo("deny") {
            return Ok(Done::Skipped("`cargo install cargo-deny --locked` installs the checker".to_owned()));
        }
        show(cargo("deny").args(["--locked", "check", "bans", "licenses", "sources"])).map(Done::from)
    });
    steps.run("bill of materials", sbom::check);
    steps.run("generated documents", generate::check);
    steps.run("links of the documents", links::check);
    steps.run("deployment files", deploy::check);
    steps.run("wording", words::check);
}
