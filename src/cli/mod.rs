//! What people type and read: arguments, commands, error reports, log, completion, manual.
//!
//! [`run`] is the whole program: arguments, configuration, log, command, exit code. The layers below get plain values and
//! return typed errors; only [`report`] prints errors. A command decides nothing about AWS, routes or sessions.

mod args;
mod audit;
mod bastion;
mod child;
mod columns;
mod completers;
mod completion;
mod connect;
mod doctor;
mod duration;
mod explain;
mod forward;
mod host_keys;
mod init;
mod life_notes;
mod list;
mod log;
mod log_file;
mod man;
mod own_path;
mod prompt;
mod reason;
mod recording;
pub mod report;
mod running;
mod runtime;
mod sessions;
mod setting_flags;
mod ssh_config;
mod ssh_files;
mod start_page;
mod stderr;
mod stdout;
mod token;

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::{Color, Config, ConfigError, Environment, Flags, LogSettings, ValueError};
use crate::jump::terminal;
use crate::keys;

use args::{Command, CommandLine};
use report::{ExitKind, LocalError, Report, UsageError};

/// Runs the program with its arguments, the program's own name first, and returns what to exit with.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let exit = run_command(args.into_iter().collect());
    stderr::finish();
    exit
}

fn run_command(args: Vec<OsString>) -> ExitCode {
    forbid_core_dumps();
    survive_file_size_limit();
    if keys::watch(&args) {
        return ExitKind::Done.into();
    }
    if let Some(exit) = completion::answer(&args) {
        return exit;
    }
    let environment = Environment::from_process();
    if environment.flag("FUMIDAI_NO_INPUT") {
        terminal::forbid();
    }
    let (command, flags) = match CommandLine::read(args.iter().cloned()) {
        Ok(line) => line.into_parts(),
        Err(_) if args.len() < 2 && std::io::stdout().is_terminal() => {
            return start_page::print(&environment);
        }
        Err(error) => {
            if is_json(&args) {
                report::print_as_json();
                log_usage(&error);
                return Report::from(UsageError::CommandLine { text: error.to_string() }).print();
            }
            let exit = print_usage(&error, &environment);
            if let Some(hint) = usage_hint(&error, &args) {
                stderr::print_note(&format!("hint: {hint}"));
            }
            return exit;
        }
    };
    if flags.no_input {
        terminal::forbid();
    }
    if command.is_json() {
        report::print_as_json();
    }
    match &command {
        // These work with a wrong config file too.
        Command::Completions(args) => return completion::print_script(args.shell),
        Command::Man(args) => return man::print(args),
        Command::Init(_)
        | Command::Connect(_)
        | Command::Forward(_)
        | Command::Up(_)
        | Command::Down(_)
        | Command::Status(_)
        | Command::Logs(_)
        | Command::Restart(_)
        | Command::Bastion(_)
        | Command::Doctor(_)
        | Command::List(_)
        | Command::Explain(_)
        | Command::Audit(_)
        | Command::Sessions(_)
        | Command::Token(_)
        | Command::HostKeys(_)
        | Command::SshConfig(_) => {}
    }
    // Before the log or the config file can get its number.
    let descriptor = ready_descriptor(&command);
    let config = match configure(flags, &environment) {
        Ok(config) => config,
        Err(error) => {
            let report = Report::from(error);
            if let Command::Doctor(args) = &command {
                return doctor::broken_config(&report, args.json);
            }
            if let Command::Forward(args) = &command {
                return forward::give_up(args, &report);
            }
            return report.print();
        }
    };
    match descriptor {
        Ok(descriptor) => dispatch(&command, config, &environment, descriptor),
        Err(error) => Report::from(error).print(),
    }
}

/// Returns true if `--json` was typed on a command line that cannot be read; not for `--help` and `--version`.
fn is_json(args: &[OsString]) -> bool {
    let has = |word: &str| args.iter().any(|arg| arg == word);
    has("--json") && !["-h", "--help", "-V", "--version"].into_iter().any(has)
}

/// Takes the descriptor that the caller opened for `--ready-fd`.
fn ready_descriptor(command: &Command) -> Result<Option<(i32, File)>, LocalError> {
    match command {
        Command::Forward(args) => args.ready_fd.map(forward::take_descriptor).transpose(),
        Command::Init(_)
        | Command::Connect(_)
        | Command::Up(_)
        | Command::Down(_)
        | Command::Status(_)
        | Command::Logs(_)
        | Command::Restart(_)
        | Command::Bastion(_)
        | Command::Doctor(_)
        | Command::List(_)
        | Command::Explain(_)
        | Command::Audit(_)
        | Command::Sessions(_)
        | Command::Token(_)
        | Command::HostKeys(_)
        | Command::SshConfig(_)
        | Command::Completions(_)
        | Command::Man(_) => Ok(None),
    }
}

fn dispatch(
    command: &Command,
    config: Config,
    environment: &Environment,
    descriptor: Option<(i32, File)>,
) -> ExitCode {
    match command {
        Command::Init(args) => init::init(args, config, environment),
        Command::Connect(args) => connect::connect(args, &config, environment),
        Command::Forward(args) => forward::forward(args, &config, environment, descriptor),
        Command::Up(args) => running::up(args, &config, environment),
        Command::Down(args) => running::down(args, &config, environment),
        Command::Status(args) => running::status(args, &config, environment),
        Command::Logs(args) => running::logs(args, &config, environment),
        Command::Restart(args) => running::restart(args, &config, environment),
        Command::Bastion(args) => bastion::run(&args.command, &config, environment),
        Command::Doctor(args) => doctor::doctor(args, &config, environment),
        Command::List(args) => list::list(&config, args),
        Command::Explain(args) => explain::explain(&config, args),
        Command::Sessions(args) => sessions::run(args, &config, environment),
        Command::Token(args) => token::run(&args.command, &config),
        Command::Audit(args) => audit::run(&args.command, &config, environment),
        Command::HostKeys(args) => host_keys::host_keys(args, &config, environment),
        Command::SshConfig(args) => ssh_config::run(args.action(), args.whole_path, config, environment),
        Command::Completions(args) => completion::print_script(args.shell),
        Command::Man(args) => man::print(args),
    }
}

/// Resolves the configuration and starts the log; an error of the configuration is logged too.
fn configure(flags: Flags, environment: &Environment) -> Result<Config, ConfigError> {
    let without = LogSettings::without_config(&flags, environment);
    let color = flags.settings.color.unwrap_or_default();
    let config = Config::resolve(flags, environment).inspect_err(|_| log::start(&without, color))?;
    log::start(&config.log, config.color);
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

/// Returns the command that was meant by a word that is not a command.
fn usage_hint(error: &clap::Error, args: &[OsString]) -> Option<String> {
    const THROUGH_SSH: [&str; 6] = ["ssh", "scp", "sftp", "rsync", "ssh-copy-id", "sshfs"];
    const FORWARDS: [&str; 5] = ["tunnel", "port-forward", "portforward", "proxy", "socks"];
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let at = args.iter().position(|arg| arg.to_str() == Some(word))?;
    let words: Vec<&str> = args.get(at..)?.iter().filter_map(|arg| arg.to_str()).collect();
    if THROUGH_SSH.contains(&word.as_str()) {
        let words = words.join(" ");
        return Some(format!(
            "run `fumidai ssh-config --install` once, then `{words}`: ssh goes through fumidai"
        ));
    }
    if FORWARDS.contains(&word.as_str()) {
        return Some("run `fumidai forward`: `fumidai forward --help` has its forms".to_owned());
    }
    let is_target = word.starts_with("i-") || word.starts_with("mi-") || word.contains(['@', ':']);
    is_target.then(|| {
        format!("run `ssh {0}` to log in, `fumidai connect {0}` for ssh's ProxyCommand", words.join(" "))
    })
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

/// Makes a write beyond the size limit of files fail, as a write to a full disk does: SIGXFSZ would end the process, and no
/// session would be ended. The handler sets a flag that is not read.
#[cfg(unix)]
fn survive_file_size_limit() {
    use rustix::process::Signal;

    let _ = signal_hook::flag::register(Signal::XFSZ.as_raw(), Arc::default());
}

#[cfg(not(unix))]
fn survive_file_size_limit() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_goes_through_fumidai_is_suggested() {
        for (line, hint) in [
            (
                "fumidai ssh me@web -v",
                Some("run `fumidai ssh-config --install` once, then `ssh me@web -v`: "),
            ),
            ("fumidai -q scp a web:b", Some("run `fumidai ssh-config --install` once, then `scp a web:b`: ")),
            ("fumidai i-0123", Some("run `ssh i-0123` to log in")),
            ("fumidai tunnel web", Some("run `fumidai forward`")),
            ("fumidai conect web", None),
            ("fumidai connect", None),
        ] {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let error = CommandLine::read(args.iter().cloned()).err().expect(line);
            let found = usage_hint(&error, &args);
            assert_eq!(found.is_some(), hint.is_some(), "{line}: {found:?}");
            assert!(found.unwrap_or_default().starts_with(hint.unwrap_or_default()), "{line}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn core_dumps_are_forbidden() {
        use rustix::process::{Resource, getrlimit};

        super::forbid_core_dumps();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }
}
