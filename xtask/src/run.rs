//! Running other programs: from the root of the repository, without a keyboard, with words when they fail.

use crate::Result;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the repository.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where Cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        // Cargo reads a relative one from the caller's folder, our children run in the root.
        Some(given) => std::path::absolute(&given).unwrap_or_else(|_| given.into()),
        None => root().join("target"),
    }
}

/// Whether a machine is watching, which has no use for progress.
pub fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// A program that will run in the root of the repository and is never asked anything.
pub fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// A Cargo subcommand.
pub fn cargo(subcommand: &str) -> Command {
    let mut command = program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).env("CARGO_TARGET_DIR", target_dir());
    without_own_package(&mut command);
    command
}

/// Cargo tells a program that it runs which package it is of. Told to the next Cargo, that looks like a change of
/// environment to build scripts that watch it, and much is built anew each time one goes from `cargo xtask` to Cargo
/// itself and back.
fn without_own_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// A Cargo subcommand that compiles: it tells its progress to people and only its findings to machines.
pub fn cargo_build(subcommand: &str) -> Command {
    let mut command = cargo(subcommand);
    command.arg("--locked");
    if in_ci() {
        command.arg("--quiet");
    }
    command
}

/// Whether `cargo <subcommand>` is installed.
pub fn has_cargo(subcommand: &str) -> bool {
    cargo(subcommand).arg("--version").output().is_ok_and(|answer| answer.status.success())
}

/// Runs a program whose output the person sees.
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

/// The full path of a program, if the shell would find it.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The program and its first argument, as people call it: `cargo clippy`, not its forty arguments.
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
    fn the_next_cargo_is_not_told_of_our_own_package() {
        assert!(env::var_os("CARGO_MANIFEST_DIR").is_some(), "Cargo tells this test");
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
