//! JSON lines on standard output, written by a thread of their own: a pipe that nobody reads stops nobody but the thread.

use std::io::{Write, stdout};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use serde_json::Value;

/// So many lines wait; what comes beyond them is not told.
const MOST_WAITING: usize = 1024;
/// How long the last lines may take.
const FAREWELL: Duration = Duration::from_millis(200);

/// The lines to come.
pub(super) struct Lines {
    sender: SyncSender<Value>,
    /// Ends with the thread.
    done: Receiver<()>,
}

impl Lines {
    /// Starts the thread.
    pub fn start() -> Self {
        let (sender, lines) = sync_channel(MOST_WAITING);
        let (ends, done) = channel();
        std::thread::spawn(move || {
            // Whoever reads no more does not need to be told.
            lines
                .into_iter()
                .take_while(|line: &Value| writeln!(stdout().lock(), "{line}").is_ok())
                .for_each(drop);
            drop(ends);
        });
        Self { sender, done }
    }

    pub fn say(&self, line: Value) {
        if self.sender.try_send(line).is_err() {
            tracing::debug!("a line is not told: standard output is not read");
        }
    }

    /// Waits a moment for the lines that are under way.
    pub fn finish(self) {
        drop(self.sender);
        let _ = self.done.recv_timeout(FAREWELL);
    }
}
