//! The binary: parses the command line, runs it, turns the result into an exit code.

fn main() -> std::process::ExitCode {
    hubspot_connect::cli::main()
}
