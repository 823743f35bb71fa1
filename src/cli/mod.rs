//! What people type and read: arguments, commands, error reports, log, completion, manual.
//!
//! [`run`] is the whole program: arguments, configuration, log, command, exit code. The layers below get plain values and
//! return typed errors; only [`report`] prints errors. A command decides nothing about AWS, routes or sessions.

mod args;
mod completers;
mod completion;
mod connect;
mod explain;
mod forward;
mod list;
mod log;
mod log_file;
mod man;
mod prompt;
pub mod report;
mod runtime;
mod setting_flags;
mod ssh_config;
mod ssh_files;
mod stderr;
mod stdout;

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};

use crate::config::{Color, Config, ConfigError, Environment, Flags, LogSettings, ValueError};

use args::{Command, CommandLine};
use report::{ExitKind, Report};

/// Runs the program with its arguments, the program's own name first, and returns what to exit with.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    forbid_core_dumps();
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(exit) = completion::answer(&args) {
        return exit;
    }
    let environment = Environment::from_process();
    let (command, flags) = match CommandLine::read(args) {
        Ok(line) => line.into_parts(),
        Err(error) => return print_usage(&error, &environment),
    };
    match &command {
        // These work with a wrong config file too.
        Command::Completions(args) => return completion::print_script(args.shell),
        Command::Man(args) => return man::print(args.command.as_deref()),
        Command::Connect(_)
        | Command::Forward(_)
        | Command::List(_)
        | Command::Explain(_)
        | Command::SshConfig(_) => {}
    }
    match configure(flags, &environment) {
        Ok(config) => dispatch(&command, config, &environment),
        Err(error) => Report::from(error).print(),
    }
}

fn dispatch(command: &Command, config: Config, environment: &Environment) -> ExitCode {
    match command {
        Command::Connect(args) => connect::connect(args, &config, environment),
        Command::Forward(args) => forward::forward(args, &config, environment),
        Command::List(args) => list::list(&config, args),
        Command::Explain(args) => explain::explain(&config, args),
        Command::SshConfig(args) => ssh_config::run(args.action(), config, environment),
        Command::Completions(args) => completion::print_script(args.shell),
        Command::Man(args) => man::print(args.command.as_deref()),
    }
}

/// Resolves the configuration and starts the log; an error of the configuration is logged too.
fn configure(flags: Flags, environment: &Environment) -> Result<Config, ConfigError> {
    let without = LogSettings::without_config(&flags, environment);
    let color = flags.settings.color.unwrap_or_default();
    let config = Config::resolve(flags, environment).inspect_err(|_| log::start(&without, color))?;
    log::start(&config.log, config.color);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

/// Prints clap's text in clap's form: an error, or the help that was asked for.
fn print_usage(error: &clap::Error, environment: &Environment) -> ExitCode {
    let is_failure = error.exit_code() != 0;
    if is_failure {
        log::start(&LogSettings::without_config(&Flags::default(), environment), Color::Auto);
        log_usage(error);
    }
    // Without a command the help is printed.
    let help = (error.kind() == ErrorKind::MissingSubcommand)
        .then(|| CommandLine::read([OsString::from("fumidai")]).err())
        .flatten();
    let _ = help.as_ref().unwrap_or(error).print();
    if is_failure { usage_exit(error).into() } else { ExitKind::Done.into() }
}

/// A region that is not one is a wrong configuration, wherever it comes from.
fn usage_exit(error: &clap::Error) -> ExitKind {
    match error.source().and_then(|source| source.downcast_ref()) {
        Some(ValueError::NotARegion(_)) => ExitKind::Configuration,
        Some(_) | None => ExitKind::Usage,
    }
}

/// Logs a usage error: an ssh_config can hide standard error. Values are left out, since a URL may hold a password.
fn log_usage(error: &clap::Error) {
    let word = error.get(ContextKind::InvalidArg).or_else(|| error.get(ContextKind::InvalidSubcommand));
    let word = word.map(ToString::to_string).unwrap_or_default();
    tracing::error!(exit = usage_exit(error).code(), word, "usage: {}", error.kind());
}

/// Prevents that a crash writes tokens and keys to the disk.
#[cfg(unix)]
fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    // Lowering a limit needs no rights. If it fails all the same, the program can run.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

#[cfg(not(unix))]
fn forbid_core_dumps() {}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    #[test]
    fn core_dumps_are_forbidden() {
        use rustix::process::{Resource, getrlimit};

        super::forbid_core_dumps();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }
}
