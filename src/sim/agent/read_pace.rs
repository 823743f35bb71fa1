//! The pace of the agent's reading: one read, then a pause.

use std::time::{Duration, Instant};

/// When the next read is due, and whether it is.
#[derive(Debug)]
pub(super) struct ReadPace {
    next_read: Instant,
    readable: bool,
}

impl ReadPace {
    /// Allows the first read at once.
    pub fn new(now: Instant) -> Self {
        Self { next_read: now, readable: true }
    }

    /// Says whether the pause since the last read is over.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Returns when the pause is over, unless it is.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.readable).then_some(self.next_read)
    }

    /// Ends the pause if its time is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.readable |= now >= self.next_read;
    }

    /// Begins the pause after a read.
    pub fn read(&mut self, now: Instant, interval: Duration) {
        // A read that a coarse timer made late does not delay the next one: the mean speed is kept, as long as there is
        // something to read.
        let on_schedule = now.saturating_duration_since(self.next_read) < 2 * interval;
        self.next_read = if on_schedule { self.next_read + interval } else { now + interval };
        self.readable = self.next_read <= now;
    }
}
