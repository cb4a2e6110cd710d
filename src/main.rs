//! The program: hands over to the command line. Nothing else.

use std::process::ExitCode;

/// Its pages go back to the system, and threads do not wait for each other in it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tailwater::cli::run()
}
