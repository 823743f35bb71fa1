//! The list of events, and waiting for an event without polling.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::sim::agent::Status;
use crate::sim::faults::{CutKind, SessionStep};

/// An event of the simulated service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimEvent {
    /// An API call was answered.
    Api {
        /// The operation, such as `StartSession`.
        operation: String,
        /// The session.
        session: Option<String>,
        /// The error code of the answer.
        error: Option<String>,
    },
    /// A websocket upgrade was answered.
    Upgrade {
        /// The session in the path.
        session: String,
        /// The HTTP status.
        status: u16,
        /// Why it was refused.
        why: Option<String>,
    },
    /// A websocket was opened with a valid token.
    Opened {
        /// The session.
        session: String,
        /// The client's identifier.
        client_id: String,
        /// The client's version.
        client_version: String,
    },
    /// A websocket was closed because its first message was not valid.
    Rejected {
        /// The session.
        session: String,
        /// The reason.
        why: String,
    },
    /// The client sent a websocket ping.
    Pinged {
        /// The session.
        session: String,
    },
    /// A step was reached for the first time.
    Reached {
        /// The session.
        session: String,
        /// The step.
        step: SessionStep,
    },
    /// The client's websocket was closed.
    Detached {
        /// The session.
        session: String,
        /// The reason.
        why: Detach,
    },
    /// The agent dialled.
    Dialed {
        /// The session.
        session: String,
        /// The stream; `None` without multiplexing.
        stream: Option<u32>,
        /// The requested remote host; `None` is the target.
        host: Option<String>,
        /// The requested port.
        port: u16,
        /// The error, if the dial failed.
        error: Option<String>,
    },
    /// The session ended.
    Ended {
        /// The session.
        session: String,
        /// The status.
        status: Status,
        /// The text for the client.
        output: String,
    },
}

/// Why a websocket was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detach {
    /// The client closed it, or it failed.
    Client,
    /// It was cut.
    Cut(CutKind),
    /// A newer websocket replaced it.
    Replaced,
    /// The client exceeded a limit.
    Limit(&'static str),
    /// The session ended.
    Ended,
}

/// An event and its time.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The time since the simulator's start.
    pub at: Duration,
    /// The event.
    pub event: SimEvent,
}

/// The list of events.
#[derive(Debug)]
pub struct Journal {
    start: Instant,
    entries: Mutex<Vec<Entry>>,
    async_waiters: Notify,
    blocking_waiters: Condvar,
}

impl Journal {
    pub(super) fn new(start: Instant) -> Self {
        let entries = Mutex::new(Vec::new());
        Self { start, entries, async_waiters: Notify::new(), blocking_waiters: Condvar::new() }
    }

    pub(super) fn note(&self, now: Instant, event: SimEvent) {
        tracing::debug!(?event, "simulator event");
        let at = now.saturating_duration_since(self.start);
        self.lock().push(Entry { at, event });
        self.async_waiters.notify_waiters();
        self.blocking_waiters.notify_all();
    }

    /// Returns a copy of all entries.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// Counts the events that satisfy a predicate.
    pub fn count(&self, predicate: impl Fn(&SimEvent) -> bool) -> usize {
        self.lock().iter().filter(|entry| predicate(&entry.event)).count()
    }

    /// Counts the answered calls of one operation, errors included.
    pub fn calls(&self, name: &str) -> usize {
        self.count(|event| matches!(event, SimEvent::Api { operation, .. } if operation == name))
    }

    /// Waits for an event that satisfies the predicate; past events count.
    pub async fn wait_for(&self, predicate: impl Fn(&SimEvent) -> bool) -> SimEvent {
        loop {
            let notified = self.async_waiters.notified();
            if let Some(event) = self.find(&predicate) {
                return event;
            }
            notified.await;
        }
    }

    /// Does the same for a thread without a runtime; returns `None` after the timeout.
    pub fn wait_for_blocking(
        &self,
        timeout: Duration,
        predicate: impl Fn(&SimEvent) -> bool,
    ) -> Option<SimEvent> {
        let absent = |entries: &mut Vec<Entry>| !entries.iter().any(|entry| predicate(&entry.event));
        let waited = self.blocking_waiters.wait_timeout_while(self.lock(), timeout, absent);
        let (entries, _) = waited.unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|entry| &entry.event).find(|event| predicate(event)).cloned()
    }

    fn find(&self, predicate: &impl Fn(&SimEvent) -> bool) -> Option<SimEvent> {
        self.lock().iter().map(|entry| &entry.event).find(|event| predicate(event)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a starting point for the journal")]

    use super::*;

    fn call(operation: &str) -> SimEvent {
        SimEvent::Api { operation: operation.to_owned(), session: None, error: None }
    }

    #[tokio::test]
    async fn an_event_can_be_awaited_before_and_after_it_happens() {
        let start = Instant::now();
        let journal = Journal::new(start);
        let wait = journal.wait_for(|event| *event == call("B"));
        let note = async {
            journal.note(start, call("A"));
            journal.note(start, call("B"));
        };
        let (event, ()) = tokio::join!(wait, note);
        assert_eq!(event, call("B"));
        assert_eq!(journal.wait_for(|event| *event == call("A")).await, call("A"));
        assert_eq!(journal.wait_for_blocking(Duration::ZERO, |event| *event == call("B")), Some(call("B")));
        assert_eq!(journal.wait_for_blocking(Duration::ZERO, |event| *event == call("C")), None);
        assert_eq!(journal.calls("A"), 1);
    }
}
