//! The browser SDK: its types, whether `static/sdk` is up to date with `sdk/`, and its own tests.

use crate::run::{program, root, show};
use crate::steps::Done;
use crate::{Result, browser, setup};

/// Checks the SDK and runs its tests.
pub fn run() -> Result<Done> {
    if setup::NODE.is_missing() {
        return Err(setup::NODE.remedy());
    }
    let chromium = browser::chromium().ok_or_else(|| setup::CHROMIUM.remedy())?;
    browser::install_packages("e2e")?;
    browser::install_packages("sdk")?;
    for task in ["check", "test"] {
        let mut npm = program("npm");
        npm.args(["run", "--silent", task]).current_dir(root().join("sdk")).env(browser::CHROMIUM, &chromium);
        show(&mut npm)?;
    }
    Ok(().into())
}
