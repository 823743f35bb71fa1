//! Writes the record in a thread: a disk that is slow, full or gone holds up no session.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::entry::Entry;
use super::process::{Machine, process_began};
use super::store::{Store, StoreError};

/// How long the end of a process waits for lines that are being written.
const FINISH: Duration = Duration::from_millis(500);

/// Called with the first failure.
pub type OnFailure = Box<dyn FnOnce(&StoreError) + Send>;

/// The queue of the thread.
pub struct Recorder {
    sender: Sender<Entry>,
    /// Disconnects when the thread ends.
    done: Receiver<()>,
}

impl Recorder {
    /// Starts the thread. `on_failure` is called in it, once.
    pub fn start(store: Store, on_failure: OnFailure) -> Self {
        let (sender, entries) = channel();
        let (ends, done) = channel();
        std::thread::spawn(move || {
            write_all(&store, entries, on_failure);
            drop(ends);
        });
        Self { sender, done }
    }

    /// Queues an entry.
    pub fn record(&self, entry: Entry) {
        if self.sender.send(entry).is_err() {
            tracing::debug!("an entry of the record is dropped: its thread has ended");
        }
    }

    /// Waits a moment for what is queued; returns whether all of it was written or given up.
    pub fn finish(self) -> bool {
        drop(self.sender);
        !matches!(self.done.recv_timeout(FINISH), Err(std::sync::mpsc::RecvTimeoutError::Timeout))
    }
}

/// After a failure the next entry is tried all the same: the disk may have room again.
fn write_all(store: &Store, entries: Receiver<Entry>, on_failure: OnFailure) {
    let mut on_failure = Some(on_failure);
    let (user, pid) = (local_user(), std::process::id());
    let process_began = process_began(pid);
    let machine = Machine::here();
    for entry in entries {
        let entry = Entry { user: user.clone(), pid, process_began, machine: machine.cloned(), ..entry };
        let written = store.append(&entry);
        if let Err(error) = written
            && let Some(on_failure) = on_failure.take()
        {
            on_failure(&error);
        }
    }
}

/// Returns the name of the user whose process this is, whatever the environment says.
#[cfg(unix)]
fn local_user() -> String {
    let id = nix::unistd::getuid();
    let found = nix::unistd::User::from_uid(id).ok().flatten();
    found.map_or_else(|| id.to_string(), |user| user.name)
}

#[cfg(not(unix))]
fn local_user() -> String {
    String::new()
}
