//! The binary: parses the command line, runs it, and maps the result to an exit code.

/// Faster than the C library's allocator at the many small allocations of a request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    hubspot_connect::cli::main()
}
