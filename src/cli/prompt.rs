//! Asks a question on the terminal: never on standard input, which is ssh's.

use crate::aws::{AskCode, NoCode};

/// Asks for the code of a second factor with the AWS CLI's words; like there, what is typed is not shown.
pub(super) fn ask_code() -> AskCode {
    Box::new(|serial| {
        Box::pin(async move {
            let question = format!("Enter MFA code for {}: ", super::sanitize::escape(&serial));
            let answer = terminal::ask(&question).await?;
            let answer = answer.trim().to_owned();
            if answer.is_empty() { Err(NoCode::NoAnswer) } else { Ok(answer) }
        })
    })
}

#[cfg(unix)]
mod terminal {
    use std::fs::{File, OpenOptions};
    use std::io::{BufRead, BufReader, Write};
    use std::sync::Arc;

    use rustix::process::getpgrp;
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

    use super::NoCode;

    /// Asks, and reads one line without showing it. If the future is dropped, the terminal is as it was before.
    pub async fn ask(question: &str) -> Result<String, NoCode> {
        let mut terminal = open().ok_or(NoCode::NoTerminal)?;
        let _hidden = Hidden::begin(terminal.clone()).ok_or(NoCode::NoTerminal)?;
        terminal.write_all(question.as_bytes()).map_err(|_| NoCode::NoTerminal)?;
        // The thread cannot be stopped; nobody waits for it at the end.
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(&*terminal).read_line(&mut line).map(|_| line)
        });
        line.await.ok().and_then(Result::ok).ok_or(NoCode::NoAnswer)
    }

    /// A job in the background would be stopped by asking.
    fn open() -> Option<Arc<File>> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        let is_ours = tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp());
        is_ours.then(|| Arc::new(terminal))
    }

    /// While this lives, the terminal does not show what is typed.
    struct Hidden {
        terminal: Arc<File>,
        before: Termios,
    }

    impl Hidden {
        fn begin(terminal: Arc<File>) -> Option<Self> {
            let before = tcgetattr(&*terminal).ok()?;
            let mut hidden = before.clone();
            hidden.local_modes.remove(LocalModes::ECHO);
            hidden.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
            tcsetattr(&*terminal, OptionalActions::Flush, &hidden).ok()?;
            Some(Self { terminal, before })
        }
    }

    impl Drop for Hidden {
        /// The user's return key was not shown either.
        fn drop(&mut self) {
            let _ = tcsetattr(&*self.terminal, OptionalActions::Now, &self.before);
            let _ = (&*self.terminal).write_all(b"\n");
        }
    }
}

#[cfg(not(unix))]
mod terminal {
    use super::NoCode;

    #[expect(clippy::unused_async, reason = "asks where there is a terminal that can be opened")]
    pub async fn ask(_question: &str) -> Result<String, NoCode> {
        Err(NoCode::NoTerminal)
    }
}
