//! The command line of `fumidai-sim`.
//!
//! `serve` runs a simulator until it is stopped, and `demo` shows ssh through it. After the hidden first argument
//! `fumidai`, the rest is fumidai's command line, so that one build has both.

mod demo;
mod serve;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The entry point of fumidai's command line.
pub type Fumidai = fn(Vec<OsString>) -> ExitCode;

/// A simulated AWS Session Manager: try and test fumidai without an AWS account.
#[derive(Debug, Parser)]
#[command(name = "fumidai-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show ssh and scp through a simulated session, with a lost connection.
    Demo,
    /// Run the simulator until Ctrl-C, and print the environment with which programs use it.
    Serve(Box<serve::Options>),
}

/// Runs the program.
pub fn run(arguments: Vec<OsString>, fumidai: Fumidai) -> ExitCode {
    if arguments.get(1).is_some_and(|word| word == "fumidai") {
        return fumidai(arguments.into_iter().skip(1).collect());
    }
    let is_serve = arguments.get(1).is_some_and(|word| word == "serve");
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to stdout and usage errors to stderr; a failed write cannot be reported.
            let _ = error.print();
            if error.use_stderr() && is_serve {
                serve::forget();
            }
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match execute(arguments.command) {
        Ok(code) => code,
        // Standard output has no reader any more: `fumidai-sim demo | head -1`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            if is_serve {
                serve::forget();
            }
            print_error(&format!("fumidai-sim: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        match command {
            Command::Demo => demo::run().await,
            Command::Serve(options) => serve::run(&options).await,
        }
    });
    runtime.shutdown_background();
    code
}

/// Writes a line to stdout.
fn print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Writes a line to stderr; a failed write cannot be reported.
fn print_error(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_hidden_argument_runs_fumidai() {
        let fumidai: Fumidai =
            |arguments| ExitCode::from(if arguments == ["fumidai", "connect", "i-1", "22"] { 7 } else { 1 });
        let code = run(strings(&["fumidai-sim", "fumidai", "connect", "i-1", "22"]), fumidai);
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(7)));
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
