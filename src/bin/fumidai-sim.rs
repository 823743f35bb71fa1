//! A simulated AWS Session Manager, for trying and testing fumidai without an AWS account.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    fumidai::sim::cli::run(std::env::args_os().collect(), fumidai::cli::run)
}
