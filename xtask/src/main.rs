//! The tasks of this repository. `cargo xtask` alone prints the list.
//!
//! A new command is one file with a struct that implements [`Task`], and one line in [`tasks`]. The list shows the
//! first sentence of the struct's documentation.
#![expect(clippy::print_stdout, reason = "a command-line program prints to standard output")]

mod backend_sdk;
mod bench;
mod browser;
mod check;
mod compatibility;
mod deploy;
mod docs;
mod generate;
mod links;
mod lint;
mod live;
mod log_events;
mod pictures;
mod postgres;
mod promises;
mod run;
mod sbom;
mod schemathesis;
mod sdk;
mod setup;
mod siege;
mod steps;
mod suite;
mod test;
mod torture;
mod words;

use clap::{ArgMatches, Args, Command};
use std::process::ExitCode;

/// A failure is a sentence for the terminal; no failure is handled by kind.
type Result<T> = std::result::Result<T, String>;

/// A command of `cargo xtask`; its fields are its arguments.
trait Task: Args {
    /// Does the work.
    fn run(self) -> Result<()>;
}

/// Lists the tasks.
fn tasks() -> Vec<Entry> {
    vec![
        Entry::of::<check::Check>("check"),
        Entry::of::<test::Test>("test"),
        Entry::of::<lint::Lint>("lint"),
        Entry::of::<words::Words>("words"),
        Entry::of::<setup::Setup>("setup"),
        Entry::of::<postgres::Postgres>("postgres"),
        Entry::of::<generate::Generate>("generate"),
        Entry::of::<pictures::Pictures>("pictures"),
        Entry::of::<docs::Docs>("docs"),
        Entry::of::<sbom::Sbom>("sbom"),
        Entry::of::<bench::Bench>("bench"),
        Entry::of::<torture::Torture>("torture"),
        Entry::of::<siege::Siege>("siege"),
    ]
}

/// An entry of the list: the command's name, and the function that starts it.
struct Entry {
    command: Command,
    start: fn(&ArgMatches) -> Result<()>,
}

impl Entry {
    fn of<T: Task>(name: &'static str) -> Self {
        Self {
            command: T::augment_args(Command::new(name)),
            start: |arguments| T::from_arg_matches(arguments).map_err(|wrong| wrong.to_string())?.run(),
        }
    }
}

fn main() -> ExitCode {
    let tasks = tasks();
    let mut list = Command::new("cargo xtask")
        .bin_name("cargo xtask")
        .about("The tasks of this repository")
        .disable_help_subcommand(true)
        .subcommands(tasks.iter().map(|task| task.command.clone()));
    let given = list.get_matches_mut();
    let Some((name, arguments)) = given.subcommand() else {
        print!("{}", list.render_help());
        return ExitCode::SUCCESS;
    };
    let chosen = tasks.iter().find(|task| task.command.get_name() == name);
    match chosen.map_or_else(|| Err(format!("no such command: {name}")), |task| (task.start)(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
