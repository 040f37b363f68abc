//! The files of `deploy/`: their variables, ports, probe paths and times must be those of the code.

use crate::run::{program, root, show};
use crate::steps::Done;
use crate::{Result, setup};

/// The check and its requirements.
const FOLDER: &str = "xtask/deploy";

/// Checks `deploy/` and `compose.yaml`.
pub fn check() -> Result<Done> {
    if setup::PYTHON.is_missing() {
        return Ok(Done::Skipped(setup::PYTHON.remedy()));
    }
    let python = setup::python_packages(FOLDER)?;
    show(program(python).arg(root().join(FOLDER).join("check.py"))).map(Done::from)
}
