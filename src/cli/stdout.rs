//! Standard output for what a user asked to see; the bytes of a session do not pass here.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use super::report::{ExitKind, LocalError, Report};

/// Writes the whole text. If the reader has closed the pipe, the exit code is SIGPIPE's, without a message.
pub(super) fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitKind::Done.into(),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitKind::READER_GONE.into(),
        Err(error) => Report::from(LocalError::Stdout(error)).print(),
    }
}
