//! The pace of the agent's reads: a pause after each read.

use std::time::{Duration, Instant};

/// The time of the next read.
#[derive(Debug)]
pub(super) struct ReadPace {
    next_read: Instant,
    readable: bool,
}

impl ReadPace {
    /// Starts with a read allowed.
    pub fn new(now: Instant) -> Self {
        Self { next_read: now, readable: true }
    }

    /// Returns whether the pause since the last read is over.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Returns when the pause ends; `None` if it is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.readable).then_some(self.next_read)
    }

    /// Ends the pause if its time is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.readable |= now >= self.next_read;
    }

    /// Starts the pause after a read.
    pub fn read(&mut self, now: Instant, interval: Duration) {
        // A late timer does not delay the next read, so that the mean rate is kept.
        let on_schedule = now.saturating_duration_since(self.next_read) < 2 * interval;
        self.next_read = if on_schedule { self.next_read + interval } else { now + interval };
        self.readable = self.next_read <= now;
    }
}
