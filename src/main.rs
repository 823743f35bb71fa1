//! The program `fumidai`: the library with the process's own arguments.

use std::process::ExitCode;

fn main() -> ExitCode {
    fumidai::cli::run(std::env::args_os())
}
