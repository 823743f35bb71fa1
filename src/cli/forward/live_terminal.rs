//! The terminal of the live line: indicatif draws to it through the queue of standard error, which never blocks.

use std::io;
use std::sync::{Mutex, PoisonError};

use indicatif::TermLike;

use super::super::stderr::print_if_idle;

/// The width of a terminal that does not tell its own.
const USUAL_WIDTH: u16 = 80;

/// Collects what is drawn until it is flushed.
#[derive(Debug, Default)]
pub(super) struct LiveTerminal(Mutex<String>);

impl LiveTerminal {
    fn put(&self, text: &str) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
        Ok(())
    }

    /// Moves the cursor by ANSI's sequence; for 0 it would move by 1.
    fn go(&self, by: usize, direction: char) -> io::Result<()> {
        if by == 0 { Ok(()) } else { self.put(&format!("\x1b[{by}{direction}")) }
    }
}

impl TermLike for LiveTerminal {
    fn width(&self) -> u16 {
        width().filter(|width| *width > 0).unwrap_or(USUAL_WIDTH)
    }

    fn move_cursor_up(&self, by: usize) -> io::Result<()> {
        self.go(by, 'A')
    }

    fn move_cursor_down(&self, by: usize) -> io::Result<()> {
        self.go(by, 'B')
    }

    fn move_cursor_right(&self, by: usize) -> io::Result<()> {
        self.go(by, 'C')
    }

    fn move_cursor_left(&self, by: usize) -> io::Result<()> {
        self.go(by, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(text)?;
        self.put("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !drawn.is_empty() {
            print_if_idle(&drawn);
        }
        Ok(())
    }
}

#[cfg(unix)]
fn width() -> Option<u16> {
    rustix::termios::tcgetwinsize(io::stderr()).ok().map(|size| size.ws_col)
}

#[cfg(not(unix))]
fn width() -> Option<u16> {
    None
}
