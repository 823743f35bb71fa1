//! Standard error, written by a thread: a terminal that is stopped (Ctrl-S) or a pipe that is not read blocks that thread
//! only, never a session.
//!
//! Lines that do not fit in the queue are dropped, and their number is printed when there is room again.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crate::escape::escape;

use super::report::notes;

/// Bytes that wait for the reader; further lines are dropped.
const QUEUE: usize = 256 * 1024;

/// How long the end of the process waits for queued lines.
const FLUSH: Duration = Duration::from_millis(500);

/// How long a line waits to be written before what follows it on standard output: once, until the reader takes it.
const ORDER: Duration = Duration::from_millis(100);

/// The queue of this process.
static LINES: Queue = Queue::new();

/// Whether its thread could be started.
static HAS_WRITER: OnceLock<bool> = OnceLock::new();

/// Standard error as a writer that never fails and never waits.
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        print(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints a progress note in our form; it may hold text of other parties.
pub(super) fn print_note(text: &str) {
    print(format!("fumidai: {}\n", escape(text).trim_end()).as_bytes());
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

/// Prints what will soon be out of date, such as a live line, unless other lines wait.
pub(super) fn print_if_idle(text: &str) {
    if LINES.is_idle() {
        print(text.as_bytes());
    }
}

/// Waits a moment for queued lines.
pub(super) fn finish() {
    LINES.wait_until_idle(FLUSH);
}

fn print(bytes: &[u8]) {
    // Without a thread there is no other way.
    match HAS_WRITER.get_or_init(start) {
        true => LINES.push_in_order(bytes, ORDER),
        false => write(bytes),
    }
}

fn start() -> bool {
    let writer = thread::Builder::new().name("stderr".to_owned());
    writer.spawn(|| LINES.serve(write)).is_ok()
}

/// Lines from any thread to the one that writes them.
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    lines: VecDeque<Vec<u8>>,
    /// The bytes of all lines.
    size: usize,
    is_writing: bool,
    /// The lines dropped since the last one that was queued.
    dropped: usize,
}

impl State {
    fn is_idle(&self) -> bool {
        self.lines.is_empty() && !self.is_writing
    }

    fn put(&mut self, line: &[u8]) {
        self.size += line.len();
        self.lines.push_back(line.to_owned());
    }
}

impl Queue {
    const fn new() -> Self {
        let state = State { lines: VecDeque::new(), size: 0, is_writing: false, dropped: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a line, and waits a moment for its writing unless other lines wait already.
    fn push_in_order(&self, line: &[u8], longest: Duration) {
        let was_idle = self.is_idle();
        self.push(line);
        if was_idle {
            self.wait_until_idle(longest);
        }
    }

    /// Queues a line, or drops it.
    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if !state.lines.is_empty() && state.size + line.len() > QUEUE {
            state.dropped += 1;
            return;
        }
        let dropped = std::mem::take(&mut state.dropped);
        if dropped > 0 {
            state.put(format!("fumidai: {}\n", notes::of_dropped_lines(dropped)).as_bytes());
        }
        state.put(line);
        self.changed.notify_all();
    }

    /// Hands lines to `write`, one at a time, without end.
    fn serve(&self, mut write: impl FnMut(&[u8])) {
        let mut state = self.lock();
        loop {
            while let Some(line) = state.lines.pop_front() {
                state.size -= line.len();
                state.is_writing = true;
                drop(state);
                write(&line);
                state = self.lock();
                state.is_writing = false;
            }
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    /// Waits until every line is written, or until the time is over.
    fn wait_until_idle(&self, longest: Duration) {
        drop(self.changed.wait_timeout_while(self.lock(), longest, |state| !state.is_idle()));
    }
}

/// Writes lines as the terminal needs them now.
fn write(bytes: &[u8]) {
    if is_raw_terminal() {
        write_whole(&with_returns(bytes));
    } else {
        write_whole(bytes);
    }
}

/// Writes everything, or gives up if standard error has no reader.
fn write_whole(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match io::stderr().write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && wait_for_room() => {}
            Err(_) => return,
        }
    }
}

/// Waits for room: standard error may share a pipe with standard output, which the session makes non-blocking.
#[cfg(unix)]
fn wait_for_room() -> bool {
    use rustix::event::{PollFd, PollFlags, poll};

    let stderr = io::stderr();
    matches!(poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None), Ok(_) | Err(rustix::io::Errno::INTR))
}

#[cfg(not(unix))]
fn wait_for_room() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel, sync_channel};

    use super::*;

    /// A queue, what its thread writes, and by how much it may write more.
    fn queue() -> (&'static Queue, Receiver<Vec<u8>>, std::sync::mpsc::SyncSender<()>) {
        let queue: &'static Queue = Box::leak(Box::new(Queue::new()));
        let (written, lines) = channel();
        let (allow, allowed) = sync_channel(0);
        thread::spawn(move || {
            queue.serve(|line| {
                let _ = allowed.recv();
                let _ = written.send(line.to_owned());
            });
        });
        (queue, lines, allow)
    }

    #[test]
    fn a_writer_that_is_blocked_blocks_no_other_thread() {
        let (queue, lines, allow) = queue();
        let line = [b'x'; 1024];
        let pushed = 3 * QUEUE / line.len();
        queue.push(&line);
        while !queue.lock().is_writing {
            thread::yield_now();
        }
        (1..pushed).for_each(|_| queue.push(&line));
        queue.wait_until_idle(Duration::ZERO);
        assert!(!queue.is_idle() && queue.lock().size <= QUEUE);
        let dropped = queue.lock().dropped;
        allow.send(()).unwrap();
        assert_eq!(lines.recv().unwrap(), line);
        drop(allow);
        (1..pushed - dropped).for_each(|_| assert_eq!(lines.recv().unwrap(), line));
        queue.wait_until_idle(Duration::MAX);
        queue.push(b"again");
        let note = format!("fumidai: {dropped} lines were dropped: standard error was not read\n");
        assert_eq!(lines.recv().unwrap(), note.as_bytes());
        assert_eq!(lines.recv().unwrap(), b"again");
    }

    #[test]
    fn a_line_longer_than_the_queue_is_written() {
        let (queue, lines, allow) = queue();
        drop(allow);
        queue.push(&[b'x'; QUEUE + 1]);
        assert_eq!(lines.recv().unwrap().len(), QUEUE + 1);
    }

    #[test]
    fn every_line_of_a_raw_terminal_starts_at_its_beginning() {
        assert_eq!(with_returns(b"a\nb\n"), b"a\r\nb\r\n");
        assert_eq!(with_returns(b"a"), b"a");
    }
}
