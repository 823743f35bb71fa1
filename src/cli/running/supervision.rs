//! The supervisor of this system: which one it is, and the commands that it gets.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::process::Command;
use tokio::time::timeout;

use crate::config::Environment;
use crate::running::{Action, DefinitionError, SecretVariable, Supervisor, SupervisorKind, systemd};

/// A supervisor that is asked something answers at once, however busy the machine is.
const ANSWER: Duration = Duration::from_secs(20);
/// A start or a stop takes no longer: systemd gives up after 90 s.
const START: Duration = Duration::from_secs(120);

/// Why a forward cannot be given to a supervisor, or taken from it.
#[derive(Debug, Error)]
pub enum SupervisorError {
    /// There is no supervisor on this system, or none of this user.
    #[error("no supervisor runs here: {0}")]
    None(String),
    /// A command of the supervisor has failed.
    #[error("`{command}` has failed: {said}")]
    Failed {
        /// The command.
        command: String,
        /// The first line that it wrote.
        said: String,
        /// The forward.
        name: Option<String>,
    },
    /// `up` has not started that forward.
    #[error("forward `{name}` is not up")]
    NotUp {
        /// The forward.
        name: String,
    },
    /// The keys that sign are in variables of the shell.
    #[error(
        "forward `{name}` would sign with `AWS_ACCESS_KEY_ID` of this shell, which its supervisor does not have"
    )]
    Keys {
        /// The forward.
        name: String,
    },
    /// A variable or a flag has a password.
    #[error(transparent)]
    Secret(#[from] SecretVariable),
    /// `--endpoint-url` has a password.
    #[error("a password of `--endpoint-url` must not be in a file of the supervisor")]
    SecretFlag,
    /// A definition cannot hold a path.
    #[error("a file of the supervisor cannot hold the path `{}`", .0.display())]
    Path(PathBuf),
    /// The user's folders are unknown.
    #[error("there is no folder for files of the supervisor")]
    NoFolder,
    /// A definition cannot be written or removed.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
}

/// Finds the supervisor, without asking whether it runs.
///
/// # Errors
/// [`SupervisorError::None`], [`SupervisorError::NoFolder`]
pub(super) async fn find(environment: &Environment) -> Result<Supervisor, SupervisorError> {
    let folders = &environment.folders;
    let home = folders.home.as_deref().ok_or(SupervisorError::NoFolder)?;
    let state = folders.state.as_deref().ok_or(SupervisorError::NoFolder)?.join("fumidai");
    match std::env::consts::OS {
        "linux" => {
            let config = folders.config.as_deref().ok_or(SupervisorError::NoFolder)?;
            Ok(systemd_of(config, &state).await)
        }
        "macos" => Ok(Supervisor {
            kind: SupervisorKind::Launchd { user: user() },
            folder: home.join("Library/LaunchAgents"),
            now_only: state.join("agents"),
            logs: home.join("Library/Logs/fumidai"),
        }),
        "windows" => {
            let folder = state.join("tasks");
            let now_only = folder.clone();
            Ok(Supervisor { kind: SupervisorKind::Tasks, folder, now_only, logs: state.join("logs") })
        }
        other => Err(SupervisorError::None(format!("fumidai knows none of {other}"))),
    }
}

async fn systemd_of(config: &Path, state: &Path) -> Supervisor {
    let version = Action { program: "systemctl", arguments: vec!["--version".into()], may_fail: true };
    let has_steps = ask(&version).await.is_some_and(|text| systemd::has_steps(&text));
    let folder = config.join("systemd/user");
    let now_only = folder.clone();
    Supervisor { kind: SupervisorKind::Systemd { has_steps }, folder, now_only, logs: state.join("logs") }
}

/// Returns the user's id.
#[cfg(unix)]
pub(super) fn user() -> u32 {
    rustix::process::getuid().as_raw()
}

#[cfg(not(unix))]
pub(super) fn user() -> u32 {
    0
}

/// Makes sure that the supervisor can be reached.
///
/// # Errors
/// [`SupervisorError::None`]
pub(super) async fn reach(supervisor: &Supervisor) -> Result<(), SupervisorError> {
    let probe = supervisor.probe();
    match timeout(ANSWER, output(&probe)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(said)) => Err(SupervisorError::None(format!("{}: {said}", probe.program))),
        Err(_) => Err(SupervisorError::None(format!("{} does not answer", probe.program))),
    }
}

/// Runs commands one after the other.
///
/// # Errors
/// [`SupervisorError::Failed`]: the first that fails, unless it may.
pub(super) async fn run(actions: &[Action], name: Option<&str>) -> Result<(), SupervisorError> {
    for action in actions {
        let said = timeout(START, output(action)).await;
        match said.unwrap_or_else(|_| Err(format!("no answer within {} s", START.as_secs()))) {
            Err(said) if !action.may_fail => {
                let command = shown(action);
                return Err(SupervisorError::Failed { command, said, name: name.map(str::to_owned) });
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Returns the output of a command; a failure, or no answer in time, is `None`.
pub(super) async fn ask(action: &Action) -> Option<String> {
    timeout(ANSWER, output(action)).await.ok()?.ok()
}

fn shown(action: &Action) -> String {
    format!("{} {}", action.program, action.arguments.join(" "))
}

/// Returns what a command wrote, or the first line of its errors.
async fn output(action: &Action) -> Result<String, String> {
    let mut command = Command::new(action.program);
    let output = command.args(&action.arguments).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| error.to_string())?;
    tracing::debug!(command = shown(action), status = %output.status, "asked the supervisor");
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
    Err(first.unwrap_or_else(|| output.status.to_string()))
}
