//! A command of the user that runs by the shell in the foreground, and whose end is the end of fumidai.

use std::io;
use std::process::{ExitCode, ExitStatus};

use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::report::{ExitKind, LocalError, Report};
use super::runtime::Context;

/// A command, and the variables that it gets.
#[derive(Clone, Default)]
pub(super) struct ChildCommand {
    /// The text for the shell.
    pub command: String,
    /// Names and values; a value may be secret.
    pub variables: Vec<(String, String)>,
}

impl ChildCommand {
    /// Runs it, and returns its exit status. Ctrl-C is the command's while it runs. At `leave` it gets SIGTERM, and the
    /// context's tasks wait for its end.
    ///
    /// # Errors
    /// It cannot be run.
    pub async fn run(&self, context: &Context) -> Result<ExitCode, Report> {
        let failed = |source| LocalError::Exec { command: self.command.clone(), source };
        let _keys = context.lend_keys();
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        let child = shell(&self.command).envs(variables).spawn().map_err(failed)?;
        let attended = context.tasks.spawn_local(attend(child, context.leave.clone()));
        let status = attended.await.map_err(io::Error::from).flatten();
        Ok(exit_of(status.map_err(failed)?))
    }
}

/// Waits for the command's end, and asks for it at `leave`.
async fn attend(mut child: Child, leave: CancellationToken) -> io::Result<ExitStatus> {
    tokio::select! {
        status = child.wait() => return status,
        () = leave.cancelled() => ask_to_end(&child),
    }
    child.wait().await
}

#[cfg(unix)]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command);
    shell
}

#[cfg(not(unix))]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.arg("/C").arg(command);
    shell
}

#[cfg(unix)]
fn ask_to_end(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process};

    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // The command may have just ended.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Not possible here: the command ends when its connection is closed.
#[cfg(not(unix))]
fn ask_to_end(_child: &Child) {}

#[cfg(unix)]
fn exit_of(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;

    let signal = status.signal().and_then(|number| u8::try_from(number).ok());
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    match (code, signal) {
        (Some(code), _) => code.into(),
        (None, Some(number)) => ExitKind::Signal(number).into(),
        (None, None) => ExitKind::Failure.into(),
    }
}

#[cfg(not(unix))]
fn exit_of(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitKind::Failure.into(), ExitCode::from)
}
