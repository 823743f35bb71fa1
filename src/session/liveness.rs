//! Whether a websocket is alive: when to ping it, and when to give it up.
//!
//! Two rules. Keepalive: a ping every interval; two that stay unanswered, by a pong or anything else, mean a dead link.
//! Silence: when an answer of the agent is due and nothing arrives for 3 s, one ping at once, and a deadline. Both are
//! suspended while the client does not read, since then it causes the silence.

use std::time::{Duration, Instant};

/// Silence after which a ping is sent.
const SILENCE: Duration = Duration::from_secs(3);
/// The least time to wait for the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pings that may be unanswered.
const MISSED: u32 = 2;

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkVerdict {
    Fine,
    Ping,
    Dead(&'static str),
}

/// The watch over one websocket.
#[derive(Debug)]
pub(crate) struct Liveness {
    keepalive: Duration,
    next_ping: Instant,
    unanswered: u32,
    /// Since when an answer is due and nothing has arrived.
    silent_since: Option<Instant>,
    /// When the silence is fatal, once a ping was sent.
    fatal_at: Option<Instant>,
}

impl Liveness {
    /// A websocket has just been opened.
    pub(crate) fn new(now: Instant, keepalive: Duration) -> Self {
        Self { keepalive, next_ping: now + keepalive, unanswered: 0, silent_since: None, fatal_at: None }
    }

    /// Anything has arrived: a pong, or what only a living link brings.
    pub(crate) fn heard(&mut self) {
        self.unanswered = 0;
        self.end_silence();
    }

    fn end_silence(&mut self) {
        self.silent_since = None;
        self.fatal_at = None;
    }

    /// The client does not read: nothing can be concluded.
    pub(crate) fn suspend(&mut self, now: Instant) {
        self.heard();
        self.next_ping = now + self.keepalive;
    }

    /// Judges; `waiting` is true if an answer of the agent is due.
    pub(crate) fn judge(&mut self, now: Instant, waiting: bool, round_trip: Duration) -> LinkVerdict {
        if !waiting {
            self.end_silence();
        } else if self.silent_since.is_none() {
            self.silent_since = Some(now);
        }
        if self.fatal_at.is_some_and(|at| now >= at) {
            return LinkVerdict::Dead("nothing arrives although answers are due");
        }
        if self.fatal_at.is_none() && self.silent_since.is_some_and(|since| now >= since + SILENCE) {
            self.fatal_at = Some(now + PATIENCE.max(round_trip * 4));
            return LinkVerdict::Ping;
        }
        if now < self.next_ping {
            return LinkVerdict::Fine;
        }
        if self.unanswered >= MISSED {
            return LinkVerdict::Dead("two pings were not answered");
        }
        self.unanswered += 1;
        self.next_ping = now + self.keepalive;
        LinkVerdict::Ping
    }

    /// When to judge again.
    pub(crate) fn deadline(&self) -> Instant {
        let silence = self.fatal_at.or_else(|| Some(self.silent_since? + SILENCE));
        silence.map_or(self.next_ping, |at| at.min(self.next_ping))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::start;

    const KEEPALIVE: Duration = Duration::from_secs(20);
    const RTT: Duration = Duration::from_millis(100);

    fn liveness() -> (Liveness, impl Fn(u64) -> Instant) {
        let now = start().instant;
        (Liveness::new(now, KEEPALIVE), move |seconds| now + Duration::from_secs(seconds))
    }

    #[test]
    fn two_unanswered_pings_mean_a_dead_link() {
        let (mut link, at) = liveness();
        assert_eq!(link.judge(at(0), false, RTT), LinkVerdict::Fine);
        assert_eq!(link.deadline(), at(20));
        assert_eq!(link.judge(at(20), false, RTT), LinkVerdict::Ping);
        link.heard();
        assert_eq!(link.judge(at(40), false, RTT), LinkVerdict::Ping);
        assert_eq!(link.judge(at(60), false, RTT), LinkVerdict::Ping);
        assert!(matches!(link.judge(at(80), false, RTT), LinkVerdict::Dead(_)));
    }

    #[test]
    fn silence_causes_a_ping_and_is_then_fatal() {
        let (mut link, at) = liveness();
        assert_eq!(link.judge(at(1), true, RTT), LinkVerdict::Fine);
        assert_eq!(link.deadline(), at(4));
        assert_eq!(link.judge(at(4), true, RTT), LinkVerdict::Ping);
        assert_eq!(link.judge(at(5), true, RTT), LinkVerdict::Fine);
        assert!(matches!(link.judge(at(9), true, RTT), LinkVerdict::Dead(_)));
    }

    #[test]
    fn anything_heard_ends_the_silence() {
        let (mut link, at) = liveness();
        link.judge(at(1), true, RTT);
        link.judge(at(4), true, RTT);
        link.heard();
        assert_eq!(link.judge(at(9), true, RTT), LinkVerdict::Fine);
        assert_eq!(link.deadline(), at(12));
    }

    #[test]
    fn a_slow_path_gets_more_time() {
        let (mut link, at) = liveness();
        link.judge(at(1), true, Duration::from_secs(3));
        link.judge(at(4), true, Duration::from_secs(3));
        assert_eq!(link.judge(at(15), true, Duration::from_secs(3)), LinkVerdict::Fine);
        assert!(matches!(link.judge(at(16), true, Duration::from_secs(3)), LinkVerdict::Dead(_)));
    }

    #[test]
    fn nothing_is_concluded_while_we_do_not_read() {
        let (mut link, at) = liveness();
        link.judge(at(1), true, RTT);
        for second in 2..200 {
            link.suspend(at(second));
        }
        assert_eq!(link.judge(at(200), true, RTT), LinkVerdict::Fine);
    }
}
