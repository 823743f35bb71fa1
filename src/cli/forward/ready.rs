//! Announces that the forwards are ready: to the service manager, on a file descriptor, by running a command.

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::escape::escape_json;

use super::super::child::ChildCommand;
use super::super::report::{LocalError, Report};
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
    pub exec: Option<ChildCommand>,
}

/// Announces, then waits for the end of the command; without a command it never returns.
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
    let mut command = command.clone();
    command.variables.extend(ready.variables());
    command.run(context).await
}

impl Ready {
    /// Returns the variables with the first listener.
    fn variables(&self) -> Vec<(String, String)> {
        let local = self.listening.first().map(|first| ("FUMIDAI_LOCAL".to_owned(), first.local.clone()));
        let port = self.ports.first().copied().flatten();
        local.into_iter().chain(port.map(|port| ("FUMIDAI_PORT".to_owned(), port.to_string()))).collect()
    }
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
