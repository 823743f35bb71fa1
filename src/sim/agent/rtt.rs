//! The agent's estimate of the round trip and of its retransmission timeout (docs/protocol.md, "Retransmission").

use std::time::Duration;

const GRANULARITY_NS: f64 = 10e6;
const LONGEST: Duration = Duration::from_secs(1);

/// The estimate; every acknowledged message is a sample, including resent ones.
#[derive(Clone, Debug)]
pub struct RoundTrip {
    mean_ns: f64,
    variation_ns: f64,
    timeout: Duration,
}

impl Default for RoundTrip {
    fn default() -> Self {
        Self { mean_ns: 100e6, variation_ns: 0.0, timeout: Duration::from_millis(200) }
    }
}

impl RoundTrip {
    /// Adds a sample: the time from a message's last send to its acknowledgement.
    pub fn sample(&mut self, took: Duration) {
        let took = took.as_nanos() as f64;
        self.variation_ns = 0.75 * self.variation_ns + 0.25 * (self.mean_ns - took).abs();
        self.mean_ns = 0.875 * self.mean_ns + 0.125 * took;
        let timeout = self.mean_ns + GRANULARITY_NS.max(4.0 * self.variation_ns);
        self.timeout = Duration::from_nanos(timeout as u64).min(LONGEST);
    }

    /// Returns the time after which an unacknowledged message is resent.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vector_7_the_timeouts_of_constant_40_ms_samples() {
        let mut round_trip = RoundTrip::default();
        for expected in [152.5, 183.4, 199.3, 204.7, 203.1, 196.9, 188.0, 177.5, 166.3, 155.0] {
            round_trip.sample(Duration::from_millis(40));
            let got = round_trip.timeout().as_secs_f64() * 1000.0;
            assert!((got - expected).abs() < 0.06, "{got} is not {expected}");
        }
    }

    #[test]
    fn the_timeout_never_exceeds_a_second() {
        let mut round_trip = RoundTrip::default();
        round_trip.sample(Duration::from_secs(30));
        assert_eq!(round_trip.timeout(), Duration::from_secs(1));
    }
}
