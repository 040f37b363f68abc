//! The Rust tests, through cargo-nextest where it is installed and `cargo test` elsewhere.

use crate::Result;
use crate::run::{cargo, cargo_build, has_cargo, in_ci, root, show};
use crate::steps::Done;
use std::fs;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::Command;
use std::thread::available_parallelism;

/// The variable with the URL of a PostgreSQL server for the integration suite, on which every test creates its own
/// database.
pub const POSTGRES_URL: &str = "TEST_POSTGRES_URL";

/// The tests to run.
#[derive(Clone, Copy)]
pub enum Part {
    /// All tests.
    All,
    /// All but the integration suite.
    Unit,
    /// The integration suite, `tests/it`.
    Integration,
}

/// Runs the tests, against PostgreSQL if there is a URL, else against SQLite.
pub fn run(part: Part, postgres: Option<&str>) -> Result<Done> {
    let nextest = has_cargo("nextest");
    let mut tests = if nextest { with_nextest(part) } else { with_cargo(part) };
    match postgres {
        Some(url) => tests.env(POSTGRES_URL, url),
        None => tests.env_remove(POSTGRES_URL),
    };
    let report = report_of(profile());
    _ = fs::remove_file(&report);
    let result = show(&mut tests);
    let counted = fs::read_to_string(report).ok().and_then(|report| count(&report)).unwrap_or_default();
    match result {
        Ok(()) => Ok(Done::Passed(counted)),
        Err(why) if counted.is_empty() => Err(why),
        Err(_) => Err(counted),
    }
}

/// Runs them in the whole workspace, filtered by name: selecting a package would compile the dependencies again with
/// fewer features.
fn with_nextest(part: Part) -> Command {
    let mut tests = cargo("nextest");
    tests.args(["run", "--workspace", "--locked", "--profile", profile()]);
    // Many tests wait for a while, so more of them run concurrently than there are processors.
    let processors = available_parallelism().map_or(1, NonZero::get);
    tests.args(["--test-threads", &(processors * 3 / 2).to_string()]);
    match part {
        Part::All => {}
        Part::Unit => _ = tests.args(["--filterset", "not binary(it)"]),
        Part::Integration => _ = tests.args(["--test", "it"]),
    }
    if in_ci() {
        tests.arg("--cargo-quiet");
    }
    tests
}

fn with_cargo(part: Part) -> Command {
    let mut tests = cargo_build("test");
    tests.args(["--workspace", "--no-fail-fast"]);
    match part {
        Part::All => {}
        Part::Unit => _ = tests.args(["--lib", "--bins"]),
        Part::Integration => _ = tests.args(["--test", "it"]),
    }
    tests
}

/// Returns the profile of `.config/nextest.toml`.
fn profile() -> &'static str {
    if in_ci() { "ci" } else { "default" }
}

/// Returns the path of the runner's report, as that file sets it: always in the repository, for every target folder.
fn report_of(profile: &str) -> PathBuf {
    root().join("target/nextest").join(profile).join("junit.xml")
}

/// Returns the numbers on the outermost element of the runner's report.
fn count(report: &str) -> Option<String> {
    let head = report.split_once("<testsuites ")?.1.split_once('>')?.0;
    let number = |name: &str| -> Option<u32> {
        let value = head.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0;
        value.parse().ok()
    };
    let (all, failed) = (number("tests")?, number("failures")? + number("errors")?);
    Some(format!("{all} tests run: {} passed, {failed} failed", all.saturating_sub(failed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_from_the_outermost_element() {
        let report = r#"<?xml version="1.0" encoding="UTF-8"?>
            <testsuites name="nextest-run" tests="12" failures="2" errors="1" uuid="u" time="2.002">
            <testsuite name="it" tests="3" disabled="0" errors="0" failures="0">"#;
        assert_eq!(count(report).as_deref(), Some("12 tests run: 9 passed, 3 failed"));
        assert_eq!(count("no report"), None);
    }
}
