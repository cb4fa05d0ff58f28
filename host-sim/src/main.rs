//! The command `quoring`; see [`quoring_sim::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    quoring_sim::cli::main()
}
