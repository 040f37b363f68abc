//! Child processes: run from the root of the repository, without input, with clear errors.

use crate::Result;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns the root of the repository.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Returns Cargo's target folder.
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        // Cargo resolves a relative path against the caller's folder, but the child processes run in the root.
        Some(given) => std::path::absolute(&given).unwrap_or_else(|_| given.into()),
        None => root().join("target"),
    }
}

/// Returns whether this is a CI run, which needs no progress output.
pub fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Returns a command that runs in the root of the repository, without input.
pub fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Returns a Cargo subcommand.
pub fn cargo(subcommand: &str) -> Command {
    let mut command = program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).env("CARGO_TARGET_DIR", target_dir());
    without_own_package(&mut command);
    command
}

/// Removes the variables in which Cargo describes the running package. To the next Cargo they look like a change of
/// environment for build scripts that watch them, and much would be rebuilt after each change between `cargo xtask` and
/// Cargo itself.
fn without_own_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// Returns a Cargo subcommand that compiles: with progress at a terminal, and without in CI.
pub fn cargo_build(subcommand: &str) -> Command {
    let mut command = cargo(subcommand);
    command.arg("--locked");
    if in_ci() {
        command.arg("--quiet");
    }
    command
}

/// Returns whether `cargo <subcommand>` is installed.
pub fn has_cargo(subcommand: &str) -> bool {
    cargo(subcommand).arg("--version").output().is_ok_and(|answer| answer.status.success())
}

/// Runs a program with visible output.
pub fn show(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|why| format!("{} could not be started: {why}", name(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} failed ({status})", name(command))) }
}

/// Runs a program whose output only matters when it fails, and returns its standard output.
pub fn read(command: &mut Command) -> Result<String> {
    let answer = command.output().map_err(|why| format!("{} could not be started: {why}", name(command)))?;
    if answer.status.success() {
        return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
    }
    let said = [answer.stdout, answer.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(format!("{} failed ({}):\n{}", name(command), answer.status, said.trim()))
}

/// Returns the full path of a program on the path.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Returns the program and its first argument: `cargo clippy`, not its forty arguments.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    match command.get_args().next() {
        Some(first) => format!("`{} {}`", program.display(), first.display()),
        None => format!("`{}`", program.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_cargo_gets_no_package_variables() {
        assert!(env::var_os("CARGO_MANIFEST_DIR").is_some(), "Cargo sets it for this test");
        let names = ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR"];
        let removed: Vec<_> = cargo("build")
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in names {
            assert!(removed.iter().any(|removed| removed == name), "{name}");
        }
    }
}
