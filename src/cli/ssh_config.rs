//! The command `ssh-config`: prints the ssh_config with which ssh uses fumidai, or installs it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::ssh_config::{Program, ssh_config};
use crate::config::{Config, Environment, Verbosity};

use super::report::{ExitKind, LocalError, Report};
use super::ssh_files::{Change, SshFiles};
use super::{stderr, stdout};

/// What is to be done with the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SshConfigAction {
    /// Print it.
    Print,
    /// Write it beside the user's ssh_config, and have that include it.
    Install,
    /// Undo that.
    Uninstall,
}

/// Runs the command.
pub(super) fn run(action: SshConfigAction, mut config: Config, environment: &Environment) -> ExitCode {
    // ssh is started elsewhere.
    config.file_by_flag = config.file_by_flag.map(|file| std::path::absolute(&file).unwrap_or(file));
    let result = match action {
        SshConfigAction::Print => {
            program(environment).map(|program| stdout::print(&ssh_config(&config, &program)))
        }
        SshConfigAction::Install => install(&config, environment),
        SshConfigAction::Uninstall => uninstall(config.log.verbosity, environment),
    };
    result.unwrap_or_else(|report| report.print())
}

fn install(config: &Config, environment: &Environment) -> Result<ExitCode, Report> {
    let text = ssh_config(config, &program(environment)?);
    let files = ssh_files(environment)?;
    let changes = files.install(&text)?;
    print_changes(&changes, "already installed", config.log.verbosity);
    Ok(ExitKind::Done.into())
}

fn uninstall(verbosity: Verbosity, environment: &Environment) -> Result<ExitCode, Report> {
    let changes = ssh_files(environment)?.uninstall()?;
    print_changes(&changes, "nothing to uninstall", verbosity);
    Ok(ExitKind::Done.into())
}

fn print_changes(changes: &[Change], nothing: &str, verbosity: Verbosity) {
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
    Ok(SshFiles::of_home(home.ok_or(LocalError::NoHome)?))
}

/// Returns how ssh runs this program: by name if `PATH` has this very file, else by path.
fn program(environment: &Environment) -> Result<Program, Report> {
    let path = std::env::current_exe().map_err(LocalError::OwnPath)?;
    if !cfg!(windows) && is_found_by_name(&path, environment) {
        return Ok(Program { path: "fumidai".to_owned(), is_without_shell: false });
    }
    let text = path.to_str().filter(|text| !text.contains(char::is_control));
    let text = text.ok_or_else(|| LocalError::OwnPath(io::Error::other("an ssh_config cannot hold it")))?;
    Ok(Program { path: text.to_owned(), is_without_shell: cfg!(windows) })
}

fn is_found_by_name(program: &Path, environment: &Environment) -> bool {
    let paths = environment.path("PATH").unwrap_or_default();
    let named: Option<PathBuf> =
        std::env::split_paths(&paths).map(|folder| folder.join("fumidai")).find(|path| path.is_file());
    let same = |path: PathBuf| Some(path.canonicalize().ok()? == program.canonicalize().ok()?);
    named.and_then(same).unwrap_or(false)
}
