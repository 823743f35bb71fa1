//! The start-up and the end of every command that waits: runtime, signal handlers, and the sessions that are to be ended.
//!
//! A signal ends whatever the command waits for: a call to AWS, `ssh -G`, name resolution, a question to the user. Then
//! `leave` is cancelled, and the process waits for the tasks that end sessions at the service.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::session::{Interrupt, Interrupts};

use super::report::{ExitKind, LocalError, Report};

/// Sessions end side by side within two seconds, a session that is just being started a little later.
const LEAVE: Duration = Duration::from_millis(2500);

/// How the end of a command is announced to its tasks, and which tasks it waits for.
#[derive(Clone, Default)]
pub(super) struct Context {
    /// Cancelled when the command ends.
    pub leave: CancellationToken,
    /// The tasks that are waited for after that.
    pub tasks: TaskTracker,
}

/// Runs a command until its end or until an interrupt, and then ends its sessions.
///
/// # Errors
/// The command's own.
pub(super) fn run(
    interrupts: fn() -> io::Result<Interrupts>,
    command: impl AsyncFnOnce(&Context) -> Result<ExitCode, Report>,
) -> Result<ExitCode, Report> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LocalError::Runtime)?;
    let result = LocalSet::new().block_on(&runtime, supervise(interrupts, command));
    // A thread may be blocked in a read of the terminal.
    runtime.shutdown_background();
    result
}

async fn supervise(
    interrupts: fn() -> io::Result<Interrupts>,
    command: impl AsyncFnOnce(&Context) -> Result<ExitCode, Report>,
) -> Result<ExitCode, Report> {
    let mut interrupts = interrupts().map_err(LocalError::Signals)?;
    let context = Context::default();
    let result = tokio::select! {
        result = command(&context) => result,
        interrupt = interrupts.next() => Ok(exit_of(interrupt)),
    };
    context.leave.cancel();
    context.tasks.close();
    // A session that has not ended by then cannot be reached.
    let _ = timeout(LEAVE, context.tasks.wait()).await;
    result
}

/// Returns the exit code of a run that was interrupted.
pub(super) fn exit_of(interrupt: Interrupt) -> ExitCode {
    match interrupt {
        Interrupt::Signal(number) => ExitKind::Signal(number).into(),
        Interrupt::ReaderGone => ExitKind::READER_GONE.into(),
    }
}

/// Prints the report of a command that failed, and returns the exit code.
pub(super) fn finish(result: Result<ExitCode, Report>) -> ExitCode {
    result.unwrap_or_else(|report| report.print())
}
