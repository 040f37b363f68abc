//! What commands say, and to whom. A reader that has gone, or a disk that is full, stops no work that was begun: it is told
//! of in the end.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// Why a line did not get out.
static WRITE_ERROR: OnceLock<io::Error> = OnceLock::new();

/// What a command was asked for: on standard output.
pub(super) fn print_line(line: impl Display) {
    if let Err(why) = writeln!(io::stdout(), "{line}") {
        let _ = WRITE_ERROR.set(why);
    }
}

/// What the person at the terminal is to know: on standard error.
pub(super) fn print_error(why: &str) {
    // If that is gone, nobody is there to be told.
    let _ = writeln!(io::stderr(), "hubspot-connect: {why}");
}

/// Whether all that was said got out. A reader that has read enough (`| head`) knows it already; of everything else the
/// person is told.
pub(super) fn was_printed() -> bool {
    let Some(why) = WRITE_ERROR.get() else { return true };
    if why.kind() != ErrorKind::BrokenPipe {
        print_error(&format!("standard output: {why}"));
    }
    false
}
