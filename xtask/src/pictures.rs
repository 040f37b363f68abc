//! `cargo xtask pictures`: the pictures of the README, taken of the demo in Chromium.

use crate::run::show;
use crate::{Result, Task, browser};
use clap::Args;

/// Take the pictures in docs/images of the demo in Chromium
///
/// No check compares them, because they show times and ids: run it after a change of the pages.
#[derive(Args)]
pub struct Pictures {}

impl Task for Pictures {
    fn run(self) -> Result<()> {
        show(browser::node_tests()?.arg("e2e/pictures.mjs"))
    }
}
