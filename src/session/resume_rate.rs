//! The limit on calls of ResumeSession, whatever the websockets do in between.
//!
//! A websocket that brings progress ends an outage, so the next attempt is made at once. A path that breaks after each
//! message would make an attempt for each.

use std::time::{Duration, Instant};

/// Attempts that may follow each other at once.
const BURST: u32 = 10;
/// Then one attempt in this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// A token bucket: the time at which it will be full again.
#[derive(Debug, Default)]
pub(super) struct ResumeRate {
    full_at: Option<Instant>,
}

impl ResumeRate {
    /// Takes an attempt that is planned after `delay`; returns the delay that it must have.
    pub(super) fn plan(&mut self, now: Instant, delay: Duration) -> Duration {
        let planned = now + delay;
        let full_at = self.full_at.map_or(planned, |full_at| full_at.max(planned));
        let earliest = full_at.checked_sub(INTERVAL * (BURST - 1)).unwrap_or(planned);
        self.full_at = Some(full_at + INTERVAL);
        delay.max(earliest.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::start;

    #[test]
    fn a_burst_is_free_and_then_each_attempt_takes_a_second() {
        let mut now = start().instant;
        let began = now;
        let mut rate = ResumeRate::default();
        for _ in 0..BURST {
            assert_eq!(rate.plan(now, Duration::ZERO), Duration::ZERO);
        }
        for _ in 0..20 {
            now += rate.plan(now, Duration::ZERO);
        }
        assert_eq!(now - began, 20 * INTERVAL);
        now += 60 * INTERVAL;
        assert_eq!(rate.plan(now, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn attempts_that_wait_anyway_are_not_delayed_more() {
        let now = start().instant;
        let mut rate = ResumeRate::default();
        for attempt in 0..100 {
            let delay = 2 * INTERVAL;
            assert_eq!(rate.plan(now + delay * attempt, delay), delay);
        }
    }
}
