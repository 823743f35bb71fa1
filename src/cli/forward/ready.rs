//! Announces that the forwards are ready: to the service manager, on a file descriptor, by running a command.

use std::fs::File;
use std::io::{self, Write};
use std::process::{ExitCode, ExitStatus};

use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::escape::escape_json;

use super::super::report::{ExitKind, LocalError, Report};
use super::super::runtime::Context;
use super::reporter::Listening;

/// What is announced, and where.
pub(super) struct Ready {
    /// The listeners.
    pub listening: Vec<Listening>,
    /// Their TCP ports, if they have one.
    pub ports: Vec<Option<u16>>,
    /// `--ready-fd`
    pub descriptor: Option<(i32, File)>,
    /// `--exec`
    pub exec: Option<String>,
}

/// Announces, then waits for the end of the command; without a command it never returns. Ctrl-C is the command's while it
/// runs. At `leave` it gets SIGTERM, and the context's tasks wait for its end.
pub(super) async fn announce(mut ready: Ready, context: &Context) -> Result<ExitCode, Report> {
    if let Some((fd, mut descriptor)) = ready.descriptor.take() {
        let lines: String = ready
            .listening
            .iter()
            .map(|one| format!("{}\n", escape_json(&one.to_json().to_string())))
            .collect();
        let failed = |source| LocalError::ReadyFd { fd, source };
        descriptor.write_all(lines.as_bytes()).map_err(failed)?;
    }
    notify_service_manager();
    let Some(command) = &ready.exec else { return std::future::pending().await };
    let failed = |source| LocalError::Exec { command: command.clone(), source };
    let _keys = context.lend_keys();
    let child = spawn(command, &ready).map_err(failed)?;
    let attended = context.tasks.spawn_local(attend(child, context.leave.clone()));
    let status = attended.await.map_err(io::Error::from).flatten();
    Ok(exit_of(status.map_err(failed)?))
}

/// Takes over the descriptor that the parent process opened.
pub(in crate::cli) fn take(fd: i32) -> Result<(i32, File), LocalError> {
    take_writable(fd).map(|file| (fd, file)).map_err(|source| LocalError::ReadyFd { fd, source })
}

/// The copy that is returned is the only one: the parent may wait for its end. Nothing but `nix` closes a descriptor by its
/// number without `unsafe`.
#[cfg(unix)]
fn take_writable(fd: i32) -> io::Result<File> {
    use rustix::fs::{OFlags, fcntl_getfl};

    let file = open(fd)?;
    if !fcntl_getfl(&file)?.intersects(OFlags::WRONLY | OFlags::RDWR) {
        return Err(io::Error::other("it is open for reading only"));
    }
    nix::unistd::close(fd)?;
    Ok(file)
}

/// A socket cannot be opened by its path, so that a copy is asked for first.
#[cfg(target_os = "linux")]
fn open(fd: i32) -> io::Result<File> {
    use std::os::fd::AsRawFd;

    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let Ok(ourselves) = pidfd_open(getpid(), PidfdFlags::empty()) else { return open_path(fd) };
    // The parent opened nothing there if we were given that number.
    if ourselves.as_raw_fd() == fd {
        return Err(Errno::BADF.into());
    }
    match pidfd_getfd(&ourselves, fd, PidfdGetfdFlags::empty()) {
        Ok(copy) => Ok(File::from(copy)),
        Err(Errno::BADF) => Err(Errno::BADF.into()),
        Err(_) => open_path(fd),
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn open(fd: i32) -> io::Result<File> {
    open_path(fd)
}

#[cfg(unix)]
fn open_path(fd: i32) -> io::Result<File> {
    std::fs::OpenOptions::new().write(true).open(format!("/dev/fd/{fd}"))
}

#[cfg(not(unix))]
fn take_writable(_fd: i32) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn notify_service_manager() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

#[cfg(not(target_os = "linux"))]
fn notify_service_manager() {}

/// Runs the command by the shell with the first listener in its environment.
fn spawn(command: &str, ready: &Ready) -> io::Result<Child> {
    let mut shell = shell(command);
    if let Some(first) = ready.listening.first() {
        shell.env("FUMIDAI_LOCAL", &first.local);
    }
    if let Some(Some(port)) = ready.ports.first() {
        shell.env("FUMIDAI_PORT", port.to_string());
    }
    shell.spawn()
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
