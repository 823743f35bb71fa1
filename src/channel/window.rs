//! How much may be in flight, and how large a message may be: an estimate of the path.
//!
//! window = 2 × delivery rate × minimum round-trip time + 4 messages. The factor two lets the estimate double each
//! round trip until the path is full, and then keeps at most one round trip's worth queued. Loss changes nothing.
//! A window that has grown is used as acknowledgements come, two messages for one, so that no burst queues more.
//! The minimum goes stale under a queue of our own making; then the window dips until the queue has drained_at and an
//! honest sample came back (as in BBR, draft-ietf-ccwg-bbr, "ProbeRTT").

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// No more than this is kept for resending, whatever the path.
const MAX_WINDOW: usize = 4 << 20;
/// Messages allowed on top of the estimate, so that it can start from nothing.
const BASE_MESSAGES: usize = 4;
/// How long a minimum round-trip time is believed.
const MIN_RTT_LIFETIME: Duration = Duration::from_secs(10);
/// A message may take this long to serialize on the path, so that a keystroke behind it does not wait for more.
const MESSAGE_TIME: f64 = 0.020;
/// Rates are remembered for ten round trips, and on the shortest paths not less than this.
const MIN_RATE_LIFETIME: Duration = Duration::from_millis(100);

/// What an acknowledgement told about the path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// How much was acknowledged.
    pub bytes: usize,
    /// Round-trip time, of a message that was sent once.
    pub rtt: Option<Duration>,
    /// When that message was sent.
    pub sent_at: Instant,
    /// Delivery rate in bytes a second.
    pub rate: Option<f64>,
}

/// The estimate.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Falling rates with the time of each: the first is the maximum.
    rates: VecDeque<(Instant, f64)>,
    minimum: Option<(Instant, Duration)>,
    probe_rtt: Option<ProbeRtt>,
    /// How much of the window may be used by now.
    usable: usize,
}

#[derive(Debug, Default)]
struct ProbeRtt {
    drained_at: Option<Instant>,
    best: Option<Duration>,
}

impl Window {
    /// Takes a sample, with what is in flight after it and the size of the messages now sent.
    pub(crate) fn sample(&mut self, now: Instant, sample: Sample, in_flight: usize, message: usize) {
        if let Some(rate) = sample.rate {
            self.take_rate(now, rate);
        }
        if let Some(rtt) = sample.rtt {
            self.take_rtt(now, rtt, in_flight > BASE_MESSAGES * message);
        }
        self.update_probe_rtt(now, sample, in_flight, message);
        let usable = if self.probe_rtt.is_some() { 0 } else { self.usable + sample.bytes };
        self.usable = usable.min(self.limit(message));
    }

    /// Nothing is in flight: what comes next must not leave in one burst.
    pub(crate) fn idle(&mut self) {
        self.usable = self.usable.min(self.bandwidth_delay_product() as usize);
    }

    /// Bytes that may be unacknowledged, for messages of `message` bytes.
    pub(crate) fn size(&self, message: usize) -> usize {
        let limit = self.limit(message);
        if self.probe_rtt.is_some() { limit } else { self.usable.max(BASE_MESSAGES * message).min(limit) }
    }

    fn limit(&self, message: usize) -> usize {
        let bandwidth_delay_product = self.bandwidth_delay_product();
        let size = match self.probe_rtt {
            None => bandwidth_delay_product * 2.0 + (BASE_MESSAGES * message) as f64,
            Some(_) => (bandwidth_delay_product / 2.0).max((2 * message) as f64),
        };
        (size as usize).min(MAX_WINDOW)
    }

    /// Bytes that a message may have, overhead included, so that the path carries it in 20 ms.
    pub(crate) fn message_size(&self) -> usize {
        (self.rate() * MESSAGE_TIME) as usize
    }

    /// The shortest round trip of late; zero before there is any.
    pub(crate) fn min_rtt(&self) -> Duration {
        self.minimum.map_or(Duration::ZERO, |(_, rtt)| rtt)
    }

    /// Forgets the path: it may be another one after a reconnect.
    pub(crate) fn forget_path(&mut self) {
        self.minimum = None;
        self.probe_rtt = None;
    }

    /// The bandwidth-delay bandwidth_delay_product in bytes.
    fn bandwidth_delay_product(&self) -> f64 {
        self.rate() * self.min_rtt().as_secs_f64()
    }

    fn rate(&self) -> f64 {
        self.rates.front().map_or(0.0, |(_, rate)| *rate)
    }

    fn take_rate(&mut self, now: Instant, rate: f64) {
        let life = self.minimum.map_or(MIN_RATE_LIFETIME, |(_, rtt)| (rtt * 10).max(MIN_RATE_LIFETIME));
        while self.rates.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > life) {
            self.rates.pop_front();
        }
        while self.rates.back().is_some_and(|(_, older)| *older <= rate) {
            self.rates.pop_back();
        }
        self.rates.push_back((now, rate));
    }

    fn take_rtt(&mut self, now: Instant, rtt: Duration, queued: bool) {
        let Some((at, minimum)) = self.minimum else {
            self.minimum = Some((now, rtt));
            return;
        };
        if rtt <= minimum + minimum / 16 {
            self.minimum = Some((now, rtt.min(minimum)));
        } else if now.saturating_duration_since(at) > MIN_RTT_LIFETIME && self.probe_rtt.is_none() {
            if queued {
                self.probe_rtt = Some(ProbeRtt::default());
            } else {
                self.minimum = Some((now, rtt));
            }
        }
    }

    fn update_probe_rtt(&mut self, now: Instant, sample: Sample, in_flight: usize, message: usize) {
        let target = self.limit(message);
        let Some(probe) = &mut self.probe_rtt else { return };
        if let Some(rtt) = sample.rtt {
            probe.best = Some(probe.best.map_or(rtt, |best| best.min(rtt)));
        }
        match (probe.drained_at, probe.best) {
            (None, _) if in_flight <= target => probe.drained_at = Some(now),
            (Some(drained_at), Some(best)) if sample.sent_at >= drained_at => {
                self.minimum = Some((now, best));
                self.probe_rtt = None;
            }
            (None | Some(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::start;

    const MESSAGE: usize = 1144;

    fn sample(sent_at: Instant, rtt_ms: u64, rate: f64) -> Sample {
        Sample { bytes: 0, rtt: Some(Duration::from_millis(rtt_ms)), sent_at, rate: Some(rate) }
    }

    #[test]
    fn an_unknown_path_gets_four_messages() {
        assert_eq!(Window::default().limit(MESSAGE), 4 * MESSAGE);
    }

    #[test]
    fn the_window_is_twice_the_product_and_bounded() {
        let now = start().instant;
        let mut window = Window::default();
        window.sample(now, sample(now, 100, 1_000_000.0), 0, MESSAGE);
        window.sample(now, sample(now, 100, 1_000_000.0), 0, MESSAGE);
        assert_eq!(window.limit(MESSAGE), 200_000 + 4 * MESSAGE);
        assert_eq!(window.message_size(), 20_000);
        window.sample(now, sample(now, 100, 1e9), 0, MESSAGE);
        assert_eq!(window.limit(MESSAGE), MAX_WINDOW);
    }

    #[test]
    fn a_window_that_has_grown_opens_as_acknowledgements_come() {
        let now = start().instant;
        let mut window = Window::default();
        let acknowledged = |bytes| Sample { bytes, ..sample(now, 100, 1_000_000.0) };
        window.sample(now, acknowledged(MESSAGE), 0, MESSAGE);
        assert_eq!(window.size(MESSAGE), 4 * MESSAGE);
        window.sample(now, acknowledged(50_000), 0, MESSAGE);
        assert_eq!(window.size(MESSAGE), 50_000 + MESSAGE);
        window.sample(now, acknowledged(500_000), 0, MESSAGE);
        assert_eq!(window.size(MESSAGE), window.limit(MESSAGE));
        window.idle();
        assert_eq!(window.size(MESSAGE), 100_000, "one bandwidth_delay_product, not two, after a pause");
    }

    #[test]
    fn the_highest_rate_of_ten_round_trips_counts() {
        let now = start().instant;
        let mut window = Window::default();
        let at = |ms| now + Duration::from_millis(ms);
        window.sample(at(0), sample(at(0), 50, 500.0), 0, MESSAGE);
        window.sample(at(400), sample(at(350), 50, 100.0), 0, MESSAGE);
        assert_eq!(window.rate(), 500.0);
        window.sample(at(700), sample(at(650), 50, 90.0), 0, MESSAGE);
        assert_eq!(window.rate(), 100.0);
    }

    #[test]
    fn a_stale_minimum_makes_the_window_dip_until_an_honest_sample() {
        let now = start().instant;
        let at = |ms| now + Duration::from_millis(ms);
        let mut window = Window::default();
        window.sample(at(0), sample(at(0), 100, 1e6), 0, MESSAGE);
        let full = window.limit(MESSAGE);
        window.sample(at(10_001), sample(at(9_801), 200, 1e6), full, MESSAGE);
        assert!(window.limit(MESSAGE) <= full / 4);
        window.sample(at(10_300), sample(at(10_100), 190, 1e6), 1000, MESSAGE);
        window.sample(at(10_410), sample(at(10_301), 109, 1e6), 1000, MESSAGE);
        assert_eq!(window.minimum.unwrap().1, Duration::from_millis(109));
        assert!(window.limit(MESSAGE) > full);
    }

    #[test]
    fn without_a_queue_a_new_minimum_is_simply_believed() {
        let now = start().instant;
        let mut window = Window::default();
        window.sample(now, sample(now, 20, 100.0), 0, MESSAGE);
        let later = now + Duration::from_secs(11);
        window.sample(later, sample(later, 300, 100.0), 0, MESSAGE);
        assert_eq!(window.minimum.unwrap().1, Duration::from_millis(300));
    }
}
