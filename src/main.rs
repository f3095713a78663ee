//! The process shell: reads the command line, sets up the log, and wires the rooms together. No other file knows all of
//! them.

mod cli;

use std::process::ExitCode;

/// The allocator of long-running, many-threaded servers: the system's holds on to fragments.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
