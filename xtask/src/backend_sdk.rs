//! The clients for a host's backend: their types, and a complete run against the real service.

use crate::live::{HOST, Live};
use crate::run::{program, root, show};
use crate::steps::Done;
use crate::{Result, browser, generate, setup};
use std::process::Command;

const TYPESCRIPT: &str = "sdk/server";
const PYTHON: &str = "sdk/python";

/// Checks both clients and runs them.
pub fn run() -> Result<Done> {
    if setup::NODE.is_missing() {
        return Err(setup::NODE.remedy());
    }
    let python = setup::python_packages(PYTHON)?;
    browser::install_packages(TYPESCRIPT)?;
    for task in ["check", "build"] {
        show(program("npm").args(["run", "--silent", task]).current_dir(root().join(TYPESCRIPT)))?;
    }
    show(program(&python).args(["-m", "mypy"]).current_dir(root().join(PYTHON)))?;
    generate::build_programs()?;
    let live = Live::start("sdk")?;
    let key = live.api_key()?;
    let mut npm = program("npm");
    npm.args(["run", "--silent", "test"]).current_dir(root().join(TYPESCRIPT));
    show(with_service(&mut npm, &live, &key))?;
    let mut tests = program(python);
    tests.args(["-m", "unittest", "discover", "-s", "tests"]).current_dir(root().join(PYTHON));
    tests.env("PERSON", root().join(TYPESCRIPT).join("test/person.mjs")).env("PYTHONPATH", ".");
    show(with_service(&mut tests, &live, &key)).map(Done::from)
}

/// Sets the variables with the addresses and the key.
fn with_service<'a>(tests: &'a mut Command, live: &Live, key: &str) -> &'a mut Command {
    tests.env("SERVICE", &live.service).env("API_KEY", key).env("ORIGIN", HOST)
}
