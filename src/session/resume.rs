//! The resume policy: what a failed attempt to get a websocket means, and when to try again.
//!
//! A value without I/O: it is told of failures and answers with a delay or the end. Before the agent has completed
//! the handshake the connect timeout bounds the attempts (the driver watches it), afterwards the resume window.

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::aws::{ApiError, Meaning};
use crate::transport::{DialError, HostError};

/// Delays double from here to there, after a first attempt at once.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Denials may come from a policy that is still being spread: three tries within 10 s.
const DENIALS: u32 = 3;
const DENIAL_DELAY: Duration = Duration::from_secs(3);
/// Upgrades refused with 403 before the session works: the first may be stale credentials.
const EARLY_FORBIDDEN: u32 = 2;
const FORBIDDEN: u16 = 403;

/// Why an attempt to get a websocket failed.
#[derive(Debug, Error)]
pub(crate) enum AttemptError {
    #[error(transparent)]
    Api(#[from] ApiError),
    /// ResumeSession gave no token: the session has ended.
    #[error("the session has ended")]
    Gone,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Dial(#[from] DialError),
    /// An open websocket was lost.
    #[error("{0}")]
    Lost(String),
}

impl AttemptError {
    /// Tells whether the session is no more at the service, so that nobody has to end it.
    pub(crate) fn says_gone(&self) -> bool {
        match self {
            Self::Api(error) => error.meaning() == Meaning::DoesNotExist,
            Self::Gone | Self::Host(_) | Self::Dial(_) | Self::Lost(_) => false,
        }
    }
}

/// What follows from a failure.
#[derive(Debug)]
pub(crate) enum Next {
    RetryAfter(Duration),
    GiveUp(AttemptError),
}

/// The state of one outage.
#[derive(Debug)]
pub(crate) struct Resume {
    since: Instant,
    attempts: u32,
    denials: u32,
    forbidden: u32,
}

impl Resume {
    /// The link was lost, or has never been.
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, attempts: 0, denials: 0, forbidden: 0 }
    }

    /// When the link was lost.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Decides what follows from `error`; `established` once the handshake is complete. `jitter` is from 0 to 1.
    pub(crate) fn after(&mut self, error: AttemptError, established: bool, jitter: f64) -> Next {
        if self.is_final(&error, established) {
            return Next::GiveUp(error);
        }
        let denied = matches!(&error, AttemptError::Api(api) if api.meaning() == Meaning::AccessDenied);
        let delay = if denied { DENIAL_DELAY } else { self.backoff(jitter) };
        self.attempts += 1;
        Next::RetryAfter(delay)
    }

    fn is_final(&mut self, error: &AttemptError, established: bool) -> bool {
        match error {
            AttemptError::Gone | AttemptError::Host(_) => true,
            AttemptError::Lost(_) => false,
            AttemptError::Dial(DialError::Refused { status: FORBIDDEN, .. }) => {
                self.forbidden += 1;
                !established && self.forbidden >= EARLY_FORBIDDEN
            }
            AttemptError::Dial(DialError::Certificate { .. } | DialError::Tls(_) | DialError::Proxy(_)) => {
                !established
            }
            AttemptError::Dial(
                DialError::Connect { .. }
                | DialError::Sign(_)
                | DialError::Refused { .. }
                | DialError::Upgrade(_)
                | DialError::Timeout(_),
            ) => false,
            AttemptError::Api(api) => match api.meaning() {
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
    use crate::channel::tests::start;

    fn resume() -> Resume {
        Resume::new(start().instant)
    }

    fn lost() -> AttemptError {
        AttemptError::Lost("gone".to_owned())
    }

    fn service(code: &str) -> AttemptError {
        let (code, message) = (code.to_owned(), "m".to_owned());
        AttemptError::Api(ApiError::Service { operation: "ResumeSession", code, message, status: 400 })
    }

    fn forbidden() -> AttemptError {
        AttemptError::Dial(DialError::Refused { status: 403, text: String::new() })
    }

    fn delay(next: Next) -> Duration {
        match next {
            Next::RetryAfter(delay) => delay,
            Next::GiveUp(error) => panic!("gave up: {error}"),
        }
    }

    #[test]
    fn attempts_start_at_once_and_back_off_to_half_a_minute() {
        let mut resume = resume();
        let delays: Vec<u128> = (0..10).map(|_| delay(resume.after(lost(), true, 1.0)).as_millis()).collect();
        assert_eq!(delays, [0, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(delay(resume.after(lost(), true, 0.0)).as_millis(), 15_000);
    }

    #[test]
    fn a_session_that_is_gone_is_final() {
        assert!(matches!(resume().after(AttemptError::Gone, true, 0.5), Next::GiveUp(_)));
        assert!(matches!(resume().after(service("DoesNotExistException"), true, 0.5), Next::GiveUp(_)));
    }

    #[test]
    fn denials_get_three_tries_within_ten_seconds() {
        let mut resume = resume();
        let waits: Duration =
            (0..2).map(|_| delay(resume.after(service("AccessDeniedException"), true, 0.5))).sum();
        assert!(waits <= Duration::from_secs(10));
        assert!(matches!(resume.after(service("AccessDeniedException"), true, 0.5), Next::GiveUp(_)));
    }

    #[test]
    fn the_user_may_log_in_meanwhile() {
        let mut resume = resume();
        for code in ["ExpiredTokenException", "ThrottlingException", "UnrecognizedClientException"] {
            for _ in 0..20 {
                delay(resume.after(service(code), true, 0.5));
            }
        }
        delay(resume.after(AttemptError::Api(ApiError::NoCredentials("sso".to_owned())), true, 0.5));
    }

    #[test]
    fn two_refused_upgrades_are_final_only_before_the_session_works() {
        let mut early = resume();
        delay(early.after(forbidden(), false, 0.5));
        assert!(matches!(early.after(forbidden(), false, 0.5), Next::GiveUp(_)));
        let mut later = resume();
        for _ in 0..20 {
            delay(later.after(forbidden(), true, 0.5));
        }
    }
}
