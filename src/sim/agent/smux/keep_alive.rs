//! The keep-alive of a smux session: a NOP every interval, and a timeout if no frame is received.

use std::time::{Duration, Instant};

/// The two timers; the timeout is measured from its last tick, not from the last frame.
#[derive(Debug)]
pub struct KeepAlive {
    interval: Duration,
    timeout: Duration,
    next_nop: Instant,
    next_check: Instant,
    received: bool,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// A NOP is to be sent.
    Nop,
    /// No frame was received for a whole timeout.
    TimedOut,
}

impl KeepAlive {
    /// Starts both timers.
    pub fn new(now: Instant, interval: Duration, timeout: Duration) -> Self {
        Self { interval, timeout, next_nop: now + interval, next_check: now + timeout, received: false }
    }

    /// Records a received frame.
    pub fn frame_received(&mut self) {
        self.received = true;
    }

    /// Returns when `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Instant {
        self.next_nop.min(self.next_check)
    }

    /// Returns what is due; `reads` is false while the reader is blocked, when no frame can be received.
    pub fn handle_timeout(&mut self, now: Instant, reads: bool) -> Due {
        if now >= self.next_check {
            self.next_check = now + self.timeout;
            if !std::mem::take(&mut self.received) && reads {
                return Due::TimedOut;
            }
        }
        if now >= self.next_nop {
            self.next_nop = now + self.interval;
            return Due::Nop;
        }
        Due::Nothing
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a starting point for virtual time")]

    use super::*;

    #[test]
    fn no_frame_for_a_whole_timeout_ends_it_unless_the_reader_is_blocked() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut keep_alive = KeepAlive::new(start, Duration::from_secs(10), Duration::from_secs(30));
        assert_eq!(keep_alive.poll_timeout(), at(10));
        assert_eq!(keep_alive.handle_timeout(at(9), true), Due::Nothing);
        assert_eq!(keep_alive.handle_timeout(at(10), true), Due::Nop);
        keep_alive.frame_received();
        assert_eq!(keep_alive.handle_timeout(at(30), true), Due::Nop, "a frame was received");
        assert_eq!(keep_alive.handle_timeout(at(60), false), Due::Nop, "the reader was blocked");
        assert_eq!(keep_alive.handle_timeout(at(90), true), Due::TimedOut);
    }
}
