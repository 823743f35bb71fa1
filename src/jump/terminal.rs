//! Asks on the controlling terminal, not on standard input, which carries ssh's stream.

use std::io;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};

use super::prompt::PromptError;
use super::secret::Secret;

/// Held while a question is open, so that questions are asked one at a time.
static PROMPT_LOCK: Mutex<()> = Mutex::const_new(());

/// Whether no question may be asked in this process.
static FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// Forbids every question of this process, on a terminal and by a program.
pub fn forbid() {
    FORBIDDEN.store(true, Ordering::Relaxed);
}

/// Returns whether questions are forbidden.
pub fn is_forbidden() -> bool {
    FORBIDDEN.load(Ordering::Relaxed)
}

/// Whether the terminal echoes the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Input is echoed.
    Shown,
    /// Input is hidden.
    Hidden,
}

/// Waits until no other question is open. The guard delays the next question until it is dropped.
pub(super) async fn lock() -> MutexGuard<'static, ()> {
    PROMPT_LOCK.lock().await
}

/// Asks a question and reads one line, without its line end. Restores the terminal's mode, also if the future is
/// dropped.
///
/// The question is written unchanged: the caller must escape untrusted text.
///
/// # Errors
/// The process has no terminal, is not in its foreground, or cannot read from it.
pub async fn ask(question: &str, echo: Echo) -> Result<Secret, PromptError> {
    if is_forbidden() {
        return Err(PromptError::Forbidden);
    }
    let _lock = lock().await;
    system::ask(question, echo).await
}

/// Runs a program with the terminal as its standard input, output and error, and waits for its end. No question is asked
/// meanwhile.
///
/// # Errors
/// There is no terminal, or the program cannot be run.
pub async fn run(command: Command) -> io::Result<ExitStatus> {
    let _lock = lock().await;
    system::run(command).await
}

#[cfg(unix)]
mod system {
    use std::fs::{File, OpenOptions};
    use std::io::{self, Read, Write};
    use std::process::ExitStatus;
    use std::sync::Arc;

    use rustix::process::getpgrp;
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
    use zeroize::Zeroizing;

    use super::{Command, Echo, PromptError, Secret};

    /// Maximum length of a line in bytes, as in Linux's line discipline.
    const MAX_LINE: usize = 4096;

    pub async fn ask(question: &str, echo: Echo) -> Result<Secret, PromptError> {
        let mut terminal = open().ok_or(PromptError::NoTerminal)?;
        let _mode = Mode::begin(terminal.clone(), echo).ok_or(PromptError::NoTerminal)?;
        terminal.write_all(question.as_bytes()).map_err(|_| PromptError::NoTerminal)?;
        // The thread cannot be interrupted; the process exits without waiting for it.
        let line = tokio::task::spawn_blocking(move || read_line(&*terminal));
        line.await.ok().flatten().ok_or(PromptError::Dismissed)
    }

    pub async fn run(mut command: Command) -> io::Result<ExitStatus> {
        let terminal = open().ok_or(io::ErrorKind::NotConnected)?;
        let _mode = Mode::begin(terminal.clone(), Echo::Shown).ok_or(io::ErrorKind::NotConnected)?;
        command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal.try_clone()?);
        command.spawn()?.wait().await
    }

    /// Reads one line into a buffer that is wiped on drop.
    fn read_line(mut terminal: impl Read) -> Option<Secret> {
        let mut buffer = Zeroizing::new([0; MAX_LINE]);
        let mut length = 0;
        while buffer.get(..length)?.last() != Some(&b'\n') {
            let read = terminal.read(buffer.get_mut(length..)?).ok().filter(|read| *read > 0)?;
            length += read;
        }
        let line = std::str::from_utf8(buffer.get(..length)?).ok()?.trim_end_matches('\n');
        Some(Secret::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
    }

    /// Opens the terminal if the process is in its foreground: writing from the background would stop the process.
    fn open() -> Option<Arc<File>> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        let is_ours = tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp());
        is_ours.then(|| Arc::new(terminal))
    }

    /// Sets line mode and echo; restores the previous mode on drop.
    struct Mode {
        terminal: Arc<File>,
        before: Termios,
        echo: Echo,
    }

    impl Mode {
        fn begin(terminal: Arc<File>, echo: Echo) -> Option<Self> {
            let before = tcgetattr(&*terminal).ok()?;
            let mut mode = before.clone();
            mode.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
            mode.local_modes.set(LocalModes::ECHO, echo == Echo::Shown);
            tcsetattr(&*terminal, OptionalActions::Flush, &mode).ok()?;
            Some(Self { terminal, before, echo })
        }
    }

    impl Drop for Mode {
        /// Restores the mode. If echo was off, the Enter key left the cursor on the question's line.
        fn drop(&mut self) {
            let _ = tcsetattr(&*self.terminal, OptionalActions::Now, &self.before);
            if self.echo == Echo::Hidden {
                let _ = (&*self.terminal).write_all(b"\n");
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_incomplete_line_is_not_returned() {
            let read = |parts: &[&[u8]]| {
                let (one, two) = (parts[0], parts.get(1).copied().unwrap_or_default());
                read_line(one.chain(two)).map(|line| line.reveal().to_owned())
            };
            assert_eq!(read(&[b"secret\r\n"]).as_deref(), Some("secret"));
            assert_eq!(read(&[b"sec", b"ret\n"]).as_deref(), Some("secret"));
            assert_eq!(read(&[b"\n"]).as_deref(), Some(""));
            assert_eq!(read(&[b"", b""]), None);
            assert_eq!(read(&[b"secret"]), None);
            assert_eq!(read(&[b"\xff\n"]), None);
            assert_eq!(read(&[&[b'x'; MAX_LINE + 1]]), None);
        }
    }
}

#[cfg(not(unix))]
mod system {
    use super::{Command, Echo, ExitStatus, PromptError, Secret, io};

    #[expect(clippy::unused_async, reason = "the signature is that of unix")]
    pub async fn run(_command: Command) -> io::Result<ExitStatus> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[expect(clippy::unused_async, reason = "the signature is that of unix")]
    pub async fn ask(_question: &str, _echo: Echo) -> Result<Secret, PromptError> {
        Err(PromptError::NoTerminal)
    }
}
