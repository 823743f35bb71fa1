//! A simulated AWS Session Manager, for trying and testing fumidai without an AWS account.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    fumidai::sim::cli::run(std::env::args_os().collect(), fumidai)
}

/// fumidai's own command line; the first argument is the program's name.
fn fumidai(_arguments: Vec<OsString>) -> ExitCode {
    ExitCode::FAILURE
}
