//! `cargo xtask check`: the checks to run after every change.

use crate::steps::Steps;
use crate::suite::{self, Part};
use crate::{Result, Task, lint};
use clap::Args;

/// Check formatting and lints, and run the unit tests and the integration suite on SQLite
#[derive(Args)]
pub struct Check {}

impl Task for Check {
    fn run(self) -> Result<()> {
        let mut steps = Steps::default();
        lint::quick(&mut steps);
        steps.run("unit tests and integration suite on SQLite", || suite::run(Part::All, None));
        steps.finish()
    }
}
