//! How long the streams of a hop have blocked each other.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// Counts the streams of a hop whose buffers are full, which blocks all others.
#[derive(Default)]
pub(super) struct Stalls(Mutex<Full>);

#[derive(Default)]
struct Full {
    streams: usize,
    since: Option<Instant>,
}

/// Counts one stream as full until it is dropped.
pub(super) struct Stalled<'a>(&'a Stalls);

impl Stalls {
    /// Counts one stream until the result is dropped.
    pub fn begin(&self) -> Stalled<'_> {
        self.change(|full| {
            full.streams += 1;
            full.since.get_or_insert_with(clock::now);
        });
        Stalled(self)
    }

    /// Returns for how long at least one buffer has been full without a break.
    pub fn longest(&self) -> Option<Duration> {
        self.change(|full| full.since).map(|since| clock::now() - since)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Full) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        self.0.change(|full| {
            full.streams -= 1;
            full.since = full.since.filter(|_| full.streams > 0);
        });
    }
}
