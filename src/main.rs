//! The binary: parses the command line, runs it, turns the result into an exit code.

/// Requests are served with many small allocations, which it is quicker at than the C library.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    hubspot_connect::cli::main()
}
