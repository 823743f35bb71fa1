//! Who is told that forwards are ready: the service manager, a file descriptor, a command that is run meanwhile.

use std::io::{self, Write};
use std::process::ExitCode;

use tokio::process::{Child, Command};

use super::forward_tell::Listening;
use super::report::{ExitKind, Report};

/// What is to be told.
pub(super) struct Ready {
    /// The listeners.
    pub listening: Vec<Listening>,
    /// Their TCP ports.
    pub ports: Vec<Option<u16>>,
    /// Where to write them.
    pub fd: Option<i32>,
    /// What to run.
    pub exec: Option<String>,
}

/// Tells everybody; stays until the command has ended, without one for ever.
pub(super) async fn announce(ready: Ready) -> Result<ExitCode, Report> {
    if let Some(fd) = ready.fd {
        let lines: String = ready.listening.iter().map(|one| format!("{}\n", one.to_json())).collect();
        let failed = |error| Report::new(ExitKind::Failure, format!("`--ready-fd {fd}`: {error}"));
        write_to(fd, lines.as_bytes()).map_err(failed)?;
    }
    notify_service_manager();
    match &ready.exec {
        Some(command) => exec(command, &ready).await,
        None => std::future::pending().await,
    }
}

/// Writes to a descriptor that the parent gave us, and closes it: the parent may wait for its end.
#[cfg(unix)]
fn write_to(fd: i32, bytes: &[u8]) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(format!("/dev/fd/{fd}"))?;
    file.write_all(bytes)?;
    drop(file);
    Ok(nix::unistd::close(fd)?)
}

#[cfg(not(unix))]
fn write_to(_fd: i32, _bytes: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn notify_service_manager() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

#[cfg(not(target_os = "linux"))]
fn notify_service_manager() {}

/// Runs a command by the shell with the listeners in its environment; its exit status is ours.
async fn exec(command: &str, ready: &Ready) -> Result<ExitCode, Report> {
    let failed =
        |error: io::Error| Report::new(ExitKind::Failure, format!("cannot run `{command}`: {error}"));
    let mut shell = shell(command);
    if let Some(first) = ready.listening.first() {
        shell.env("FUMIDAI_LOCAL", &first.local);
    }
    if let Some(Some(port)) = ready.ports.first() {
        shell.env("FUMIDAI_PORT", port.to_string());
    }
    let child: Child = shell.kill_on_drop(true).spawn().map_err(failed)?;
    let status = Ending(child).wait().await.map_err(failed)?;
    Ok(exit_of(status))
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

/// A child that is told to end when nobody waits for it any more.
struct Ending(Child);

impl Ending {
    async fn wait(&mut self) -> io::Result<std::process::ExitStatus> {
        self.0.wait().await
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(pid) =
            self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
        {
            // One that has just ended needs no telling.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

#[cfg(unix)]
fn exit_of(status: std::process::ExitStatus) -> ExitCode {
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
fn exit_of(status: std::process::ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitKind::Failure.into(), ExitCode::from)
}
