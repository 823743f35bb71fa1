//! The start-up and the end of every command that waits: runtime, signal handlers, and the sessions that are to be ended.
//!
//! A signal ends whatever the command waits for: a call to AWS, `ssh -G`, name resolution, a question to the user. Then
//! `leave` is cancelled, and the process waits for the tasks that end sessions at the service.

use std::cell::Cell;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::session::{Interrupt, Interrupts};

use super::report::{ExitKind, LocalError, Report};

/// Sessions end side by side within two seconds, a session that is just being started a little later.
const LEAVE: Duration = Duration::from_millis(2500);

/// The descriptors that the runtime, its signals, a call to AWS and a session need.
#[cfg(unix)]
const DESCRIPTORS: usize = 16;

/// How the end of a command is announced to its tasks, and which tasks it waits for.
#[derive(Clone, Default)]
pub(super) struct Context {
    /// Cancelled when the command ends.
    pub leave: CancellationToken,
    /// The tasks that are waited for after that.
    pub tasks: TaskTracker,
    /// Cancelled when the command's result is decided: from then on a signal does not replace it.
    pub closing: CancellationToken,
    /// Whether a command of the user runs in the foreground.
    keys_are_lent: Rc<Cell<bool>>,
}

/// Ctrl-C and Ctrl-\ end this process again when it is dropped.
pub(super) struct LentKeys(Rc<Cell<bool>>);

impl Context {
    /// Leaves SIGINT and SIGQUIT to a command that runs in the foreground, as system(3) does: the terminal sends them to both
    /// processes.
    #[must_use]
    pub fn lend_keys(&self) -> LentKeys {
        self.keys_are_lent.set(true);
        LentKeys(self.keys_are_lent.clone())
    }

    /// Waits for an interrupt that is meant for this process and still decides the result.
    async fn interrupt(&self, interrupts: &mut Interrupts) -> Interrupt {
        loop {
            let interrupt = interrupts.next().await;
            if self.closing.is_cancelled() {
                tracing::debug!(?interrupt, "the command is already ending");
            } else if self.keys_are_lent.get() && interrupt.is_of_keys() {
                tracing::debug!(?interrupt, "the interrupt is left to the command of `--exec`");
            } else {
                return interrupt;
            }
        }
    }
}

impl Drop for LentKeys {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Runs a command until its end or until an interrupt, and then ends its sessions.
///
/// # Errors
/// The command's own.
pub(super) fn run(
    interrupts: fn() -> io::Result<Interrupts>,
    command: impl AsyncFnOnce(&Context) -> Result<ExitCode, Report>,
) -> Result<ExitCode, Report> {
    check_descriptors().map_err(LocalError::Descriptors)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // One event is a round of the `LocalSet`, up to 61 tasks: signals and sockets are looked at after each.
    let runtime = runtime.enable_all().event_interval(1).build().map_err(LocalError::Runtime)?;
    let result = LocalSet::new().block_on(&runtime, supervise(interrupts, command));
    // A thread may be blocked in a read of the terminal.
    runtime.shutdown_background();
    result
}

/// Fails if there are too few descriptors: the libraries below panic then, or take the system to have no certificates.
#[cfg(unix)]
fn check_descriptors() -> io::Result<()> {
    use std::os::fd::{AsFd, OwnedFd};

    let stderr = io::stderr();
    let copies = (0..DESCRIPTORS).map(|_| stderr.as_fd().try_clone_to_owned());
    copies.collect::<io::Result<Vec<OwnedFd>>>().map(drop)
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the signature is that of unix")]
fn check_descriptors() -> io::Result<()> {
    Ok(())
}

async fn supervise(
    interrupts: fn() -> io::Result<Interrupts>,
    command: impl AsyncFnOnce(&Context) -> Result<ExitCode, Report>,
) -> Result<ExitCode, Report> {
    let mut interrupts = interrupts().map_err(LocalError::Signals)?;
    let context = Context::default();
    let result = tokio::select! {
        result = command(&context) => result,
        interrupt = context.interrupt(&mut interrupts) => Ok(exit_of(interrupt)),
    };
    context.leave.cancel();
    context.tasks.close();
    // A session that has not ended by then cannot be reached.
    let _ = timeout(LEAVE, context.tasks.wait()).await;
    result
}

fn exit_of(interrupt: Interrupt) -> ExitCode {
    match interrupt {
        Interrupt::Signal(number) => ExitKind::Signal(number).into(),
        Interrupt::ReaderGone => ExitKind::READER_GONE.into(),
    }
}

/// Prints the report of a command that failed, and returns the exit code.
pub(super) fn finish(result: Result<ExitCode, Report>) -> ExitCode {
    result.unwrap_or_else(|report| report.print())
}
