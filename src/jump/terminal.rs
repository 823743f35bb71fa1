//! Asks on the terminal: never on standard input, which is ssh's.

use tokio::sync::{Mutex, MutexGuard};

use super::prompt::PromptError;
use super::secret::Secret;

/// A human answers one question at a time, whoever asks and how.
static PROMPT_LOCK: Mutex<()> = Mutex::const_new(());

/// Whether what is typed is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// As usual.
    Shown,
    /// Not at all.
    Hidden,
}

/// Waits until nobody else asks; the next one waits until this is dropped.
pub(super) async fn lock() -> MutexGuard<'static, ()> {
    PROMPT_LOCK.lock().await
}

/// Asks in its turn, and reads one line, without its end. If the future is dropped, the terminal is as it was before.
///
/// The question is written as it is: what others wrote of it must be escaped before.
///
/// # Errors
/// There is no terminal, it is not ours now, or it cannot be read.
pub async fn ask(question: &str, echo: Echo) -> Result<Secret, PromptError> {
    let _lock = lock().await;
    system::ask(question, echo).await
}

#[cfg(unix)]
mod system {
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Write};
    use std::sync::Arc;

    use rustix::process::getpgrp;
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
    use zeroize::Zeroizing;

    use super::{Echo, PromptError, Secret};

    /// As much as any terminal keeps of a line.
    const MAX_LINE: usize = 4096;

    pub async fn ask(question: &str, echo: Echo) -> Result<Secret, PromptError> {
        let mut terminal = open().ok_or(PromptError::NoTerminal)?;
        let _mode = Mode::begin(terminal.clone(), echo).ok_or(PromptError::NoTerminal)?;
        terminal.write_all(question.as_bytes()).map_err(|_| PromptError::NoTerminal)?;
        // The thread cannot be stopped; nobody waits for it at the end.
        let line = tokio::task::spawn_blocking(move || read_line(&*terminal));
        line.await.ok().flatten().ok_or(PromptError::Dismissed)
    }

    /// Reads into one buffer that is wiped, and never past the line.
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

    /// A job in the background would be stopped by asking.
    fn open() -> Option<Arc<File>> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        let is_ours = tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp());
        is_ours.then(|| Arc::new(terminal))
    }

    /// While this lives, the terminal reads lines and shows what is typed or does not.
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
        /// A return key that was not shown leaves the cursor in the question's line.
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
        fn a_line_is_read_whole_or_not_at_all() {
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
    use super::{Echo, PromptError, Secret};

    #[expect(clippy::unused_async, reason = "asks where there is a terminal that can be opened")]
    pub async fn ask(_question: &str, _echo: Echo) -> Result<Secret, PromptError> {
        Err(PromptError::NoTerminal)
    }
}
