//! The output of commands. A closed pipe or a full disk does not interrupt a command: it is reported at the end.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// The first error of standard output.
static WRITE_ERROR: OnceLock<io::Error> = OnceLock::new();

/// Prints a result on standard output.
pub(super) fn print_line(line: impl Display) {
    if let Err(why) = writeln!(io::stdout(), "{line}") {
        let _ = WRITE_ERROR.set(why);
    }
}

/// Prints a message for the operator on standard error.
pub(super) fn print_error(why: &str) {
    // If standard error is closed too, the message cannot be reported.
    let _ = writeln!(io::stderr(), "hubspot-connect: {why}");
}

/// Returns whether all results were written. A closed pipe (`| head`) is not reported; any other error is.
pub(super) fn was_printed() -> bool {
    let Some(why) = WRITE_ERROR.get() else { return true };
    if why.kind() != ErrorKind::BrokenPipe {
        print_error(&format!("standard output: {why}"));
    }
    false
}
