//! The browser suite: `e2e/`, run by Node's own test runner against the demo.

use crate::run::{find, program, root, show, target_dir};
use crate::setup;
use crate::steps::Done;
use crate::{Result, generate};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;
use std::{env, fs};

/// The variable that names Chromium to the suite.
pub const CHROMIUM: &str = "CHROMIUM";

/// The variable that names Firefox to the suite.
const FIREFOX: &str = "FIREFOX";

/// Names under which the browser is installed, the one of Debian first.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Runs the suite, or returns the reason for skipping it.
pub fn run() -> Result<Done> {
    if !suite_exists() {
        return Ok(Done::Skipped("there is no e2e/package.json".to_owned()));
    }
    let files = test_files(&root().join("e2e"))?;
    if files.is_empty() {
        return Err("e2e/ holds no file that ends in .test.js or .test.mjs".to_owned());
    }
    // One file per core: Node leaves one core idle, and the tests wait for the browser half of the time.
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let mut node = node_tests()?;
    node.arg(format!("--test-concurrency={cores}")).args(&files);
    show(&mut node).map(Done::from)
}

/// Node's test runner with everything that a file of the suite needs, built and installed.
pub fn node_tests() -> Result<Command> {
    let chromium = chromium().ok_or_else(|| setup::CHROMIUM.remedy())?;
    if setup::NODE.is_missing() {
        return Err(setup::NODE.remedy());
    }
    install_packages("e2e")?;
    let python = setup::python_packages("e2e")?;
    generate::build_programs()?;
    let mut node = program("node");
    node.args(["--test", "--test-reporter=spec"]);
    node.env(CHROMIUM, chromium).env("DEMO", target_dir().join("debug/demo"));
    node.env("SERVICE", target_dir().join("debug/hubspot-connect")).env("PYTHON", python);
    if let Some(firefox) = firefox() {
        node.env(FIREFOX, firefox);
    }
    Ok(node)
}

/// Installs a folder's npm packages, unless that was done since their list last changed.
pub fn install_packages(folder: &str) -> Result<()> {
    let folder = root().join(folder);
    let written = |file: &str| fs::metadata(folder.join(file)).and_then(|about| about.modified()).ok();
    // npm's own record of what it has installed.
    if written("node_modules/.package-lock.json") >= written("package-lock.json") {
        return Ok(());
    }
    show(program("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder)).map(|_| ())
}

/// Returns whether the repository has the suite.
pub fn suite_exists() -> bool {
    root().join("e2e/package.json").exists()
}

/// Returns Chromium: the one that `CHROMIUM` names, or the installed one.
pub fn chromium() -> Option<PathBuf> {
    env::var_os(CHROMIUM).map(PathBuf::from).or_else(|| NAMES.into_iter().find_map(find))
}

/// Returns Firefox, in which a part of the suite runs where it is installed.
pub fn firefox() -> Option<PathBuf> {
    env::var_os(FIREFOX).map(PathBuf::from).or_else(|| ["firefox-esr", "firefox"].into_iter().find_map(find))
}

/// Lists the test files, because `node --test` reads a folder differently from version to version.
fn test_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |why| format!("{}: {why}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "node_modules" {
            files.extend(test_files(&path)?);
        } else if name.ends_with(".test.js") || name.ends_with(".test.mjs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
