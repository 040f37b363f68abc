//! Changes of the API since the last release that would break a client, found by oasdiff.

use crate::run::{program, root, show};
use crate::steps::Done;
use crate::{Result, browser};

/// The comparison, its tests, and the rules that differ from oasdiff's own.
const FOLDER: &str = "xtask/compatibility";

/// Tests the comparison on made-up changes, and compares openapi.json with released/openapi.json.
pub fn run() -> Result<Done> {
    browser::install_packages(FOLDER)?;
    for task in ["test", "compare"] {
        show(program("npm").args(["run", "--silent", task]).current_dir(root().join(FOLDER)))?;
    }
    Ok(().into())
}
