//! The time without a websocket: what a failed attempt to open one means, and when the next one is made.
//!
//! A value without I/O: it takes failures and returns a delay or the end. Before the agent has completed the handshake
//! the connect timeout bounds the attempts (the driver watches it), afterwards the resume window.

use std::time::{Duration, Instant};

use crate::aws::Meaning;
use crate::transport::DialError;

use super::link_error::LinkError;

/// Delays double from here to there, after a first attempt at once.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Denials may come from a policy that is still being spread: three tries within 10 s.
const DENIALS: u32 = 3;
const DENIAL_DELAY: Duration = Duration::from_secs(3);
/// Upgrades refused with 403 before the session works: the first may be stale credentials.
const EARLY_FORBIDDEN: u32 = 2;
const FORBIDDEN: u16 = 403;

/// What follows from a failure.
#[derive(Debug)]
pub(crate) enum Next {
    RetryAfter(Duration),
    GiveUp(LinkError),
}

/// One outage: from the loss of a working websocket, or from the start, until the next one works.
#[derive(Debug)]
pub(crate) struct Outage {
    since: Instant,
    /// The handshake was complete before.
    established: bool,
    attempts: u32,
    /// The loss of the websocket, and each attempt that failed.
    failures: u32,
    denials: u32,
    forbidden: u32,
}

impl Outage {
    /// There has not been a websocket yet.
    pub(crate) fn first(now: Instant) -> Self {
        Self { since: now, established: false, attempts: 0, failures: 0, denials: 0, forbidden: 0 }
    }

    /// The handshake is complete: what is lost from now on is resumed.
    pub(crate) fn establish(&mut self, now: Instant) {
        *self = Self { established: true, ..Self::first(now) };
    }

    /// A working websocket was lost.
    pub(crate) fn restart(&mut self, now: Instant) {
        *self = Self { established: self.established, ..Self::first(now) };
    }

    /// When it began.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Returns true once the handshake has been complete.
    pub(crate) fn is_established(&self) -> bool {
        self.established
    }

    /// Returns how many attempts to resume the session have failed; `None` if it was not lost, or never worked.
    pub(crate) fn attempts_to_resume(&self) -> Option<u32> {
        if self.established { self.failures.checked_sub(1) } else { None }
    }

    /// Decides what follows from `error`. `jitter` is from 0 to 1.
    pub(crate) fn after(&mut self, error: LinkError, jitter: f64) -> Next {
        self.failures += 1;
        if self.is_final(&error) {
            return Next::GiveUp(error);
        }
        let denied = matches!(&error, LinkError::Api(api) if api.meaning() == Meaning::AccessDenied);
        let delay = if denied { DENIAL_DELAY } else { self.backoff(jitter) };
        self.attempts += 1;
        Next::RetryAfter(delay)
    }

    fn is_final(&mut self, error: &LinkError) -> bool {
        match error {
            LinkError::Gone | LinkError::Host(_) => true,
            LinkError::Lost(_) => false,
            LinkError::Dial(DialError::Refused { status: FORBIDDEN, .. }) => {
                self.forbidden += 1;
                !self.established && self.forbidden >= EARLY_FORBIDDEN
            }
            LinkError::Dial(
                DialError::Certificate { .. } | DialError::Tls(_) | DialError::Foreign { .. },
            ) => !self.established,
            LinkError::Dial(DialError::Connect { fault, .. }) if fault.is_permanent() => !self.established,
            LinkError::Dial(
                DialError::Connect { .. }
                | DialError::Sign(_)
                | DialError::Refused { .. }
                | DialError::Upgrade(_)
                | DialError::Timeout(_),
            ) => false,
            LinkError::Api(api) => match api.meaning() {
                Meaning::AccessDenied => {
                    self.denials += 1;
                    self.denials >= DENIALS
                }
                Meaning::DoesNotExist | Meaning::Other => true,
                Meaning::TargetNotConnected
                | Meaning::Credentials
                | Meaning::Transient
                | Meaning::Settings => false,
            },
        }
    }

    /// At once the first time, then doubling, each between half and the whole of its step.
    fn backoff(&self, jitter: f64) -> Duration {
        match self.attempts.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => {
                let step = FIRST_DELAY.saturating_mul(1 << doublings.min(16)).min(LONGEST_DELAY);
                step.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::ApiError;
    use crate::channel::tests::start;

    fn early() -> Outage {
        Outage::first(start().instant)
    }

    fn outage() -> Outage {
        let mut outage = early();
        outage.establish(start().instant);
        outage
    }

    fn lost() -> LinkError {
        LinkError::Lost("gone".to_owned())
    }

    fn service(code: &str) -> LinkError {
        let (code, message) = (code.to_owned(), "m".to_owned());
        LinkError::Api(ApiError::Service { operation: "ResumeSession", code, message, status: 400 })
    }

    fn forbidden() -> LinkError {
        LinkError::Dial(DialError::Refused { status: 403, text: String::new() })
    }

    fn delay(next: Next) -> Duration {
        match next {
            Next::RetryAfter(delay) => delay,
            Next::GiveUp(error) => panic!("gave up: {error}"),
        }
    }

    #[test]
    fn attempts_start_at_once_and_back_off_to_half_a_minute() {
        let mut outage = outage();
        let delays: Vec<u128> = (0..10).map(|_| delay(outage.after(lost(), 1.0)).as_millis()).collect();
        assert_eq!(delays, [0, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(delay(outage.after(lost(), 0.0)).as_millis(), 15_000);
    }

    #[test]
    fn a_session_that_has_ended_is_final() {
        assert!(matches!(outage().after(LinkError::Gone, 0.5), Next::GiveUp(_)));
        assert!(matches!(outage().after(service("DoesNotExistException"), 0.5), Next::GiveUp(_)));
    }

    #[test]
    fn denials_get_three_tries_within_ten_seconds() {
        let mut outage = outage();
        let waits: Duration =
            (0..2).map(|_| delay(outage.after(service("AccessDeniedException"), 0.5))).sum();
        assert!(waits <= Duration::from_secs(10));
        assert!(matches!(outage.after(service("AccessDeniedException"), 0.5), Next::GiveUp(_)));
    }

    #[test]
    fn the_user_may_log_in_meanwhile() {
        let mut outage = outage();
        for code in ["ExpiredTokenException", "ThrottlingException", "UnrecognizedClientException"] {
            for _ in 0..20 {
                delay(outage.after(service(code), 0.5));
            }
        }
        delay(outage.after(LinkError::Api(ApiError::NoCredentials("sso".to_owned())), 0.5));
    }

    #[test]
    fn two_refused_upgrades_are_final_only_before_the_session_works() {
        let mut early = early();
        delay(early.after(forbidden(), 0.5));
        assert!(matches!(early.after(forbidden(), 0.5), Next::GiveUp(_)));
        let mut later = outage();
        for _ in 0..20 {
            delay(later.after(forbidden(), 0.5));
        }
    }
}
