//! JSON lines on standard output, written by a thread: a pipe that is not read blocks that thread only.

use std::io::{Write, stdout};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use serde_json::Value;

use crate::escape::escape_json;

/// The lines that wait for the reader; further ones are dropped.
const QUEUE: usize = 1024;
/// How long the end waits for queued lines.
const FLUSH: Duration = Duration::from_millis(200);

/// The queue of the thread.
pub(super) struct JsonLines {
    sender: SyncSender<Value>,
    /// Disconnects when the thread ends.
    done: Receiver<()>,
}

impl JsonLines {
    /// Starts the thread.
    pub fn start() -> Self {
        let (sender, lines) = sync_channel(QUEUE);
        let (ends, done) = channel();
        std::thread::spawn(move || {
            lines
                .into_iter()
                .take_while(|line: &Value| {
                    writeln!(stdout().lock(), "{}", escape_json(&line.to_string())).is_ok()
                })
                .for_each(drop);
            drop(ends);
        });
        Self { sender, done }
    }

    /// Queues a line.
    pub fn print(&self, line: Value) {
        if self.sender.try_send(line).is_err() {
            tracing::debug!("a JSON line is dropped: standard output is not read");
        }
    }

    /// Waits a moment for queued lines.
    pub fn finish(self) {
        drop(self.sender);
        let _ = self.done.recv_timeout(FLUSH);
    }
}
