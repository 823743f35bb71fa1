//! Standard error that is written whole, or given up in silence when nobody reads it.

use std::io::{self, Write};

use crate::escape::escape;

/// Standard error; like the standard library's it has no buffer, so nothing is left behind at exit.
pub(super) struct Stderr;

impl Write for Stderr {
    /// Takes everything: what cannot be written has nobody left to read it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if is_raw_terminal() {
            write_whole(&with_returns(bytes))
        } else {
            write_whole(bytes)
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints a progress note in our form; it may hold somebody else's text.
pub(super) fn print_note(text: &str) {
    // `Stderr` never fails.
    let _ = Stderr.write_all(format!("fumidai: {}\n", escape(text).trim_end()).as_bytes());
}

/// Puts a carriage return before each end of line.
fn with_returns(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len() + 2);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let (line, end): (_, &[u8]) = line.strip_suffix(b"\n").map_or((line, b""), |line| (line, b"\r\n"));
        text.extend_from_slice(line);
        text.extend_from_slice(end);
    }
    text
}

/// Returns true if a program such as ssh has switched off what turns an end of line into a new line.
#[cfg(unix)]
fn is_raw_terminal() -> bool {
    use rustix::termios::{OutputModes, tcgetattr};

    tcgetattr(io::stderr()).is_ok_and(|modes| !modes.output_modes.contains(OutputModes::OPOST))
}

#[cfg(not(unix))]
fn is_raw_terminal() -> bool {
    false
}

fn write_whole(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match io::stderr().write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && has_room_soon() => {}
            Err(_) => return,
        }
    }
}

/// Waits for room: standard error may share a pipe with standard output, which the session makes non-blocking.
#[cfg(unix)]
fn has_room_soon() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let stderr = io::stderr();
    let a_second = Timespec { tv_sec: 1, tv_nsec: 0 };
    poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&a_second)).is_ok_and(|ready| ready > 0)
}

#[cfg(not(unix))]
fn has_room_soon() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::with_returns;

    #[test]
    fn every_line_of_a_raw_terminal_starts_at_its_beginning() {
        assert_eq!(with_returns(b"a\nb\n"), b"a\r\nb\r\n");
        assert_eq!(with_returns(b"a"), b"a");
    }
}
