//! The only clock: everything below gets `now` from here.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::channel::Now;

/// The wall's clock must run ahead of the monotonic one by this much between two looks to count as sleep.
const SLEEP: Duration = Duration::from_secs(5);

/// The clocks, and what they showed at the last look.
#[derive(Debug)]
pub(crate) struct Clock {
    instant: Instant,
    wall: SystemTime,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { instant: now(), wall: wall() }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Now {
        let unix = wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { instant: now(), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
    }

    /// How long the machine has slept since the last call, if it has: the monotonic clock stands still meanwhile.
    pub(crate) fn slept(&mut self) -> Option<Duration> {
        self.slept_by(now(), wall())
    }

    fn slept_by(&mut self, instant: Instant, wall: SystemTime) -> Option<Duration> {
        let ticked = instant.saturating_duration_since(self.instant);
        let passed = wall.duration_since(self.wall).unwrap_or_default();
        (self.instant, self.wall) = (instant, wall);
        passed.checked_sub(ticked).filter(|asleep| *asleep > SLEEP)
    }
}

/// The wall's time, for signatures and stamps.
#[expect(clippy::disallowed_methods, reason = "this is the driver's clock")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

#[expect(clippy::disallowed_methods, reason = "this is the driver's clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_what_only_the_wall_has_seen() {
        let mut clock = Clock::start();
        let (instant, wall) = (clock.instant, clock.wall);
        let second = Duration::from_secs(1);
        assert_eq!(clock.slept_by(instant + second, wall + second), None);
        assert_eq!(clock.slept_by(instant + 2 * second, wall + 62 * second), Some(60 * second));
        assert_eq!(clock.slept_by(instant + 3 * second, wall), None, "a clock that is set back is no sleep");
    }
}
