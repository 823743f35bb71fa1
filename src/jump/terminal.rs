//! Asks on the terminal: never on standard input, which is ssh's.

use super::ask::NoAnswer;

/// Whether what is typed is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// As usual.
    Shown,
    /// Not at all.
    Hidden,
}

/// Asks, and reads one line, without its end. If the future is dropped, the terminal is as it was before.
///
/// The question is written as it is: what others wrote of it must be escaped before.
///
/// # Errors
/// There is no terminal, it is not ours now, or it cannot be read.
pub async fn ask(question: &str, echo: Echo) -> Result<String, NoAnswer> {
    system::ask(question, echo).await
}

#[cfg(unix)]
mod system {
    use std::fs::{File, OpenOptions};
    use std::io::{BufRead, BufReader, Write};
    use std::sync::Arc;

    use rustix::process::getpgrp;
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

    use super::{Echo, NoAnswer};

    pub async fn ask(question: &str, echo: Echo) -> Result<String, NoAnswer> {
        let mut terminal = open().ok_or(NoAnswer::Nobody)?;
        let _mode = Mode::begin(terminal.clone(), echo).ok_or(NoAnswer::Nobody)?;
        terminal.write_all(question.as_bytes()).map_err(|_| NoAnswer::Nobody)?;
        // The thread cannot be stopped; nobody waits for it at the end.
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(&*terminal).read_line(&mut line).map(|_| line)
        });
        let line = line.await.ok().and_then(Result::ok).ok_or(NoAnswer::Dismissed)?;
        let text = line.strip_suffix('\n').ok_or(NoAnswer::Dismissed)?;
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
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
}

#[cfg(not(unix))]
mod system {
    use super::{Echo, NoAnswer};

    #[expect(clippy::unused_async, reason = "asks where there is a terminal that can be opened")]
    pub async fn ask(_question: &str, _echo: Echo) -> Result<String, NoAnswer> {
        Err(NoAnswer::Nobody)
    }
}
