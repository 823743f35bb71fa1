//! The sending half: sequence numbers, unacknowledged messages, and when they are resent.
//!
//! Owns every message until it is acknowledged; none is evicted. A message whose timeout has passed is resent in two
//! cases. First, a message that was sent after it has been acknowledged: it is lost, and not only late. Second, it is
//! the oldest and nothing has been acknowledged for its timeout: a stalled destination gets one message per timeout,
//! not the whole window again. Frames are opaque bytes here.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::window::Sample;

/// Some agents do not acknowledge duplicates. If a message is resent more often than this while others are
/// acknowledged, its acknowledgement is lost: it no longer counts against the window.
const COUNTED_RESENDS: u32 = 20;
/// How often such a message is still resent.
const SLOW_RESEND_INTERVAL: Duration = Duration::from_secs(1);

/// The messages of the client's stream.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// Messages from sequence number `base` on; the first is unacknowledged.
    sent: VecDeque<Sent>,
    base: i64,
    in_flight: usize,
    deadlines: BTreeSet<(Instant, i64)>,
    overdue: BTreeSet<i64>,
    due: BTreeSet<i64>,
    /// The latest send time of the messages that have been acknowledged.
    latest_delivered: Option<Instant>,
    /// When a message was last acknowledged.
    progress: Instant,
    /// How many messages have been acknowledged.
    acknowledged: u64,
    delivered: Delivered,
}

/// How much had been delivered, and when: the start of a rate measurement.
#[derive(Clone, Copy, Debug)]
struct Delivered {
    bytes: u64,
    at: Instant,
    /// When the message that was acknowledged last had been sent.
    sent_at: Instant,
}

#[derive(Debug)]
struct Sent {
    /// Empty once acknowledged.
    frame: Bytes,
    first_sent: Instant,
    last_sent: Instant,
    resends: u32,
    /// It was sent more than once, so an acknowledgement gives no round-trip time (Karn).
    ambiguous: bool,
    /// It counts against the window.
    counted: bool,
    wait: Wait,
    timeout: Duration,
    before: Delivered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Acknowledged,
    /// Not resent: a probe, or the channel is detached.
    Held,
    Until(Instant),
    Overdue,
    Due,
}

impl Outbound {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            sent: VecDeque::new(),
            base: 0,
            in_flight: 0,
            deadlines: BTreeSet::new(),
            overdue: BTreeSet::new(),
            due: BTreeSet::new(),
            latest_delivered: None,
            progress: now,
            acknowledged: 0,
            delivered: Delivered { bytes: 0, at: now, sent_at: now },
        }
    }

    /// Returns the sequence number of the next message.
    pub(crate) fn next_number(&self) -> i64 {
        self.base + i64::try_from(self.sent.len()).expect("the window bounds what is in flight")
    }

    /// Records a message that is sent now as [`Self::next_number`]. Without a timeout it is not resent.
    pub(crate) fn enter(&mut self, now: Instant, frame: Bytes, timeout: Option<Duration>) {
        if self.sent.is_empty() {
            self.delivered.at = now;
            self.delivered.sent_at = now;
        }
        let number = self.next_number();
        self.in_flight += frame.len();
        self.sent.push_back(Sent {
            frame,
            first_sent: now,
            last_sent: now,
            resends: 0,
            ambiguous: false,
            counted: true,
            wait: Wait::Held,
            timeout: timeout.unwrap_or_default(),
            before: self.delivered,
        });
        if let Some(timeout) = timeout {
            self.wait(number, Wait::Until(now + timeout));
        }
    }

    /// Handles an acknowledgement; `None` if no such message is unacknowledged. One that arrives sooner after a resend
    /// than `min_rtt` is for the first sending.
    pub(crate) fn acknowledge(&mut self, now: Instant, number: i64, min_rtt: Duration) -> Option<Sample> {
        let sent = self.get(number).filter(|sent| sent.wait != Wait::Acknowledged)?;
        let (wire, before) = (sent.frame.len(), sent.before);
        let (first_sent, last_sent, ambiguous) = (sent.first_sent, sent.last_sent, sent.ambiguous);
        if sent.counted {
            self.in_flight -= wire;
        }
        self.wait(number, Wait::Acknowledged);
        self.get_mut(number)?.frame = Bytes::new();
        let resend_arrived = now.saturating_duration_since(last_sent) >= min_rtt;
        let delivered = if ambiguous && !resend_arrived { first_sent } else { last_sent };
        self.latest_delivered = self.latest_delivered.max(Some(delivered));
        self.delivered = Delivered { bytes: self.delivered.bytes + wire as u64, at: now, sent_at: last_sent };
        let rate = self.rate_since(before, first_sent);
        while self.sent.front().is_some_and(|sent| sent.wait == Wait::Acknowledged) {
            self.sent.pop_front();
            self.base += 1;
        }
        self.progress = now;
        self.acknowledged += 1;
        self.find_lost(now);
        let rtt = (!ambiguous).then(|| now.saturating_duration_since(first_sent));
        Some(Sample { bytes: wire, rtt, sent_at: first_sent, rate: rate.filter(|_| !ambiguous) })
    }

    /// Marks overdue messages; returns true if nothing was acknowledged for a whole timeout.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        while let Some((at, number)) = self.deadlines.first().copied()
            && at <= now
        {
            self.wait(number, Wait::Overdue);
        }
        self.find_lost(now)
    }

    /// Returns when the next message becomes overdue.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Returns true if a message must be resent.
    pub(crate) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Returns the oldest message that must be resent.
    pub(crate) fn resend(
        &mut self,
        now: Instant,
        timeout: Duration,
        agent_reacknowledges: bool,
    ) -> Option<Bytes> {
        let number = self.due.first().copied()?;
        let progress = self.progress;
        let sent = self.get_mut(number)?;
        sent.resends += 1;
        sent.ambiguous = true;
        sent.last_sent = now;
        let is_ack_lost =
            !agent_reacknowledges && sent.resends > COUNTED_RESENDS && progress > sent.first_sent;
        let frame = sent.frame.clone();
        let released = if is_ack_lost && mem::take(&mut sent.counted) { frame.len() } else { 0 };
        let timeout = if is_ack_lost { timeout.max(SLOW_RESEND_INTERVAL) } else { timeout };
        sent.timeout = timeout;
        self.in_flight -= released;
        self.wait(number, Wait::Until(now + timeout));
        Some(frame)
    }

    /// Replaces the frame of an unacknowledged message and makes it due.
    pub(crate) fn replace(&mut self, number: i64, frame: Bytes) {
        let Some(sent) = self.get_mut(number).filter(|sent| sent.wait != Wait::Acknowledged) else { return };
        let (new, counted) = (frame.len(), sent.counted);
        let old = mem::replace(&mut sent.frame, frame).len();
        sent.ambiguous = true;
        if counted {
            self.in_flight = self.in_flight + new - old;
        }
        self.wait(number, Wait::Due);
    }

    /// Stops all timeouts until [`Self::attach`].
    pub(crate) fn detach(&mut self) {
        self.set_all(Wait::Held);
    }

    /// Makes all unacknowledged messages due, in order, on a new connection.
    pub(crate) fn attach(&mut self) {
        self.set_all(Wait::Due);
        self.sent.iter_mut().for_each(|sent| sent.resends = 0);
    }

    /// Returns how many messages have been acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Returns the size of the largest unacknowledged message.
    pub(crate) fn largest(&self) -> Option<usize> {
        self.sent.iter().filter(|sent| sent.wait != Wait::Acknowledged).map(|sent| sent.frame.len()).max()
    }

    /// Returns the bytes that count against the window.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Returns true if every counted message has been acknowledged.
    pub(crate) fn is_clear(&self) -> bool {
        self.sent.iter().all(|sent| sent.wait == Wait::Acknowledged || !sent.counted)
    }

    /// Returns the first sequence number that is counted and unacknowledged; all messages before it have arrived.
    pub(crate) fn first_pending(&self) -> i64 {
        let mut pending = (self.base..).zip(&self.sent);
        let first = pending.find(|(_, sent)| sent.wait != Wait::Acknowledged && sent.counted);
        first.map_or(self.base + self.sent.len() as i64, |(number, _)| number)
    }

    /// Returns since when counted messages are unacknowledged without a new acknowledgement.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        let oldest = self.sent.iter().find(|sent| sent.wait != Wait::Acknowledged && sent.counted)?;
        Some(oldest.first_sent.max(self.progress))
    }

    /// Returns true if a message before `number` is unacknowledged.
    pub(crate) fn is_pending_before(&self, number: i64) -> bool {
        self.base < number && !self.sent.is_empty()
    }

    /// Returns true if `number` was sent and has been acknowledged.
    pub(crate) fn is_acknowledged(&self, number: i64) -> bool {
        number < self.base || self.get(number).is_some_and(|sent| sent.wait == Wait::Acknowledged)
    }

    /// Returns the delivery rate between the sending of a message and its acknowledgement. The longer of the times of
    /// sending and acknowledging counts, since a burst of either would give too high a rate.
    fn rate_since(&self, before: Delivered, first_sent: Instant) -> Option<f64> {
        let acknowledging = self.delivered.at.saturating_duration_since(before.at);
        let sending = first_sent.saturating_duration_since(before.sent_at);
        let elapsed = acknowledging.max(sending).as_secs_f64();
        (elapsed > 0.0).then(|| (self.delivered.bytes - before.bytes) as f64 / elapsed)
    }

    /// Makes lost messages due. Returns true if the oldest is due because nothing was acknowledged for its timeout.
    fn find_lost(&mut self, now: Instant) -> bool {
        let lost = |number: &i64| self.get(*number).map(|sent| sent.last_sent) < self.latest_delivered;
        let lost: Vec<i64> = self.overdue.iter().copied().filter(lost).collect();
        for number in lost {
            self.wait(number, Wait::Due);
        }
        let mut pending = (self.base..).zip(&self.sent);
        let oldest = pending.find(|(_, sent)| sent.wait != Wait::Acknowledged && sent.counted);
        let Some((number, oldest)) = oldest.filter(|(_, oldest)| oldest.wait == Wait::Overdue) else {
            return false;
        };
        let silence_ends = self.progress + oldest.timeout;
        self.wait(number, if now >= silence_ends { Wait::Due } else { Wait::Until(silence_ends) });
        now >= silence_ends
    }

    fn set_all(&mut self, wait: Wait) {
        for number in self.base..self.next_number() {
            if self.get(number).is_some_and(|sent| sent.wait != Wait::Acknowledged) {
                self.wait(number, wait);
                if let Some(sent) = self.get_mut(number) {
                    sent.ambiguous = true;
                }
            }
        }
    }

    /// Changes the wait of a message and moves it between the sets.
    fn wait(&mut self, number: i64, wait: Wait) {
        let Some(sent) = self.get_mut(number) else { return };
        match mem::replace(&mut sent.wait, wait) {
            Wait::Until(at) => drop(self.deadlines.remove(&(at, number))),
            Wait::Overdue => drop(self.overdue.remove(&number)),
            Wait::Due => drop(self.due.remove(&number)),
            Wait::Acknowledged | Wait::Held => {}
        }
        match wait {
            Wait::Until(at) => drop(self.deadlines.insert((at, number))),
            Wait::Overdue => drop(self.overdue.insert(number)),
            Wait::Due => drop(self.due.insert(number)),
            Wait::Acknowledged | Wait::Held => {}
        }
    }

    fn index(&self, number: i64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.base)?).ok()
    }

    fn get(&self, number: i64) -> Option<&Sent> {
        self.sent.get(self.index(number)?)
    }

    fn get_mut(&mut self, number: i64) -> Option<&mut Sent> {
        let index = self.index(number)?;
        self.sent.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::start;

    const TIMEOUT: Duration = Duration::from_millis(200);
    const MIN_RTT: Duration = Duration::from_millis(40);
    const NOTHING: [u8; 0] = [];

    struct Bench {
        out: Outbound,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = start().instant;
            Self { out: Outbound::new(now), now }
        }

        fn pass(&mut self, ms: u64) -> &mut Self {
            self.now += Duration::from_millis(ms);
            self
        }

        fn send(&mut self, count: usize) {
            for _ in 0..count {
                let byte = u8::try_from(self.out.next_number() % 256).unwrap();
                self.out.enter(self.now, vec![byte; 100].into(), Some(TIMEOUT));
            }
        }

        fn acknowledge(&mut self, number: i64) -> Option<Sample> {
            self.out.acknowledge(self.now, number, MIN_RTT)
        }

        fn resent(&mut self) -> Vec<u8> {
            self.out.handle_timeout(self.now);
            let (now, out) = (self.now, &mut self.out);
            std::iter::from_fn(|| out.resend(now, TIMEOUT, true)).map(|frame| frame[0]).collect()
        }
    }

    #[test]
    fn acknowledgements_are_individual() {
        let mut bench = Bench::new();
        bench.send(3);
        assert!(bench.acknowledge(2).is_some());
        assert!(bench.acknowledge(2).is_none(), "a second one has no effect");
        assert_eq!(bench.out.in_flight(), 200);
        assert!(bench.out.is_pending_before(2) && !bench.out.is_clear());
        bench.acknowledge(0);
        bench.acknowledge(1);
        assert_eq!((bench.out.in_flight(), bench.out.is_clear()), (0, true));
        for unknown in [3, -1, i64::MAX, i64::MIN] {
            assert!(bench.acknowledge(unknown).is_none());
        }
    }

    #[test]
    fn without_acknowledgements_only_the_oldest_message_is_resent() {
        let mut bench = Bench::new();
        bench.send(5);
        assert_eq!(bench.pass(199).resent(), NOTHING);
        assert_eq!(bench.pass(1).resent(), [0]);
        assert_eq!(bench.pass(200).resent(), [0]);
    }

    #[test]
    fn an_acknowledgement_of_a_later_message_shows_a_loss() {
        let mut bench = Bench::new();
        bench.send(3);
        bench.pass(10).send(3);
        bench.acknowledge(4);
        assert_eq!(bench.resent(), NOTHING, "not before the timeout");
        assert_eq!(bench.pass(200).resent(), [0, 1, 2]);
    }

    #[test]
    fn an_acknowledged_resend_shows_that_the_rest_of_the_burst_is_lost() {
        let mut bench = Bench::new();
        bench.send(4);
        assert_eq!(bench.pass(200).resent(), [0]);
        bench.pass(50);
        assert_eq!(bench.acknowledge(0).unwrap().rtt, None, "it was sent twice");
        assert_eq!(bench.resent(), [1, 2, 3]);
    }

    #[test]
    fn an_acknowledgement_too_early_for_the_resend_shows_no_loss() {
        let mut bench = Bench::new();
        bench.send(4);
        assert_eq!(bench.pass(200).resent(), [0]);
        bench.pass(39).acknowledge(0);
        assert_eq!(bench.resent(), NOTHING, "the path is slow but delivers");
        assert_eq!(bench.pass(199).resent(), NOTHING);
        assert_eq!(bench.pass(1).resent(), [1]);
    }

    #[test]
    fn a_new_connection_replays_everything_in_order() {
        let mut bench = Bench::new();
        bench.send(5);
        bench.acknowledge(1);
        bench.out.detach();
        assert_eq!(bench.pass(60_000).resent(), NOTHING);
        assert_eq!(bench.out.next_deadline(), None);
        bench.out.attach();
        assert_eq!(bench.resent(), [0, 2, 3, 4]);
    }

    #[test]
    fn a_replaced_message_keeps_its_number() {
        let mut bench = Bench::new();
        bench.out.enter(bench.now, vec![7; 4096].into(), None);
        bench.send(1);
        assert_eq!(bench.pass(10_000).resent(), NOTHING, "a probe is not resent");
        bench.out.replace(0, vec![8; 140].into());
        assert_eq!(bench.out.in_flight(), 240);
        assert_eq!(bench.resent()[0], 8);
    }

    #[test]
    fn a_lost_acknowledgement_of_an_old_agent_does_not_fill_the_window() {
        let mut bench = Bench::new();
        bench.send(1);
        for _ in 0..25 {
            bench.pass(1000).send(1);
            let (now, newest) = (bench.now, bench.out.next_number() - 1);
            bench.acknowledge(newest);
            bench.out.handle_timeout(now);
            while bench.out.resend(now, TIMEOUT, false).is_some() {}
        }
        assert_eq!((bench.out.in_flight(), bench.out.is_clear()), (0, true));
        assert_eq!(bench.out.first_pending(), bench.out.next_number(), "the later ones have arrived");
        let now = bench.now;
        assert!(bench.out.next_deadline().unwrap() >= now + SLOW_RESEND_INTERVAL);
        assert!(bench.acknowledge(0).is_some(), "it may still arrive");
        assert_eq!(bench.out.in_flight(), 0);
    }

    #[test]
    fn the_rate_counts_what_was_delivered_since_the_message_was_sent() {
        let mut bench = Bench::new();
        bench.send(4);
        bench.pass(100);
        let rates: Vec<_> = (0..4).map(|number| bench.acknowledge(number).unwrap().rate.unwrap()).collect();
        assert_eq!(rates, [1000.0, 2000.0, 3000.0, 4000.0]);
    }
}
