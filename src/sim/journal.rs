//! What happened, in order, and a way to await it without sleeping.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::sim::agent::Status;
use crate::sim::faults::{CutKind, SessionStep};

/// Something that happened in the simulated service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimEvent {
    /// An API call was answered.
    Api {
        /// The operation, as `StartSession`.
        operation: String,
        /// The session it was about.
        session: Option<String>,
        /// The name of the error that was answered.
        error: Option<String>,
    },
    /// A websocket upgrade was answered.
    Upgrade {
        /// The session of its path.
        session: String,
        /// The HTTP status.
        status: u16,
        /// Why it was refused.
        why: Option<String>,
    },
    /// A websocket was opened with a good token.
    Opened {
        /// The session.
        session: String,
        /// The client's identifier, the same for every websocket of a session.
        client_id: String,
        /// The client's version.
        client_version: String,
    },
    /// A websocket was closed because its first message was not right.
    Rejected {
        /// The session.
        session: String,
        /// What was wrong.
        why: String,
    },
    /// A step was reached for the first time, or again.
    Reached {
        /// The session.
        session: String,
        /// The step.
        step: SessionStep,
    },
    /// The client's websocket is gone.
    Detached {
        /// The session.
        session: String,
        /// Why.
        why: Detach,
    },
    /// The agent dialled.
    Dialed {
        /// The session.
        session: String,
        /// The stream that it was for; none without multiplexing.
        stream: Option<u32>,
        /// The remote host that was asked for; none is the target itself.
        host: Option<String>,
        /// The port that was asked for.
        port: u16,
        /// Why it failed.
        error: Option<String>,
    },
    /// The session is over.
    Ended {
        /// The session.
        session: String,
        /// How.
        status: Status,
        /// The text for the client.
        output: String,
    },
}

/// Why a websocket is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detach {
    /// The client closed it or broke it.
    Client,
    /// It was cut.
    Cut(CutKind),
    /// A newer one took its place.
    Replaced,
    /// The client exceeded a limit.
    Limit(&'static str),
    /// The session is over.
    Ended,
}

/// An event and its time.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Since the simulator's start.
    pub at: Duration,
    /// What happened.
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
        tracing::debug!(?event, "simulated");
        let at = now.saturating_duration_since(self.start);
        self.lock().push(Entry { at, event });
        self.async_waiters.notify_waiters();
        self.blocking_waiters.notify_all();
    }

    /// Returns a copy of everything so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// Counts the events so far that satisfy a predicate.
    pub fn count(&self, predicate: impl Fn(&SimEvent) -> bool) -> usize {
        self.lock().iter().filter(|entry| predicate(&entry.event)).count()
    }

    /// Counts the answered calls of one operation, errors included.
    pub fn calls(&self, name: &str) -> usize {
        self.count(|event| matches!(event, SimEvent::Api { operation, .. } if operation == name))
    }

    /// Waits until an event satisfies the predicate, past events included, and returns it.
    pub async fn wait_for(&self, predicate: impl Fn(&SimEvent) -> bool) -> SimEvent {
        loop {
            let notified = self.async_waiters.notified();
            if let Some(event) = self.find(&predicate) {
                return event;
            }
            notified.await;
        }
    }

    /// The same for a thread without a runtime; `None` when the time is up.
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
