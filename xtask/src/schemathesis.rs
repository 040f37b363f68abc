//! Requests made up out of the description of the API, by Schemathesis: what the service answers must be what the
//! description says, whatever is sent.

use crate::live::Live;
use crate::run::{program, show};
use crate::steps::Done;
use crate::{Result, generate, setup};

/// What is installed, and what is told to it, with the reasons for what is left out.
const FOLDER: &str = "xtask/schemathesis";
/// Made-up requests for each operation and phase: about a minute of them in all.
const EXAMPLES: &str = "40";

/// Runs it against the service and a simulated HubSpot.
pub fn run() -> Result<Done> {
    let python = setup::python_packages(FOLDER)?;
    generate::build_programs()?;
    let live = Live::start("description")?;
    let mut run = program(python.with_file_name("schemathesis"));
    run.args(["--config-file", &format!("{FOLDER}/schemathesis.toml")])
        .args(["run", &format!("{}/api/openapi.json", live.service)])
        .args(["--header", &format!("Authorization: Bearer {}", live.api_key()?)])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--no-color"]);
    show(&mut run).map(Done::from)
}
