//! The sending half: sequence numbers, unacknowledged messages, and when they are resent.
//!
//! A message whose timeout has passed is resent in two cases. First, a message that was sent after it and only once has been
//! acknowledged: it is lost, and not only late. Second, it is the oldest, and nothing has been acknowledged for its timeout: a
//! stalled destination gets one message per timeout, not the whole window again. The acknowledgement of a message that was
//! sent more than once shows no loss, since it may be for the first sending (F-RTO, RFC 5682). Then the acknowledgement of
//! the next new message decides, the witness; the caller sends one without effect if there is no data.
//!
//! An agent that does not acknowledge duplicates never acknowledges a message again whose acknowledgement was lost. Such a
//! message is known by witnesses too: it was resent, and what was sent after that is acknowledged. After two of them it no
//! longer counts against the window, after eight it leaves. Frames are opaque bytes here.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::unacknowledged::{Delivered, Sent, Unacknowledged, Wait};
use super::window::Sample;

/// How many witnesses show that the acknowledgement of a message is lost: it no longer counts against the window.
const RELEASED: u32 = 2;
/// How many witnesses show that the agent has a message: it is not resent any more.
const SETTLED: u32 = 8;
/// How often a message that does not count is resent.
const SLOW_RESEND_INTERVAL: Duration = Duration::from_secs(1);
/// The most bytes that are kept for resending and do not count.
const RELEASED_BYTES: usize = 4 << 20;
/// The number of the first message after the handshake. Its acknowledgement shows that the port is connected: the agent
/// acknowledges no message in order before.
const FIRST_AFTER_HANDSHAKE: i64 = 1;

/// The messages of the client's stream.
#[derive(Debug)]
pub(crate) struct Outbound {
    queue: Unacknowledged,
    next: i64,
    /// How many of the user's bytes were sent.
    user_bytes: u64,
    /// How many messages were sent, each resend counted.
    sendings: u64,
    /// The latest of them that has certainly arrived.
    latest_delivered: u64,
    /// When a message was last acknowledged.
    progress: Instant,
    /// How many messages have been acknowledged.
    acknowledged: u64,
    delivered: Delivered,
    doubt: Doubt,
    agent: Agent,
}

/// Whether messages are lost or only late.
#[derive(Clone, Copy, Debug)]
enum Doubt {
    None,
    /// Nothing was acknowledged for a timeout, after so many sendings; the oldest message is resent.
    Silent(u64),
    /// Only a message that is sent once after so many sendings can show it.
    Undecided(u64),
}

/// What the agent does.
#[derive(Clone, Copy, Debug)]
struct Agent {
    /// It acknowledges duplicates.
    reacknowledges: bool,
    /// It is connected to the port, so an in-order message is acknowledged.
    ready: bool,
}

impl Outbound {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            queue: Unacknowledged::default(),
            next: 0,
            user_bytes: 0,
            sendings: 0,
            latest_delivered: 0,
            progress: now,
            acknowledged: 0,
            delivered: Delivered { bytes: 0, at: now, sent_at: now },
            doubt: Doubt::None,
            agent: Agent { reacknowledges: true, ready: false },
        }
    }

    /// Records that this agent does not acknowledge duplicates.
    pub(crate) fn expect_single_acknowledgements(&mut self) {
        self.agent.reacknowledges = false;
    }

    /// Records that the agent is connected to the port.
    pub(crate) fn port_is_connected(&mut self) {
        self.agent.ready = true;
    }

    /// Returns the sequence number of the next message.
    pub(crate) fn next_number(&self) -> i64 {
        self.next
    }

    /// Records a message with `user_bytes` of the user that is sent now as [`Self::next_number`]. Without a timeout it is not
    /// resent.
    pub(crate) fn enter(&mut self, now: Instant, frame: Bytes, timeout: Option<Duration>, user_bytes: usize) {
        if self.queue.is_empty() {
            self.delivered.at = now;
            self.delivered.sent_at = now;
        }
        self.sendings += 1;
        let sent = Sent {
            frame,
            offset: self.user_bytes,
            first_sent: now,
            last_sent: now,
            first_order: self.sendings,
            last_order: self.sendings,
            resends: 0,
            overtaken: 0,
            ambiguous: false,
            counted: true,
            wait: Wait::Held,
            timeout: timeout.unwrap_or_default(),
            before: self.delivered,
        };
        self.queue.insert(self.next, sent);
        if let Some(timeout) = timeout {
            self.queue.set_wait(self.next, Wait::Until(now + timeout));
        }
        self.user_bytes += user_bytes as u64;
        self.next += 1;
    }

    /// Handles an acknowledgement; `None` if no such message is unacknowledged.
    pub(crate) fn acknowledge(&mut self, now: Instant, number: i64) -> Option<Sample> {
        let sent = self.queue.remove(number)?;
        let wire = sent.frame.len();
        self.delivered =
            Delivered { bytes: self.delivered.bytes + wire as u64, at: now, sent_at: sent.last_sent };
        self.agent.ready |= number == FIRST_AFTER_HANDSHAKE;
        self.progress = now;
        self.acknowledged += 1;
        self.latest_delivered = self.latest_delivered.max(sent.first_order);
        self.doubt = match self.doubt {
            Doubt::Silent(since) | Doubt::Undecided(since) if sent.ambiguous && !self.is_clear() => {
                Doubt::Undecided(since)
            }
            Doubt::None | Doubt::Silent(_) | Doubt::Undecided(_) => Doubt::None,
        };
        self.find_lost(now);
        let rtt = (!sent.ambiguous).then(|| now.saturating_duration_since(sent.first_sent));
        let rate = self.rate_since(sent.before, sent.first_sent).filter(|_| !sent.ambiguous);
        Some(Sample { bytes: wire, rtt, sent_at: sent.first_sent, rate })
    }

    /// Marks overdue messages; returns true if nothing was acknowledged for a whole timeout.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        while let Some((at, number)) = self.queue.first_deadline()
            && at <= now
        {
            self.queue.set_wait(number, Wait::Overdue);
        }
        self.find_lost(now)
    }

    /// Returns when the next message becomes overdue.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let overdue = self.queue.first_deadline().map(|(at, _)| at);
        overdue.into_iter().chain(self.silence_ends()).min()
    }

    /// Returns true if a message must be resent.
    pub(crate) fn has_due(&self) -> bool {
        self.queue.first_due().is_some()
    }

    /// Returns true if only a new message, sent once, can show what became of older ones, and there is none.
    pub(crate) fn wants_witness(&self) -> bool {
        let Doubt::Undecided(since) = self.doubt else { return false };
        self.queue.newest().is_none_or(|newest| newest.ambiguous || newest.first_order <= since)
    }

    /// Returns the oldest message that must be resent.
    pub(crate) fn resend(&mut self, now: Instant, timeout: Duration) -> Option<Bytes> {
        let number = self.queue.first_due()?;
        let sent = self.queue.get(number)?;
        let frame = sent.frame.clone();
        let timeout = if sent.counted { timeout } else { timeout.max(SLOW_RESEND_INTERVAL) };
        self.sendings += 1;
        self.queue.resent(number, now, self.sendings, timeout);
        Some(frame)
    }

    /// Replaces the frame of an unacknowledged message and makes it due.
    pub(crate) fn replace(&mut self, number: i64, frame: Bytes) {
        if self.queue.replace(number, frame) {
            self.queue.set_wait(number, Wait::Due);
        }
    }

    /// Stops all timeouts until [`Self::attach`].
    pub(crate) fn detach(&mut self) {
        self.doubt = Doubt::None;
        for number in self.queue.numbers() {
            self.queue.set_wait(number, Wait::Held);
        }
    }

    /// Makes all unacknowledged messages due, in order, on a new connection. Those that do not count wait.
    pub(crate) fn attach(&mut self, now: Instant) {
        for number in self.queue.numbers() {
            let counted = self.queue.get(number).is_some_and(|sent| sent.counted);
            let wait = if counted { Wait::Due } else { Wait::Until(now + SLOW_RESEND_INTERVAL) };
            self.queue.change(number, |sent| {
                sent.resends = 0;
                sent.ambiguous = true;
            });
            self.queue.set_wait(number, wait);
        }
    }

    /// Returns how many messages have been acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Returns the size of the largest unacknowledged message.
    pub(crate) fn largest(&self) -> Option<usize> {
        self.queue.largest()
    }

    /// Returns the bytes that count against the window.
    pub(crate) fn in_flight(&self) -> usize {
        self.queue.counted_bytes()
    }

    /// Returns true if every counted message has been acknowledged.
    pub(crate) fn is_clear(&self) -> bool {
        self.queue.oldest_counted().is_none()
    }

    /// Returns how many of the user's bytes have arrived without a gap.
    pub(crate) fn arrived(&self) -> u64 {
        self.oldest().map_or(self.user_bytes, |oldest| oldest.offset)
    }

    /// Returns since when counted messages are unacknowledged without a new acknowledgement.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        Some(self.oldest()?.first_sent.max(self.progress))
    }

    /// Returns true if a message before `number` is counted and unacknowledged.
    pub(crate) fn is_pending_before(&self, number: i64) -> bool {
        self.queue.oldest_counted().is_some_and(|oldest| oldest < number)
    }

    /// Returns true if `number` was sent and has been acknowledged.
    pub(crate) fn is_acknowledged(&self, number: i64) -> bool {
        number < self.next && !self.queue.contains(number)
    }

    /// Returns the oldest counted message.
    fn oldest(&self) -> Option<&Sent> {
        self.queue.get(self.queue.oldest_counted()?)
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
        while let Some((order, number)) = self.queue.first_overdue()
            && order < self.latest_delivered
        {
            self.lost(number);
        }
        if self.silence_ends().is_none_or(|ends| now < ends) {
            return false;
        }
        let Some((number, oldest)) = self.queue.oldest_counted().zip(self.oldest()) else { return false };
        let resends = oldest.resends;
        self.queue.set_wait(number, Wait::Due);
        // The acknowledgement of a duplicate never comes: only a new message can show whether the path works.
        let needs_witness = !self.agent.reacknowledges && resends > 0;
        self.doubt =
            if needs_witness { Doubt::Undecided(self.sendings) } else { Doubt::Silent(self.sendings) };
        true
    }

    /// Returns when the oldest message is resent for want of any acknowledgement, if it is overdue.
    fn silence_ends(&self) -> Option<Instant> {
        let oldest = self.oldest().filter(|oldest| oldest.wait == Wait::Overdue)?;
        Some(self.progress + oldest.timeout)
    }

    /// A message is overdue, and one that was sent after it has been acknowledged.
    fn lost(&mut self, number: i64) {
        self.queue.set_wait(number, Wait::Due);
        let is_witness = |sent: &&Sent| !self.agent.reacknowledges && sent.resends > 0;
        let Some(overtaken) = self.queue.get(number).filter(is_witness).map(|sent| sent.overtaken + 1) else {
            return;
        };
        self.queue.change(number, |sent| sent.overtaken = overtaken);
        if overtaken >= SETTLED && self.agent.ready {
            self.queue.remove(number);
        } else if overtaken >= RELEASED {
            self.release(number);
        }
    }

    /// Stops counting a message. What is kept beyond the limit leaves, the oldest first.
    fn release(&mut self, number: i64) {
        let (oldest, bytes) = self.queue.released();
        let is_full = bytes > RELEASED_BYTES;
        match oldest {
            Some(oldest) if is_full && self.agent.ready => drop(self.queue.remove(oldest)),
            Some(_) if is_full => return,
            Some(_) | None => {}
        }
        self.queue.release(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::start;

    const TIMEOUT: Duration = Duration::from_millis(200);
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
                self.out.enter(self.now, vec![byte; 100].into(), Some(TIMEOUT), 100);
            }
        }

        fn acknowledge(&mut self, number: i64) -> Option<Sample> {
            self.out.acknowledge(self.now, number)
        }

        fn resent(&mut self) -> Vec<u8> {
            self.out.handle_timeout(self.now);
            let (now, out) = (self.now, &mut self.out);
            std::iter::from_fn(|| out.resend(now, TIMEOUT)).map(|frame| frame[0]).collect()
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
        assert_eq!(bench.pass(200).resent(), [0, 1, 2, 3], "all that were sent before it");
    }

    #[test]
    fn after_silence_only_a_message_that_was_sent_once_shows_a_loss() {
        let mut bench = Bench::new();
        bench.send(4);
        assert_eq!(bench.pass(200).resent(), [0]);
        bench.pass(50);
        assert_eq!(bench.acknowledge(0).unwrap().rtt, None, "it was sent twice");
        assert_eq!(bench.resent(), NOTHING, "the acknowledgement may be for the first sending");
        assert!(bench.out.wants_witness());
        bench.send(1);
        assert!(!bench.out.wants_witness(), "the new message is one");
        bench.pass(50).acknowledge(4);
        assert_eq!(bench.resent(), [1, 2, 3]);
    }

    #[test]
    fn late_acknowledgements_after_silence_show_no_loss() {
        let mut bench = Bench::new();
        bench.send(4);
        assert_eq!(bench.pass(200).resent(), [0]);
        bench.pass(100).acknowledge(0);
        bench.acknowledge(1);
        assert!(!bench.out.wants_witness(), "the first sendings arrive");
        assert_eq!(bench.resent(), NOTHING);
        bench.acknowledge(2);
        bench.acknowledge(3);
        assert!(bench.out.is_clear());
    }

    #[test]
    fn a_new_connection_replays_everything_in_order() {
        let mut bench = Bench::new();
        bench.send(5);
        bench.acknowledge(1);
        bench.out.detach();
        assert_eq!(bench.pass(60_000).resent(), NOTHING);
        assert_eq!(bench.out.next_deadline(), None);
        bench.out.attach(bench.now);
        assert_eq!(bench.resent(), [0, 2, 3, 4]);
    }

    #[test]
    fn a_replaced_message_keeps_its_number() {
        let mut bench = Bench::new();
        bench.out.enter(bench.now, vec![7; 4096].into(), None, 0);
        bench.send(1);
        assert_eq!(bench.pass(10_000).resent(), NOTHING, "a probe is not resent");
        bench.out.replace(0, vec![8; 140].into());
        assert_eq!(bench.out.in_flight(), 240);
        assert_eq!(bench.resent()[0], 8);
    }

    /// The agent acknowledges no duplicate; a new message and its acknowledgement pass.
    fn witness(bench: &mut Bench) -> Vec<u8> {
        let resent = bench.pass(1000).resent();
        bench.pass(10).send(1);
        let newest = bench.out.next_number() - 1;
        bench.pass(10).acknowledge(newest);
        resent
    }

    #[test]
    fn a_lost_acknowledgement_of_an_old_agent_is_released_and_leaves() {
        let mut bench = Bench::new();
        bench.out.expect_single_acknowledgements();
        bench.out.port_is_connected();
        bench.send(2);
        let mut resends = 0;
        while !bench.out.queue.is_empty() {
            resends += witness(&mut bench).len();
            assert!(resends < 50, "{:?}", bench.out.queue);
            if bench.out.is_clear() {
                assert_eq!((bench.out.in_flight(), bench.out.arrived()), (0, bench.out.user_bytes));
            }
        }
        assert!(bench.acknowledge(0).is_none());
    }

    #[test]
    fn before_the_port_is_connected_a_message_is_resent_without_limit() {
        let mut bench = Bench::new();
        bench.out.expect_single_acknowledgements();
        bench.send(2);
        bench.acknowledge(0);
        for _ in 0..100 {
            assert!(witness(&mut bench).len() <= 1);
        }
        assert!(!bench.out.is_acknowledged(1), "the agent is not ready for it and keeps later ones");
        assert!(bench.acknowledge(1).is_some());
        assert!(bench.out.queue.is_empty());
    }

    #[test]
    fn an_agent_that_acknowledges_nothing_more_gets_a_witness_after_one_resend() {
        let mut bench = Bench::new();
        bench.out.expect_single_acknowledgements();
        bench.send(3);
        assert_eq!(bench.pass(200).resent(), [0]);
        assert!(!bench.out.wants_witness());
        assert_eq!(bench.pass(200).resent(), [0]);
        assert!(bench.out.wants_witness());
    }

    #[test]
    fn a_message_that_is_never_acknowledged_makes_later_ones_no_dearer() {
        for reacknowledges in [true, false] {
            let mut bench = Bench::new();
            if !reacknowledges {
                bench.out.expect_single_acknowledgements();
            }
            bench.send(3);
            bench.acknowledge(0);
            bench.acknowledge(1);
            let mut steps = Vec::new();
            for _ in 0..50 {
                let before = bench.out.queue.steps;
                for _ in 0..1000 {
                    bench.send(1);
                    let newest = bench.out.next_number() - 1;
                    bench.pass(1).acknowledge(newest);
                    bench.resent();
                }
                steps.push(bench.out.queue.steps - before);
            }
            assert!(bench.out.queue.numbers().len() <= 1, "acknowledged messages leave");
            let (first, last) = (steps[0], steps[49]);
            assert!(
                last <= first + first / 10,
                "{first} steps for the first 1000 messages, {last} for the last"
            );
        }
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
