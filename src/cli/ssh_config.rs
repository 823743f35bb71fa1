//! The command `ssh-config`: prints the ssh_config that leads ssh through fumidai, or installs it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::ssh_config::{Program, ssh_config};
use crate::config::{Config, Environment, Verbosity};

use super::report::{ExitKind, Report};
use super::ssh_files::{Change, InstallError, SshFiles};
use super::{stderr, stdout};

/// What is to be done with the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Print it.
    Print,
    /// Write it beside the user's ssh_config, and have that include it.
    Install,
    /// Undo that.
    Uninstall,
}

/// Runs the command.
pub(super) fn run(action: Action, mut config: Config, environment: &Environment) -> ExitCode {
    // ssh is started elsewhere.
    config.file_by_flag = config.file_by_flag.map(|file| std::path::absolute(&file).unwrap_or(file));
    if let (Some(file), false) = (&config.file_by_flag, action == Action::Uninstall)
        && word_of(file).is_none()
    {
        let cause = format!("an ssh_config cannot hold the path `{}`", file.display());
        return Report::new(ExitKind::Failure, cause)
            .hint("rename that file, or set `FUMIDAI_CONFIG`")
            .print();
    }
    let result = match action {
        Action::Print => program(environment).map(|program| stdout::print(&ssh_config(&config, &program))),
        Action::Install => install(&config, environment),
        Action::Uninstall => uninstall(config.log.verbosity, environment),
    };
    result.unwrap_or_else(|report| report.print())
}

fn install(config: &Config, environment: &Environment) -> Result<ExitCode, Report> {
    let text = ssh_config(config, &program(environment)?);
    let files = ssh_files(environment)?;
    let changes = files.install(&text).map_err(of_install)?;
    tell(&changes, "everything is in place already", config.log.verbosity);
    Ok(ExitKind::Done.into())
}

fn uninstall(verbosity: Verbosity, environment: &Environment) -> Result<ExitCode, Report> {
    let changes = ssh_files(environment)?.uninstall().map_err(of_install)?;
    tell(&changes, "there is nothing to take away", verbosity);
    Ok(ExitKind::Done.into())
}

fn tell(changes: &[Change], nothing: &str, verbosity: Verbosity) {
    for change in changes {
        tracing::info!("{change}");
    }
    if verbosity == Verbosity::Quiet {
        return;
    }
    match changes {
        [] => stderr::print_note(nothing),
        some => some.iter().for_each(|change| stderr::print_note(&change.to_string())),
    }
}

fn ssh_files(environment: &Environment) -> Result<SshFiles, Report> {
    let home = environment.folders.home.as_ref();
    let home =
        home.ok_or_else(|| Report::new(ExitKind::Failure, "there is no home folder to install into"))?;
    Ok(SshFiles::of_home(home))
}

fn of_install(error: InstallError) -> Report {
    let report = Report::new(ExitKind::Failure, error.to_string());
    match error {
        InstallError::NotOurs { .. } => report.hint("move that file away, or remove it, and try again"),
        InstallError::Path { .. } => report.hint("`fumidai ssh-config` prints the text, to be put anywhere"),
        InstallError::NotAFile { .. } => {
            report.hint("replace it by a regular file, or use `fumidai ssh-config`, which prints the text")
        }
        InstallError::Io { .. } => report,
    }
}

/// Finds how ssh should call this program: by its name where that finds this very file, else by its path.
fn program(environment: &Environment) -> Result<Program, Report> {
    let unknown = |error: io::Error| {
        Report::new(ExitKind::Failure, format!("cannot tell where this program is: {error}"))
    };
    let path = std::env::current_exe().map_err(unknown)?;
    if !cfg!(windows) && is_found_by_name(&path, environment) {
        return Ok(Program { path: "fumidai".to_owned(), is_without_shell: false });
    }
    let text =
        word_of(&path).ok_or_else(|| unknown(io::Error::other("an ssh_config cannot hold its path")))?;
    Ok(Program { path: text.to_owned(), is_without_shell: cfg!(windows) })
}

/// Returns a path as a line of an ssh_config can hold it.
fn word_of(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| !text.contains(char::is_control))
}

fn is_found_by_name(program: &Path, environment: &Environment) -> bool {
    let paths = environment.path("PATH").unwrap_or_default();
    let named: Option<PathBuf> =
        std::env::split_paths(&paths).map(|folder| folder.join("fumidai")).find(|path| path.is_file());
    let same = |path: PathBuf| Some(path.canonicalize().ok()? == program.canonicalize().ok()?);
    named.and_then(same).unwrap_or(false)
}
