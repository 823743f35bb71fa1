//! The channel's deadlines in one table.

use std::time::Instant;

/// What a deadline is for; `poll_timeout` returns it for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The agent's handshake request must have arrived.
    HandshakeRequest,
    /// The agent's HandshakeComplete must have arrived.
    HandshakeComplete,
    /// The first input may be sent.
    HoldInput,
    /// An acknowledgement is overdue.
    Resend,
    /// The pacer has a token again.
    Pace,
    /// The probe in flight counts as lost.
    Probe,
    /// The first input is unacknowledged; the port may not be listening.
    FirstInput,
    /// A missing message must have arrived.
    Gap,
}

impl Timer {
    const ALL: [Self; 8] = [
        Self::HandshakeRequest,
        Self::HandshakeComplete,
        Self::HoldInput,
        Self::Resend,
        Self::Pace,
        Self::Probe,
        Self::FirstInput,
        Self::Gap,
    ];
}

/// Deadlines by timer.
#[derive(Debug, Default)]
pub(crate) struct TimerTable([Option<Instant>; Timer::ALL.len()]);

impl TimerTable {
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = Some(at);
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize].is_some()
    }

    pub(crate) fn stop_all(&mut self) {
        self.0 = Default::default();
    }

    /// Returns the next deadline and its timer.
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        Timer::ALL
            .iter()
            .filter_map(|timer| Some((self.0[*timer as usize]?, *timer)))
            .min_by_key(|(at, _)| *at)
    }

    /// Stops and returns one timer that has expired.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = self.next()?;
        if at > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}
