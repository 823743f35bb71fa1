//! Payload discovery: finds the largest message that the path carries, without user data in the probes.
//!
//! Like PLPMTUD (RFC 8899): while bulk data waits, a probe of the next size is sent. A probe is a padded `Size`
//! message, which the agent acknowledges and ignores in a Port session. An acknowledgement proves the size. If the
//! probe times out or the connection is lost, a minimal message takes its sequence number. One failure may be chance,
//! so the size is tried a second time. Sizes are those of whole messages, header included.

use std::time::{Duration, Instant};

use super::frame::OVERHEAD;

/// The payload that the official client and the agent use.
pub(crate) const SAFE_PAYLOAD: usize = 1024;
/// The largest payload that is ever sent.
pub const LARGEST_PAYLOAD: usize = 32_768;

const PROBE_SIZES: [usize; 3] = [4_096, 16_384, 32_768];
/// How long to wait before a size that failed once is tried again.
const SECOND_TRY: Duration = Duration::from_secs(60);
/// The shortest time to wait for a probe's acknowledgement.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// If the far side ends the session within this time after a probe, the probe is taken as the reason.
const SUSPICION_TIME: Duration = Duration::from_secs(2);

/// Message sizes that earlier sessions found, stored per stream host: one to try first, and one not to try. Sizes are
/// those of whole messages, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathKnowledge {
    /// The largest size that was acknowledged.
    pub proven: Option<usize>,
    /// The smallest size that failed twice.
    pub refused: Option<usize>,
}

/// The state of the search.
#[derive(Debug)]
pub(crate) struct Discovery {
    /// The largest size that was acknowledged in this session.
    proven: Option<usize>,
    /// The size that earlier sessions proved. The path may have changed, so it is probed first.
    remembered: Option<usize>,
    refused: Option<usize>,
    cap: usize,
    failed_once: Option<(usize, Instant)>,
    in_flight: Option<Probe>,
    /// The latest probe, until it is acknowledged.
    latest: Option<Probe>,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    number: i64,
    size: usize,
    sent: Instant,
}

/// A probe that failed. The caller sends a minimal message with its number. `refused` is set at the second failure,
/// `outdated` if earlier sessions had proved the size, or a larger one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProbeFailure {
    pub number: i64,
    pub refused: Option<usize>,
    pub outdated: bool,
}

impl Discovery {
    /// Starts from the sizes that are known, with payloads of at most `max_payload` bytes.
    pub(crate) fn new(known: PathKnowledge, max_payload: usize) -> Self {
        let is_consistent =
            known.proven.is_none_or(|proven| known.refused.is_none_or(|refused| proven < refused));
        let known = if is_consistent { known } else { PathKnowledge::default() };
        Self {
            proven: None,
            remembered: known.proven,
            refused: known.refused,
            cap: max_payload.min(LARGEST_PAYLOAD),
            failed_once: None,
            in_flight: None,
            latest: None,
        }
    }

    /// Returns the largest payload that may carry user data.
    pub(crate) fn payload_limit(&self) -> usize {
        let proven = self.proven.map_or(SAFE_PAYLOAD, |size| size.saturating_sub(OVERHEAD));
        proven.max(SAFE_PAYLOAD).min(self.cap)
    }

    /// Returns the size to probe now, if it is at most `affordable` bytes.
    pub(crate) fn next(&self, now: Instant, affordable: usize) -> Option<usize> {
        if self.in_flight.is_some() {
            return None;
        }
        let proven = self.payload_limit() + OVERHEAD;
        let steps = self.remembered.into_iter().chain(PROBE_SIZES);
        let mut sizes = steps.map(|size| size.min(self.cap + OVERHEAD));
        // A remembered size that the path cannot afford yet does not keep smaller ones from being proven.
        let size = sizes.find(|size| *size > proven && *size <= affordable)?;
        let refused = self.refused.is_some_and(|refused| size >= refused);
        let too_soon =
            self.failed_once.is_some_and(|(suspect, since)| size >= suspect && now < since + SECOND_TRY);
        (!refused && !too_soon).then_some(size)
    }

    /// Records that a probe of `size` was sent as `number`; returns when it counts as lost.
    pub(crate) fn sent(&mut self, now: Instant, number: i64, size: usize, timeout: Duration) -> Instant {
        self.in_flight = Some(Probe { number, size, sent: now });
        self.latest = self.in_flight;
        now + PROBE_TIMEOUT.max(timeout * 2)
    }

    /// Returns when the probe in flight counts as lost, if the wait starts now.
    pub(crate) fn lost_at(&self, now: Instant, timeout: Duration) -> Option<Instant> {
        self.in_flight.map(|_| now + PROBE_TIMEOUT.max(timeout * 2))
    }

    /// Handles an acknowledgement; returns the size that it proves.
    pub(crate) fn acknowledged(&mut self, number: i64) -> Option<usize> {
        let probe = self.in_flight.take_if(|probe| probe.number == number)?;
        self.proven = Some(probe.size);
        self.failed_once = None;
        self.latest = None;
        Some(probe.size)
    }

    /// Ends the probe in flight: it timed out, or the connection was lost.
    pub(crate) fn failed(&mut self, now: Instant) -> Option<ProbeFailure> {
        let Probe { number, size, .. } = self.in_flight.take()?;
        let outdated = self.remembered.take().is_some_and(|remembered| size <= remembered);
        let again = self.failed_once.is_some_and(|(suspect, _)| suspect == size);
        if again {
            self.refused = Some(size);
        } else {
            self.failed_once = Some((size, now));
        }
        Some(ProbeFailure { number, refused: again.then_some(size), outdated })
    }

    /// Returns the size of a recent probe that may be the reason if the far side ends the session now.
    pub(crate) fn suspected_size(&self, now: Instant) -> Option<usize> {
        self.latest.filter(|probe| now <= probe.sent + SUSPICION_TIME).map(|probe| probe.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::start;

    const TIMEOUT: Duration = Duration::from_millis(200);
    const FAST: usize = 1 << 20;

    fn discovery() -> (Discovery, Instant) {
        (Discovery::new(PathKnowledge::default(), LARGEST_PAYLOAD), start().instant)
    }

    #[test]
    fn each_acknowledged_probe_raises_the_payload_limit() {
        let (mut discovery, now) = discovery();
        let mut limits = vec![discovery.payload_limit()];
        for number in 0..3 {
            let size = discovery.next(now, FAST).unwrap();
            discovery.sent(now, number, size, TIMEOUT);
            assert_eq!(discovery.next(now, FAST), None, "one at a time");
            assert_eq!(discovery.acknowledged(number), Some(size));
            limits.push(discovery.payload_limit());
        }
        assert_eq!(limits, [1024, 3976, 16_264, 32_648]);
        assert_eq!(discovery.next(now, FAST), None);
    }

    #[test]
    fn a_size_is_refused_only_after_a_second_failure() {
        let (mut discovery, now) = discovery();
        assert_eq!(discovery.sent(now, 4, 4096, TIMEOUT), now + PROBE_TIMEOUT);
        assert_eq!(discovery.suspected_size(now + PROBE_TIMEOUT), Some(4096));
        assert_eq!(discovery.failed(now), Some(ProbeFailure { number: 4, refused: None, outdated: false }));
        assert_eq!(
            discovery.suspected_size(now + SUSPICION_TIME),
            Some(4096),
            "the session may end shortly after the probe failed"
        );
        assert_eq!(discovery.suspected_size(now + SUSPICION_TIME * 2), None);
        assert_eq!(
            discovery.acknowledged(4),
            None,
            "the acknowledgement is of the message that replaced the probe"
        );
        assert_eq!(discovery.next(now + Duration::from_secs(59), FAST), None);
        let later = now + SECOND_TRY;
        assert_eq!(discovery.next(later, FAST), Some(4096));
        discovery.sent(later, 9, 4096, TIMEOUT);
        assert_eq!(
            discovery.failed(later),
            Some(ProbeFailure { number: 9, refused: Some(4096), outdated: false })
        );
        assert_eq!(discovery.next(later + SECOND_TRY * 10, FAST), None);
        assert_eq!(discovery.payload_limit(), 1024);
    }

    #[test]
    fn a_remembered_size_that_is_too_large_for_the_rate_does_not_stop_the_search() {
        let known = PathKnowledge { proven: Some(32_768), refused: None };
        let (mut discovery, now) = (Discovery::new(known, LARGEST_PAYLOAD), start().instant);
        assert_eq!(discovery.next(now, 20_000), Some(4096));
        discovery.sent(now, 1, 4096, TIMEOUT);
        discovery.acknowledged(1);
        assert_eq!(discovery.next(now, FAST), Some(32_768));
        let mut discovery = Discovery::new(known, LARGEST_PAYLOAD);
        discovery.sent(now, 1, 4096, TIMEOUT);
        assert!(discovery.failed(now).unwrap().outdated, "a smaller one fails too");
    }

    #[test]
    fn a_slow_path_is_not_probed() {
        let (discovery, now) = discovery();
        assert_eq!(discovery.next(now, 4095), None);
        assert_eq!(discovery.next(now, 4096), Some(4096));
    }

    #[test]
    fn the_size_that_earlier_sessions_proved_is_probed_first() {
        let now = start().instant;
        let known = |proven, refused| {
            let discovery = Discovery::new(PathKnowledge { proven, refused }, LARGEST_PAYLOAD);
            (discovery.payload_limit(), discovery.next(now, FAST))
        };
        assert_eq!(known(Some(16_384), Some(32_768)), (1024, Some(16_384)));
        assert_eq!(known(Some(16_384), None), (1024, Some(16_384)));
        assert_eq!(known(None, Some(4_096)), (1024, None));
        assert_eq!(known(Some(32_768), Some(4_096)), (1024, Some(4096)), "contradictory sizes are discarded");
    }

    #[test]
    fn the_users_limit_caps_payloads_and_probes() {
        let now = start().instant;
        let capped = |cap| {
            let discovery = Discovery::new(PathKnowledge::default(), cap);
            (discovery.payload_limit(), discovery.next(now, FAST))
        };
        assert_eq!(capped(512), (512, None));
        assert_eq!(capped(1024), (1024, None));
        assert_eq!(capped(2000), (1024, Some(2120)));
        let known = PathKnowledge { proven: Some(32_768), refused: None };
        assert_eq!(Discovery::new(known, 2000).next(now, FAST), Some(2120));
    }

    #[test]
    fn a_remembered_size_is_used_after_one_probe_or_discarded() {
        let now = start().instant;
        let known = PathKnowledge { proven: Some(32_768), refused: None };
        let mut kept = Discovery::new(known, LARGEST_PAYLOAD);
        kept.sent(now, 1, 32_768, TIMEOUT);
        assert_eq!(kept.acknowledged(1), Some(32_768));
        assert_eq!((kept.payload_limit(), kept.next(now, FAST)), (32_648, None));
        let mut broken = Discovery::new(known, LARGEST_PAYLOAD);
        broken.sent(now, 1, 32_768, TIMEOUT);
        assert_eq!(broken.failed(now), Some(ProbeFailure { number: 1, refused: None, outdated: true }));
        assert_eq!(
            (broken.payload_limit(), broken.next(now, FAST)),
            (1024, Some(4096)),
            "from the smallest probe size"
        );
    }
}
