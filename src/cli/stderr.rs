//! Standard error: writes whole texts, and drops them without an error if the reader has closed it.

use std::io::{self, Write};

use crate::escape::escape;

/// Standard error; like the standard library's it has no buffer, so nothing is left behind at exit.
pub(super) struct Stderr;

impl Write for Stderr {
    /// Accepts all bytes: if they cannot be written, the reader has closed it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_whole(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints a note with our prefix; text from other machines is escaped.
pub(super) fn print_note(text: &str) {
    write_whole(format!("fumidai: {}\n", escape(text).trim_end()).as_bytes());
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
