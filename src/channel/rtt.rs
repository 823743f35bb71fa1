//! The round-trip estimate and the retransmission timeout that follows from it.
//!
//! Initial values, gains and granularity are those of the official client and the agent (docs/protocol.md), with three
//! differences: a floor; no ceiling of one second, since a slow path would be flooded with duplicates; and backoff
//! until a message that was sent once is acknowledged (Karn). Callers pass only samples of messages that were sent
//! once.

use std::time::Duration;

/// With a shorter timeout, resends would often precede the acknowledgement.
const FLOOR: Duration = Duration::from_millis(200);
/// The shortest timeout of the first input.
const FIRST_INPUT_FLOOR: Duration = Duration::from_millis(50);
/// The longest timeout without backoff.
const CEILING: Duration = Duration::from_secs(10);
/// The longest timeout with backoff, unless the path itself is slower.
const BACKOFF_CEILING: Duration = Duration::from_secs(2);
const GRANULARITY: Duration = Duration::from_millis(10);
/// The values of the official client and the agent before any sample.
const INITIAL: Duration = Duration::from_millis(100);
const INITIAL_TIMEOUT: Duration = Duration::from_millis(200);

/// Smoothed round-trip time, its variation and the current backoff.
#[derive(Clone, Debug)]
pub(crate) struct Rtt {
    smoothed: Duration,
    variation: Duration,
    latest: Option<Duration>,
    backoff: u32,
}

impl Rtt {
    pub(crate) fn new() -> Self {
        Self { smoothed: INITIAL, variation: Duration::ZERO, latest: None, backoff: 0 }
    }

    /// Adds the time between the only sending of a message and its acknowledgement; ends backoff.
    pub(crate) fn sample(&mut self, rtt: Duration) {
        self.variation = self.variation * 3 / 4 + self.smoothed.abs_diff(rtt) / 4;
        self.smoothed = self.smoothed * 7 / 8 + rtt / 8;
        self.latest = Some(rtt);
        self.backoff = 0;
    }

    /// Doubles the timeout until the next sample.
    pub(crate) fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(16);
    }

    /// Ends backoff: the timeouts occurred on a closed connection.
    pub(crate) fn reset_backoff(&mut self) {
        self.backoff = 0;
    }

    /// Returns the smoothed round-trip time.
    pub(crate) fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// Returns how long to wait for an acknowledgement before a resend.
    pub(crate) fn timeout(&self) -> Duration {
        let base = self.estimate().clamp(FLOOR, CEILING);
        let doubled = base.saturating_mul(1 << self.backoff.min(16));
        doubled.min(base.max(BACKOFF_CEILING))
    }

    /// Returns the timeout of the first input, from the latest sample alone. The agent often does not accept it yet,
    /// since it connects to the port at that time: an early resend saves more than it costs.
    pub(crate) fn first_input_timeout(&self) -> Duration {
        self.latest.map_or(self.timeout(), |latest| (latest * 3).max(FIRST_INPUT_FLOOR).min(self.timeout()))
    }

    fn estimate(&self) -> Duration {
        if self.latest.is_none() {
            return INITIAL_TIMEOUT;
        }
        self.smoothed + (self.variation * 4).max(GRANULARITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_samples_give_the_published_series() {
        let mut rtt = Rtt::new();
        assert_eq!(rtt.estimate(), Duration::from_millis(200));
        let series = [152.5, 183.4, 199.3, 204.7, 203.1, 196.9, 188.0, 177.5, 166.3, 155.0];
        for expected in series {
            rtt.sample(Duration::from_millis(40));
            let actual = rtt.estimate().as_secs_f64() * 1000.0;
            assert!((actual - expected).abs() < 0.06, "{actual} is not {expected}");
            assert!(rtt.timeout() >= FLOOR);
        }
    }

    #[test]
    fn backoff_doubles_up_to_two_seconds_and_ends_with_a_sample() {
        let mut rtt = Rtt::new();
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(rtt.timeout().as_millis());
            rtt.back_off();
        }
        assert_eq!(seen, [200, 400, 800, 1600, 2000, 2000]);
        rtt.sample(Duration::from_millis(100));
        assert_eq!(rtt.timeout(), FLOOR);
    }

    #[test]
    fn a_slow_path_is_not_flooded() {
        let mut rtt = Rtt::new();
        for _ in 0..50 {
            rtt.sample(Duration::from_secs(4));
        }
        assert!(rtt.timeout() > Duration::from_secs(4));
        rtt.back_off();
        assert!(rtt.timeout() > Duration::from_secs(4));
    }
}
