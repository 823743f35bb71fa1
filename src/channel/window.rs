//! The window: how much may be in flight, and how large a message may be, from an estimate of the path.
//!
//! window = 2 × delivery rate × minimum round-trip time + 4 messages + the largest burst of acknowledgements. The factor two
//! lets the estimate double each round trip until the path is full; then at most one round trip's worth of data is queued.
//! Loss does not change it. A path with jitter, or with a proxy that collects small segments, delivers acknowledgements in
//! bursts and is mostly slower than its minimum: without the burst, the window would keep it idle ("ack aggregation" of BBR,
//! net/ipv4/tcp_bbr.c of Linux).
//! Growth of the window is used as acknowledgements arrive, two messages for one, so that no burst queues more.
//! Our own queue hides changes of the minimum. When the minimum is old, the window shrinks until the queue has drained
//! and a sample without queueing delay arrives ("ProbeRTT" of BBR, draft-ietf-ccwg-bbr).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most bytes that are kept for resending.
const MAX_WINDOW: usize = 4 << 20;
/// Messages allowed in addition to the estimate, which starts at 0.
const BASE_MESSAGES: usize = 4;
/// How long a minimum round-trip time is used.
const MIN_RTT_LIFETIME: Duration = Duration::from_secs(10);
/// The longest time in seconds that the path may need for one message: a keystroke behind it waits no longer.
const MESSAGE_TIME: f64 = 0.020;
/// Rates are kept for ten round trips, and at least this long.
const MIN_RATE_LIFETIME: Duration = Duration::from_millis(100);
/// The rate still grows if it has become larger by this factor, in this many round trips ("full bandwidth" of BBR).
const GROWTH: (f64, u32) = (1.25, 3);
/// How long the largest burst is used.
const BURST_LIFETIME: Duration = Duration::from_secs(1);
/// The longest time in seconds that a burst may keep the path busy, as in BBR: a queue that it leaves is not longer.
const MAX_BURST_TIME: f64 = 0.1;

/// What an acknowledgement shows about the path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Acknowledged bytes.
    pub bytes: usize,
    /// Round-trip time, if the message was sent once.
    pub rtt: Option<Duration>,
    /// When the message was first sent.
    pub sent_at: Instant,
    /// Delivery rate in bytes a second.
    pub rate: Option<f64>,
}

/// The estimate of the path.
#[derive(Debug, Default)]
pub(crate) struct Window {
    rates: Maximum,
    bursts: Bursts,
    minimum: Option<(Instant, Duration)>,
    probe_rtt: Option<ProbeRtt>,
    /// How much of the window may be used now.
    usable: usize,
}

/// The maximum of recent values: in falling order with their times, so that the first is the maximum.
#[derive(Debug, Default)]
struct Maximum(VecDeque<(Instant, f64)>);

impl Maximum {
    fn take(&mut self, now: Instant, value: f64, life: Duration) {
        while self.0.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > life) {
            self.0.pop_front();
        }
        while self.0.back().is_some_and(|(_, older)| *older <= value) {
            self.0.pop_back();
        }
        self.0.push_back((now, value));
    }

    /// Returns the maximum; 0 without values.
    fn value(&self) -> f64 {
        self.0.front().map_or(0.0, |(_, value)| *value)
    }
}

/// How many bytes are acknowledged at once, beyond those that the rate explains.
#[derive(Debug, Default)]
struct Bursts {
    /// When the bytes of the rate were counted from, and the bytes since.
    epoch: Option<(Instant, f64)>,
    /// When the rate grew last, and what it was then.
    growth: Option<(Instant, f64)>,
    is_full: bool,
    largest: Maximum,
}

impl Bursts {
    /// Returns true once the rate grows no more. Until then, its growth would be taken for a burst.
    fn is_full(&mut self, now: Instant, rate: f64, rtt: Duration) -> bool {
        let (factor, round_trips) = GROWTH;
        match self.growth {
            Some((at, before)) if rate <= before * factor => {
                self.is_full |= now.saturating_duration_since(at) > rtt * round_trips;
            }
            _ => self.growth = Some((now, rate)),
        }
        self.is_full
    }

    fn take(&mut self, now: Instant, bytes: usize, rate: f64) {
        let expected = |began| rate * now.saturating_duration_since(began).as_secs_f64();
        let goes_on = |(began, bytes): &(Instant, f64)| {
            now.saturating_duration_since(*began) < BURST_LIFETIME && *bytes > expected(*began)
        };
        let (began, before) = self.epoch.filter(goes_on).unwrap_or((now, 0.0));
        let bytes = before + bytes as f64;
        self.epoch = Some((began, bytes));
        self.largest.take(now, bytes - expected(began), BURST_LIFETIME);
    }
}

/// The window is small until the queue has drained and a new minimum is measured.
#[derive(Debug, Default)]
struct ProbeRtt {
    drained_at: Option<Instant>,
    best: Option<Duration>,
}

impl Window {
    /// Adds a sample, with the bytes in flight after it and the size of messages that are sent now.
    pub(crate) fn sample(&mut self, now: Instant, sample: Sample, in_flight: usize, message: usize) {
        if let Some(rate) = sample.rate {
            self.take_rate(now, rate);
        }
        if let Some(rtt) = sample.rtt {
            self.take_rtt(now, rtt, in_flight > BASE_MESSAGES * message);
        }
        let rate = self.rate();
        if let Some(rtt) = sample.rtt
            && self.bursts.is_full(now, rate, rtt)
        {
            self.bursts.take(now, sample.bytes, rate);
        }
        self.update_probe_rtt(now, sample, in_flight, message);
        let usable = if self.probe_rtt.is_some() { 0 } else { self.usable + sample.bytes };
        self.usable = usable.min(self.limit(message));
    }

    /// Reduces the usable window when nothing is in flight, so that new data is not sent in one burst.
    pub(crate) fn idle(&mut self) {
        self.usable = self.usable.min(self.bandwidth_delay_product() as usize);
    }

    /// Returns the bytes that may be unacknowledged, for messages of `message` bytes.
    pub(crate) fn size(&self, message: usize) -> usize {
        let limit = self.limit(message);
        if self.probe_rtt.is_some() { limit } else { self.usable.max(BASE_MESSAGES * message).min(limit) }
    }

    fn limit(&self, message: usize) -> usize {
        let bandwidth_delay_product = self.bandwidth_delay_product();
        let size = match self.probe_rtt {
            None => bandwidth_delay_product * 2.0 + (BASE_MESSAGES * message) as f64 + self.burst(),
            Some(_) => (bandwidth_delay_product / 2.0).max((2 * message) as f64),
        };
        (size as usize).min(MAX_WINDOW)
    }

    /// Returns the size of a message, overhead included, that the path carries in 20 ms.
    pub(crate) fn message_size(&self) -> usize {
        (self.rate() * MESSAGE_TIME) as usize
    }

    /// Returns the recent minimum of the round-trip time; zero before the first sample.
    pub(crate) fn min_rtt(&self) -> Duration {
        self.minimum.map_or(Duration::ZERO, |(_, rtt)| rtt)
    }

    /// Forgets the minimum round-trip time: the path may be another one after a reconnect.
    pub(crate) fn forget_path(&mut self) {
        self.minimum = None;
        self.probe_rtt = None;
        self.bursts = Bursts::default();
    }

    /// Returns the bandwidth-delay product in bytes.
    fn bandwidth_delay_product(&self) -> f64 {
        self.rate() * self.min_rtt().as_secs_f64()
    }

    /// Returns the bytes that are to be in flight so that the path has work until the next burst.
    fn burst(&self) -> f64 {
        self.bursts.largest.value().min(self.rate() * MAX_BURST_TIME)
    }

    fn rate(&self) -> f64 {
        self.rates.value()
    }

    fn take_rate(&mut self, now: Instant, rate: f64) {
        let life = self.minimum.map_or(MIN_RATE_LIFETIME, |(_, rtt)| (rtt * 10).max(MIN_RATE_LIFETIME));
        self.rates.take(now, rate, life);
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
    const BURST_PAUSE: Duration = Duration::from_millis(40);

    fn sample(sent_at: Instant, rtt_ms: u64, rate: f64) -> Sample {
        Sample { bytes: 0, rtt: Some(Duration::from_millis(rtt_ms)), sent_at, rate: Some(rate) }
    }

    #[test]
    fn an_unknown_path_gets_four_messages() {
        assert_eq!(Window::default().limit(MESSAGE), 4 * MESSAGE);
    }

    #[test]
    fn the_window_is_twice_the_bandwidth_delay_product_and_bounded() {
        let now = start().instant;
        let mut window = Window::default();
        window.sample(now, sample(now, 100, 1_000_000.0), 0, MESSAGE);
        window.sample(now, sample(now, 100, 1_000_000.0), 0, MESSAGE);
        assert_eq!(window.limit(MESSAGE), 200_000 + 4 * MESSAGE);
        assert_eq!(window.message_size(), 20_000);
        window.sample(now, sample(now, 100, 1e9), 0, MESSAGE);
        assert_eq!(window.limit(MESSAGE), MAX_WINDOW);
    }

    /// A proxy that collects small segments: all that is in flight is acknowledged at once, every 40 ms; the minimum is 1 ms.
    #[test]
    fn bursts_of_acknowledgements_do_not_keep_the_window_small() {
        let now = start().instant;
        let mut window = Window::default();
        window.sample(now, sample(now, 1, 1e5), 0, MESSAGE);
        for round in 1..100_u32 {
            let (sent_at, now) = (now + (round - 1) * BURST_PAUSE, now + round * BURST_PAUSE);
            let flight = window.size(MESSAGE);
            let rate = flight as f64 / BURST_PAUSE.as_secs_f64();
            for _ in 0..flight / MESSAGE {
                let sample = Sample { bytes: MESSAGE, ..sample(sent_at, 40, rate) };
                window.sample(now, sample, 0, MESSAGE);
            }
        }
        assert!(window.size(MESSAGE) > 100 * MESSAGE, "{}", window.size(MESSAGE));
        // A second without bursts: the window is that of the rate again.
        let mut at = now + Duration::from_secs(5);
        for _ in 0..2000 {
            at += Duration::from_millis(1);
            window.sample(at, Sample { bytes: 100, ..sample(at, 1, 1e5) }, 0, MESSAGE);
        }
        assert!(window.limit(MESSAGE) < 6 * MESSAGE, "{}", window.limit(MESSAGE));
    }

    #[test]
    fn growth_of_the_window_is_used_as_acknowledgements_arrive() {
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
        assert_eq!(window.size(MESSAGE), 100_000, "one product, not two, after a pause");
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
    fn an_old_minimum_shrinks_the_window_until_a_sample_without_queueing_delay() {
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
    fn without_a_queue_a_new_minimum_replaces_the_old_one() {
        let now = start().instant;
        let mut window = Window::default();
        window.sample(now, sample(now, 20, 100.0), 0, MESSAGE);
        let later = now + Duration::from_secs(11);
        window.sample(later, sample(later, 300, 100.0), 0, MESSAGE);
        assert_eq!(window.minimum.unwrap().1, Duration::from_millis(300));
    }
}
