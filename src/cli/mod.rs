//! What the user typed, and what the user is told.
//!
//! [`run`] is the whole program: arguments, configuration, log, command, exit code. Everything below gets plain values
//! and returns typed errors; only [`report`] prints them.

mod aim;
mod answer_cache;
mod args;
mod chain;
mod completion;
mod connect;
mod explain;
mod explanation;
mod forward;
mod hops;
mod ladder;
mod list;
mod locate;
mod log;
mod log_file;
mod login;
mod man;
mod name_cache;
mod policy;
mod prompt;
pub mod report;
mod setting_flags;
mod ssh_config;
mod ssh_files;
mod stderr;
mod stdout;
mod way;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};

use crate::config::{Color, Config, ConfigError, Environment, Flags, LogSettings};
use crate::names::Region;

use args::{Command, CommandLine, ConnectArgs};
use chain::Chain;
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
        // A wrong config file must not take the manual away.
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
        Command::Connect(args) => run_connect(args, &config, environment),
        Command::Forward(args) => forward::forward(args, &config, environment),
        Command::List(args) => list::list(&config, args),
        Command::Explain(args) => explain::explain(&config, args),
        Command::SshConfig(args) => ssh_config::run(args.action(), config, environment),
        Command::Completions(args) => completion::print_script(args.shell),
        Command::Man(args) => man::print(args.command.as_deref()),
    }
}

fn run_connect(args: &ConnectArgs, config: &Config, environment: &Environment) -> ExitCode {
    let chain = Chain::new(&args.target, args.port, config);
    match chain.and_then(|chain| chain.refuse_lacking().map(|()| chain)) {
        Ok(chain) if chain.hops.is_empty() => connect::connect(chain.config, &chain.entry, chain.goal.port),
        Ok(chain) => hops::connect(chain, environment),
        Err(error) => Report::from(error).print(),
    }
}

/// A region in the target's name overrides every other.
fn in_region(config: Config, region: Option<&Region>) -> Config {
    match region {
        Some(region) => config.in_region(region),
        None => config,
    }
}

/// Resolves the configuration and starts the log, which a wrong configuration gets into as well.
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
    // The help is more use than a sentence that says a command is missing.
    let help = (error.kind() == ErrorKind::MissingSubcommand)
        .then(|| CommandLine::read([OsString::from("fumidai")]).err())
        .flatten();
    // Nobody may be there to read it.
    let _ = help.as_ref().unwrap_or(error).print();
    if is_failure { ExitKind::Usage.into() } else { ExitKind::Done.into() }
}

/// Keeps what is wrong with an ssh_config whose errors nobody sees; values stay out, a URL may hold a password.
fn log_usage(error: &clap::Error) {
    let word = error.get(ContextKind::InvalidArg).or_else(|| error.get(ContextKind::InvalidSubcommand));
    let word = word.map(ToString::to_string).unwrap_or_default();
    tracing::error!(exit = ExitKind::Usage.code(), word, "usage: {}", error.kind());
}

/// Tokens and keys must not reach the disk by a crash.
#[cfg(unix)]
fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    // Lowering a limit cannot fail for want of rights; if it fails nevertheless, that is no reason not to run.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

#[cfg(not(unix))]
fn forbid_core_dumps() {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn a_region_in_the_target_goes_before_the_flag() {
        let settings = Settings { region: Some("us-east-1".into()), ..Settings::default() };
        let flags = Flags { settings, ..Flags::default() };
        let config = Config::resolve(flags, &Environment::default()).expect("valid");
        let same = in_region(config.clone(), None);
        assert_eq!(same.aws.region.as_deref(), Some("us-east-1"));
        let target: crate::names::Destination = "i-0123--eu-central-1".parse().expect("valid");
        assert_eq!(in_region(config, target.region()).aws.region.as_deref(), Some("eu-central-1"));
    }

    #[cfg(unix)]
    #[test]
    fn no_core_is_ever_dumped() {
        use rustix::process::{Resource, getrlimit};

        forbid_core_dumps();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }
}
