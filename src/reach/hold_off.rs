//! The pause after a failure, before the same is tried again: doubling, and reset by a success.
//!
//! Everything that retries on behalf of local clients uses it, so that a client in a loop cannot cause a StartSession or
//! a login each time.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The first pause; it doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What is lost sooner than this after it worked may be lost as soon the next time.
const SHORT_LIFE: Duration = Duration::from_secs(10);

/// The failures since the last success.
#[derive(Debug)]
pub struct HoldOff {
    longest: Duration,
    failures: Cell<u32>,
    losses: Cell<u32>,
    until: Cell<Option<Instant>>,
}

impl HoldOff {
    /// Starts without a pause. No pause takes more than half of the time that a client waits, so that the other half is
    /// left for the attempt.
    pub fn new(client_timeout: Duration) -> Self {
        Self {
            longest: LONGEST_PAUSE.min(client_timeout / 2),
            failures: Cell::default(),
            losses: Cell::default(),
            until: Cell::default(),
        }
    }

    /// Starts the next pause.
    pub fn failed(&self, now: Instant) {
        let doublings = self.failures.replace(self.failures.get().saturating_add(1)).min(8);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(self.longest);
        self.until.set(Some(now + pause));
    }

    /// Ends the pause and forgets the failures to open something. It may still be lost soon.
    pub fn succeeded(&self) {
        self.failures.set(0);
        self.until.set(None);
    }

    /// Notes that what was opened at that time is lost. It is opened again at once, unless it was lost soon, and the one
    /// before it too: then a pause starts.
    pub fn lost(&self, opened: Instant, now: Instant) {
        if now >= opened + SHORT_LIFE {
            return self.losses.set(0);
        }
        let before = self.losses.replace(self.losses.get().saturating_add(1));
        if before > 0 {
            self.failures.set(before - 1);
            self.failed(now);
        }
    }

    /// Returns the end of the pause.
    pub fn until(&self) -> Option<Instant> {
        self.until.get()
    }

    /// Returns true during a pause.
    pub fn is_active(&self, now: Instant) -> bool {
        self.until.get().is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_soon_again_and_again_is_opened_after_pauses() {
        let mut now = crate::clock::now();
        let hold_off = HoldOff::new(Duration::from_secs(45));
        let mut lose_after = |life: Duration| {
            hold_off.succeeded();
            let opened = now;
            now += life;
            hold_off.lost(opened, now);
            hold_off.until().map(|until| (until - now).as_secs())
        };
        let soon = Duration::from_secs(1);
        let pauses = [soon; 4].map(&mut lose_after);
        assert_eq!(pauses, [None, Some(1), Some(2), Some(4)]);
        assert_eq!(lose_after(SHORT_LIFE), None, "it worked for long enough");
        assert_eq!([soon; 2].map(lose_after), [None, Some(1)]);
    }

    #[test]
    fn pauses_double_to_their_limit_and_a_success_ends_them() {
        let now = crate::clock::now();
        let hold_off = HoldOff::new(Duration::from_secs(45));
        let pauses: Vec<u64> = (0..7)
            .map(|_| {
                hold_off.failed(now);
                hold_off.until().map(|until| (until - now).as_secs()).unwrap_or_default()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 22, 22]);
        assert!(hold_off.is_active(now) && !hold_off.is_active(now + Duration::from_secs(23)));
        hold_off.succeeded();
        assert_eq!(hold_off.until(), None);
        hold_off.failed(now);
        assert_eq!(hold_off.until(), Some(now + Duration::from_secs(1)));
    }
}
