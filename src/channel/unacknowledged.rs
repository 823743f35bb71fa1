//! The messages that are not acknowledged, in order, with an index for each question about them.
//!
//! Acknowledged messages leave at once, so memory and the cost of a lookup depend on what is unacknowledged only, and not on
//! how far the stream has come. Every change of a message goes through here, which keeps the indices true.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// A message that is not acknowledged.
#[derive(Debug)]
pub(super) struct Sent {
    pub frame: Bytes,
    /// How many of the user's bytes were sent before it.
    pub offset: u64,
    pub first_sent: Instant,
    pub last_sent: Instant,
    /// The places of its first and last sending in the order of all sendings.
    pub first_order: u64,
    pub last_order: u64,
    /// How often it was resent on this connection.
    pub resends: u32,
    /// How often a message that was sent after a resend of it was acknowledged before it.
    pub overtaken: u32,
    /// It was sent more than once, so its acknowledgement does not show which sending arrived (Karn).
    pub ambiguous: bool,
    /// It counts against the window.
    pub counted: bool,
    pub wait: Wait,
    pub timeout: Duration,
    pub before: Delivered,
}

/// How much had been delivered, and when: the start of a rate measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivered {
    pub bytes: u64,
    pub at: Instant,
    /// When the message that was acknowledged last had been sent.
    pub sent_at: Instant,
}

/// What a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Not resent: a probe, or the channel is detached.
    Held,
    Until(Instant),
    Overdue,
    Due,
}

/// The messages by their sequence numbers.
#[derive(Debug, Default)]
pub(super) struct Unacknowledged {
    messages: BTreeMap<i64, Sent>,
    counted: BTreeSet<i64>,
    released: BTreeSet<i64>,
    deadlines: BTreeSet<(Instant, i64)>,
    /// By the place of the last sending.
    overdue: BTreeSet<(u64, i64)>,
    due: BTreeSet<i64>,
    counted_bytes: usize,
    released_bytes: usize,
    /// Messages that were looked up or changed.
    #[cfg(test)]
    pub steps: u64,
}

impl Unacknowledged {
    pub(super) fn insert(&mut self, number: i64, sent: Sent) {
        debug_assert!(sent.counted && sent.wait == Wait::Held, "a new message");
        self.counted.insert(number);
        self.counted_bytes += sent.frame.len();
        self.messages.insert(number, sent);
    }

    pub(super) fn remove(&mut self, number: i64) -> Option<Sent> {
        self.set_wait(number, Wait::Held);
        let sent = self.messages.remove(&number)?;
        if sent.counted {
            self.counted.remove(&number);
            self.counted_bytes -= sent.frame.len();
        } else {
            self.released.remove(&number);
            self.released_bytes -= sent.frame.len();
        }
        Some(sent)
    }

    pub(super) fn get(&self, number: i64) -> Option<&Sent> {
        self.messages.get(&number)
    }

    pub(super) fn contains(&self, number: i64) -> bool {
        self.messages.contains_key(&number)
    }

    pub(super) fn newest(&self) -> Option<&Sent> {
        self.messages.last_key_value().map(|(_, sent)| sent)
    }

    pub(super) fn numbers(&self) -> Vec<i64> {
        self.messages.keys().copied().collect()
    }

    /// Returns the size of the largest message.
    pub(super) fn largest(&self) -> Option<usize> {
        self.messages.values().map(|sent| sent.frame.len()).max()
    }

    /// Returns the oldest message that counts against the window.
    pub(super) fn oldest_counted(&self) -> Option<i64> {
        self.counted.first().copied()
    }

    pub(super) fn counted_bytes(&self) -> usize {
        self.counted_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns the oldest message that does not count, and the bytes of all of them.
    pub(super) fn released(&self) -> (Option<i64>, usize) {
        (self.released.first().copied(), self.released_bytes)
    }

    /// Returns the next deadline and its message.
    pub(super) fn first_deadline(&self) -> Option<(Instant, i64)> {
        self.deadlines.first().copied()
    }

    /// Returns the place in the order of sendings of the overdue message that was sent the longest time ago, and its number.
    pub(super) fn first_overdue(&self) -> Option<(u64, i64)> {
        self.overdue.first().copied()
    }

    /// Returns the oldest message that must be resent.
    pub(super) fn first_due(&self) -> Option<i64> {
        self.due.first().copied()
    }

    /// Changes a message, whose times, wait, frame and count have their own functions.
    pub(super) fn change(&mut self, number: i64, change: impl FnOnce(&mut Sent)) {
        self.step();
        if let Some(sent) = self.messages.get_mut(&number) {
            change(sent);
        }
    }

    /// Records that a message is resent now.
    pub(super) fn resent(&mut self, number: i64, now: Instant, order: u64, timeout: Duration) {
        self.set_wait(number, Wait::Held);
        self.change(number, |sent| {
            sent.resends += 1;
            sent.ambiguous = true;
            sent.last_sent = now;
            sent.last_order = order;
            sent.timeout = timeout;
        });
        self.set_wait(number, Wait::Until(now + timeout));
    }

    /// Replaces the frame of a message; returns false if there is no such message.
    pub(super) fn replace(&mut self, number: i64, frame: Bytes) -> bool {
        let Some(sent) = self.messages.get_mut(&number) else { return false };
        let bytes = if sent.counted { &mut self.counted_bytes } else { &mut self.released_bytes };
        *bytes = *bytes + frame.len() - sent.frame.len();
        sent.frame = frame;
        sent.ambiguous = true;
        true
    }

    /// Stops counting a message against the window.
    pub(super) fn release(&mut self, number: i64) {
        let Some(sent) = self.messages.get_mut(&number) else { return };
        if mem::take(&mut sent.counted) {
            self.counted_bytes -= sent.frame.len();
            self.released_bytes += sent.frame.len();
            self.counted.remove(&number);
            self.released.insert(number);
        }
    }

    pub(super) fn set_wait(&mut self, number: i64, wait: Wait) {
        self.step();
        let Some(sent) = self.messages.get_mut(&number) else { return };
        let order = sent.last_order;
        match mem::replace(&mut sent.wait, wait) {
            Wait::Until(at) => drop(self.deadlines.remove(&(at, number))),
            Wait::Overdue => drop(self.overdue.remove(&(order, number))),
            Wait::Due => drop(self.due.remove(&number)),
            Wait::Held => {}
        }
        match wait {
            Wait::Until(at) => drop(self.deadlines.insert((at, number))),
            Wait::Overdue => drop(self.overdue.insert((order, number))),
            Wait::Due => drop(self.due.insert(number)),
            Wait::Held => {}
        }
    }

    fn step(&mut self) {
        #[cfg(test)]
        {
            self.steps += 1;
        }
    }
}
