//! Standard output for what a user asked to see; a session's bytes take another way (`session`).

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use super::report::{ExitKind, Report};

/// Writes the text whole. A reader that has gone is an end like SIGPIPE's, without a word.
pub(super) fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitKind::Done.into(),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitKind::READER_GONE.into(),
        Err(error) => Report::new(ExitKind::Failure, format!("standard output: {error}")).print(),
    }
}
