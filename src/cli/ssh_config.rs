//! The command `ssh-config`: prints the ssh_config with which ssh uses fumidai, or installs it.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::config::ssh_config::{Program, ssh_config};
use crate::config::{Config, Environment, Verbosity};
use crate::doctor::parse_version;

use super::own_path::found_by_name;
#[cfg(unix)]
use super::report::notes;
use super::report::{ExitKind, LocalError, Report, UsageError};
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

/// Runs the command. `whole_path` writes the program's path even if its name finds it here.
pub(super) fn run(
    action: SshConfigAction,
    whole_path: bool,
    mut config: Config,
    environment: &Environment,
) -> ExitCode {
    // ssh is started elsewhere.
    config.file_by_flag = config.file_by_flag.map(|file| std::path::absolute(&file).unwrap_or(file));
    if let (Some(file), false) = (&config.file_by_flag, action == SshConfigAction::Uninstall)
        && word_of(file).is_none()
    {
        return Report::from(LocalError::ConfigPath { file: file.clone() }).print();
    }
    let text = || {
        refuse_flags(&config)?;
        Ok(ssh_config(&config, &program(whole_path, environment)?))
    };
    let result = match action {
        SshConfigAction::Print => text().map(|text| stdout::print(&text)),
        SshConfigAction::Install => text().and_then(|text| install(&text, config.log.verbosity, environment)),
        SshConfigAction::Uninstall => uninstall(config.log.verbosity, environment),
    };
    result.unwrap_or_else(|report| report.print())
}

/// Refuses flags that cannot be written for every host.
fn refuse_flags(config: &Config) -> Result<(), UsageError> {
    if !config.via.is_empty() {
        return Err(UsageError::ViaForEveryHost);
    }
    let is_secret = |(flag, value): &(String, String)| flag == "--endpoint-url" && value.contains('@');
    if config.given_flags().iter().any(is_secret) {
        return Err(UsageError::PasswordForEveryHost);
    }
    Ok(())
}

fn install(text: &str, verbosity: Verbosity, environment: &Environment) -> Result<ExitCode, Report> {
    let files = ssh_files(environment)?;
    let changes = files.install(text)?;
    print_changes(&changes, "already installed", verbosity);
    if let Some(warning) = other_home(environment) {
        tracing::warn!("{warning}");
        if verbosity != Verbosity::Quiet {
            stderr::print_note(&format!("warning: {warning}"));
        }
    }
    Ok(ExitKind::Done.into())
}

/// ssh reads the ssh_config of the home folder in the password file, whatever `HOME` is.
#[cfg(unix)]
fn other_home(environment: &Environment) -> Option<String> {
    let home = environment.folders.home.as_ref()?;
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok()??;
    let same = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let own = (same(home) != same(&user.dir)).then_some(user.dir)?;
    Some(notes::of_other_home(home, &own.join(".ssh/config")))
}

#[cfg(not(unix))]
fn other_home(_environment: &Environment) -> Option<String> {
    None
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
fn program(whole_path: bool, environment: &Environment) -> Result<Program, Report> {
    let path = std::env::current_exe().map_err(LocalError::OwnPath)?;
    let named = found_by_name(&path, environment).filter(|_| !cfg!(windows) && !whole_path);
    // An update replaces what a link of `PATH` leads to, and may remove the file itself.
    let whole = word_of(named.as_ref().unwrap_or(&path)).map(str::to_owned);
    let called = if named.is_some() { Some("fumidai".to_owned()) } else { whole.clone() };
    let called =
        called.ok_or_else(|| LocalError::OwnPath(io::Error::other("an ssh_config cannot hold it")))?;
    Ok(Program { path: called, is_without_shell: cfg!(windows), whole_path: whole, ssh: ssh_version() })
}

/// Asks ssh for its version; a ssh that is not found or not OpenSSH counts as one that knows little.
fn ssh_version() -> (u32, u32) {
    let output = std::process::Command::new("ssh").arg("-V").stdin(std::process::Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    text.ok().and_then(|text| parse_version(&text)).unwrap_or_default()
}

/// Returns a path as a line of an ssh_config can hold it.
fn word_of(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| !text.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_ssh_is_parsed() {
        for (text, version) in [
            ("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026", Some((9, 2))),
            ("OpenSSH_7.4p1, OpenSSL 1.0.2k-fips  26 Jan 2017", Some((7, 4))),
            ("OpenSSH_for_Windows_8.1p1, LibreSSL 3.0.2", Some((8, 1))),
            ("OpenSSH_10.0p2, LibreSSL 3.3.6", Some((10, 0))),
            ("Dropbear v2022.83", None),
        ] {
            assert_eq!(parse_version(text), version, "{text}");
        }
    }
}
