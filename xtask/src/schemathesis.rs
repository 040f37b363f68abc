//! Requests made up out of the description of the API, by Schemathesis: what the service answers must be what the
//! description says, whatever is sent.

use crate::live::Live;
use crate::run::{find, program, read, root, show, target_dir};
use crate::steps::Done;
use crate::{Result, generate, setup};
use std::fs;
use std::path::PathBuf;

/// The list of what is installed, with exact versions.
const REQUIREMENTS: &str = "xtask/schemathesis.txt";
/// What is told to it, with the reasons for what is left out.
const CONFIGURATION: &str = "xtask/schemathesis.toml";
/// Made-up requests for each operation and phase: about a minute of them in all.
const EXAMPLES: &str = "40";

/// Runs it against the service and a simulated HubSpot.
pub fn run() -> Result<Done> {
    let python = find("python3").ok_or_else(|| setup::PYTHON.remedy())?;
    let schemathesis = install(python)?;
    generate::build_programs()?;
    let live = Live::start("description")?;
    let mut run = program(schemathesis);
    run.args(["--config-file", CONFIGURATION, "run", &format!("{}/api/openapi.json", live.service)])
        .args(["--header", &format!("Authorization: Bearer {}", live.api_key()?)])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES])
        .arg("--no-color");
    show(&mut run).map(Done::from)
}

/// A virtual environment with what the list names; made anew when the list has changed.
fn install(python: PathBuf) -> Result<PathBuf> {
    let unreadable = |why| format!("{REQUIREMENTS}: {why}");
    let wanted = fs::read_to_string(root().join(REQUIREMENTS)).map_err(unreadable)?;
    let folder = target_dir().join("schemathesis");
    let (note, schemathesis) = (folder.join("installed.txt"), folder.join("bin/schemathesis"));
    if fs::read_to_string(&note).is_ok_and(|installed| installed == wanted) {
        return Ok(schemathesis);
    }
    println!("    installing Schemathesis");
    read(program(python).args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = program(folder.join("bin/pip"));
    read(pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement", REQUIREMENTS]))?;
    fs::write(&note, wanted).map_err(|why| format!("{}: {why}", note.display()))?;
    Ok(schemathesis)
}
