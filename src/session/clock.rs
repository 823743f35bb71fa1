//! The driver's clocks, and whether the machine has slept.
//!
//! The wall clock is a constructor input: a test lets it run ahead of the monotonic one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::channel::Now;
use crate::clock::now;

/// The wall clock must run ahead of the monotonic one by this much between two looks to count as sleep.
const SLEEP: Duration = Duration::from_secs(5);
/// A wake-up that is later than planned by this much counts as sleep, where both clocks run while the machine sleeps.
const OVERSLEPT: Duration = Duration::from_secs(10);

/// The clocks, and what they showed at the last look.
pub(super) struct Clock {
    read_wall: fn() -> SystemTime,
    instant: Instant,
    wall: SystemTime,
    wake_by: Option<Instant>,
}

impl Clock {
    pub(super) fn start(read_wall: fn() -> SystemTime) -> Self {
        Self { read_wall, instant: now(), wall: read_wall(), wake_by: None }
    }

    /// Returns the time for the channel.
    pub(super) fn now(&self) -> Now {
        let unix = self.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { instant: now(), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Returns the wall-clock time.
    pub(super) fn wall(&self) -> SystemTime {
        (self.read_wall)()
    }

    /// Notes when the loop plans to wake up at the latest.
    pub(super) fn plan_wake(&mut self, at: Instant) {
        self.wake_by = Some(at);
    }

    /// Returns how long the machine has slept since the last call, if it has.
    pub(super) fn slept(&mut self) -> Option<Duration> {
        self.slept_by(now(), self.wall())
    }

    fn slept_by(&mut self, instant: Instant, wall: SystemTime) -> Option<Duration> {
        let ticked = instant.saturating_duration_since(self.instant);
        let passed = wall.duration_since(self.wall).unwrap_or_default();
        (self.instant, self.wall) = (instant, wall);
        let late = self.wake_by.take().map(|wake_by| instant.saturating_duration_since(wake_by));
        let asleep = passed.checked_sub(ticked).filter(|asleep| *asleep > SLEEP);
        asleep.or(late.filter(|late| *late > OVERSLEPT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn clock() -> Clock {
        Clock::start(|| UNIX_EPOCH + Duration::from_secs(1_700_000_000))
    }

    #[test]
    fn time_that_only_the_wall_clock_counted_is_sleep() {
        let mut clock = clock();
        let (instant, wall) = (clock.instant, clock.wall);
        assert_eq!(clock.slept_by(instant + SECOND, wall + SECOND), None);
        assert_eq!(clock.slept_by(instant + 2 * SECOND, wall + 62 * SECOND), Some(60 * SECOND));
        assert_eq!(clock.slept_by(instant + 3 * SECOND, wall), None, "the wall clock was set back");
    }

    #[test]
    fn a_wake_up_that_is_far_too_late_is_sleep() {
        let mut clock = clock();
        let (instant, wall) = (clock.instant, clock.wall);
        clock.plan_wake(instant + SECOND);
        assert_eq!(clock.slept_by(instant + 11 * SECOND, wall), None);
        clock.plan_wake(instant + 12 * SECOND);
        assert_eq!(clock.slept_by(instant + 23 * SECOND, wall), Some(11 * SECOND));
        assert_eq!(clock.slept_by(instant + 60 * SECOND, wall), None, "no wake-up was planned");
    }
}
