//! The unacknowledged messages of the agent: their resends and the pause.
//!
//! The real agent looks at the oldest message only, every 100 ms, so that a burst of losses takes long to repair. A test
//! with much data in flight may configure a faster agent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sim::agent::AgentConfig;
use crate::sim::agent::rtt::RoundTrip;

/// The list of unacknowledged messages and the timer of its resends.
#[derive(Debug)]
pub struct SendBuffer {
    next: i64,
    unacked: VecDeque<Sent>,
    capacity: usize,
    bookkeeping_delay: Duration,
    scan_interval: Duration,
    scan_depth: usize,
    round_trip: RoundTrip,
    next_scan: Instant,
    paused: bool,
}

#[derive(Debug)]
struct Sent {
    sequence: i64,
    message: Bytes,
    first_sent: Instant,
    last_sent: Instant,
}

impl SendBuffer {
    /// Starts with the sequence number 0 and the first scan after one interval.
    pub fn new(now: Instant, config: &AgentConfig) -> Self {
        Self {
            next: 0,
            unacked: VecDeque::new(),
            capacity: config.outgoing_capacity,
            bookkeeping_delay: config.bookkeeping_delay,
            scan_interval: config.resend_interval,
            scan_depth: config.resend_depth,
            round_trip: RoundTrip::default(),
            next_scan: now + config.resend_interval,
            paused: false,
        }
    }

    /// Returns the sequence number of the next message.
    pub fn next_sequence(&self) -> i64 {
        self.next
    }

    /// Adds a message with the next sequence number; returns whether to send it now.
    pub fn push(&mut self, now: Instant, message: Bytes) -> bool {
        if self.unacked.len() < self.capacity {
            self.unacked.push_back(Sent { sequence: self.next, message, first_sent: now, last_sent: now });
        }
        self.next += 1;
        !self.paused
    }

    /// Removes an acknowledged message; returns whether it was outstanding.
    pub fn acknowledge(&mut self, now: Instant, sequence: i64) -> bool {
        let Some(at) = self.unacked.iter().position(|sent| sent.sequence == sequence) else { return false };
        if now.saturating_duration_since(self.unacked[at].first_sent) < self.bookkeeping_delay {
            return false;
        }
        if let Some(sent) = self.unacked.remove(at) {
            self.round_trip.sample(now.saturating_duration_since(sent.last_sent));
        }
        true
    }

    /// Pauses or resumes sending.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Returns whether sending is paused.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Returns whether all messages are acknowledged.
    pub fn is_empty(&self) -> bool {
        self.unacked.is_empty()
    }

    /// Looks at the oldest messages if a scan is due; returns those to resend.
    pub fn scan(&mut self, now: Instant) -> Vec<Bytes> {
        if now < self.next_scan {
            return Vec::new();
        }
        let scan = self.align(now);
        if self.paused {
            return Vec::new();
        }
        let timeout = self.round_trip.timeout();
        let looked_at = self.unacked.iter_mut().take(self.scan_depth);
        let overdue = looked_at.filter(|sent| scan.saturating_duration_since(sent.last_sent) > timeout);
        overdue
            .map(|sent| {
                sent.last_sent = now;
                sent.message.clone()
            })
            .collect()
    }

    /// Returns the next scan that could send something.
    pub fn next_scan(&self) -> Option<Instant> {
        let head = self.unacked.front().filter(|_| !self.paused)?;
        let overdue = head.last_sent + self.round_trip.timeout();
        let mut scan = self.next_scan;
        if overdue >= scan {
            scan += self.scan_interval * (self.scans_in(overdue - scan) + 1);
        }
        Some(scan)
    }

    /// Moves the next scan past `now`; returns the time of the last due scan.
    fn align(&mut self, now: Instant) -> Instant {
        let behind = self.scans_in(now.saturating_duration_since(self.next_scan));
        let due = self.next_scan + self.scan_interval * behind;
        self.next_scan = due + self.scan_interval;
        due
    }

    fn scans_in(&self, time: Duration) -> u32 {
        let scans = time.as_micros() / self.scan_interval.as_micros().max(1);
        u32::try_from(scans).unwrap_or(u32::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a starting point for virtual time")]

    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn outbound(now: Instant, config: AgentConfig) -> SendBuffer {
        SendBuffer::new(now, &config)
    }

    fn no_messages() -> Vec<Bytes> {
        Vec::new()
    }

    #[test]
    fn a_deeper_scan_resends_everything_overdue() {
        let start = Instant::now();
        let mut outbound = outbound(start, AgentConfig::default().quick_to_resend());
        outbound.push(start, Bytes::from_static(b"a"));
        outbound.push(start, Bytes::from_static(b"b"));
        assert_eq!(outbound.scan(start + ms(210)), [Bytes::from_static(b"a"), Bytes::from_static(b"b")]);
    }

    #[test]
    fn only_the_oldest_message_is_resent_one_per_scan() {
        let start = Instant::now();
        let mut outbound = outbound(start, AgentConfig::default());
        outbound.push(start, Bytes::from_static(b"a"));
        outbound.push(start, Bytes::from_static(b"b"));
        assert_eq!(outbound.scan(start + ms(100)), no_messages());
        assert_eq!(outbound.scan(start + ms(200)), no_messages(), "the timeout must be exceeded");
        assert_eq!(outbound.next_scan(), Some(start + ms(300)));
        assert_eq!(outbound.scan(start + ms(300)), [Bytes::from_static(b"a")]);
        assert_eq!(outbound.scan(start + ms(400)), no_messages());
        assert!(outbound.acknowledge(start + ms(410), 0));
        assert_eq!(outbound.scan(start + ms(500)), [Bytes::from_static(b"b")]);
    }

    #[test]
    fn a_pause_stops_sends_and_resends() {
        let start = Instant::now();
        let mut outbound = outbound(start, AgentConfig::default());
        outbound.set_paused(true);
        assert!(!outbound.push(start, Bytes::from_static(b"a")));
        assert_eq!(outbound.next_scan(), None);
        assert_eq!(outbound.scan(start + ms(900)), no_messages());
        outbound.set_paused(false);
        assert_eq!(outbound.scan(start + ms(1000)), [Bytes::from_static(b"a")]);
    }

    #[test]
    fn a_full_list_sends_without_keeping() {
        let start = Instant::now();
        let mut outbound = outbound(start, AgentConfig { outgoing_capacity: 1, ..AgentConfig::default() });
        assert!(outbound.push(start, Bytes::from_static(b"a")));
        assert!(outbound.push(start, Bytes::from_static(b"b")));
        assert_eq!((outbound.unacked.len(), outbound.next_sequence()), (1, 2));
    }

    #[test]
    fn an_acknowledgement_before_the_bookkeeping_delay_is_ignored() {
        let start = Instant::now();
        let mut outbound =
            outbound(start, AgentConfig { bookkeeping_delay: ms(1), ..AgentConfig::default() });
        outbound.push(start, Bytes::from_static(b"a"));
        assert!(!outbound.acknowledge(start, 0));
        assert!(outbound.acknowledge(start + ms(1), 0));
    }
}
