//! The keep-alive of a smux session: a NOP at every interval, and the end after a time-out without any frame.

use std::time::{Duration, Instant};

/// The two tickers; the time-out looks at the time since its own last tick, not since the last frame.
#[derive(Debug)]
pub struct KeepAlive {
    interval: Duration,
    timeout: Duration,
    next_nop: Instant,
    next_look: Instant,
    heard: bool,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// A NOP is to be sent.
    Nop,
    /// Nothing was heard for a whole time-out.
    TimedOut,
}

impl KeepAlive {
    /// Starts both tickers.
    pub fn new(now: Instant, interval: Duration, timeout: Duration) -> Self {
        Self { interval, timeout, next_nop: now + interval, next_look: now + timeout, heard: false }
    }

    /// Takes the news that a frame came.
    pub fn hear(&mut self) {
        self.heard = true;
    }

    /// Returns when to look again.
    pub fn poll_timeout(&self) -> Instant {
        self.next_nop.min(self.next_look)
    }

    /// Says what is due; `reads` tells whether the reader is reading, without which nothing can be heard.
    pub fn handle_timeout(&mut self, now: Instant, reads: bool) -> Due {
        if now >= self.next_look {
            self.next_look = now + self.timeout;
            if !std::mem::take(&mut self.heard) && reads {
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
    fn silence_of_a_whole_period_ends_it_unless_nobody_reads() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut keep_alive = KeepAlive::new(start, Duration::from_secs(10), Duration::from_secs(30));
        assert_eq!(keep_alive.poll_timeout(), at(10));
        assert_eq!(keep_alive.handle_timeout(at(9), true), Due::Nothing);
        assert_eq!(keep_alive.handle_timeout(at(10), true), Due::Nop);
        keep_alive.hear();
        assert_eq!(keep_alive.handle_timeout(at(30), true), Due::Nop, "it heard something");
        assert_eq!(keep_alive.handle_timeout(at(60), false), Due::Nop, "it could not hear anything");
        assert_eq!(keep_alive.handle_timeout(at(90), true), Due::TimedOut);
    }
}
