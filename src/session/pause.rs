//! The time since an established link was lost, and what has been reported of it. A value without I/O, owned by the link.

use std::time::{Duration, Instant};

use crate::aws::ApiError;

use super::SHORT_PAUSE;

/// One pause: from the loss of the link until the next one is open, whether or not that one works.
pub(super) struct Pause {
    since: Instant,
    cause: String,
    is_reported: bool,
    /// The last attempt found no usable credentials.
    credentials: Option<ApiError>,
    has_reported_credentials: bool,
}

/// A pause that is over.
pub(super) struct Interruption {
    pub cause: String,
    pub length: Duration,
}

impl Pause {
    /// Begins with the cause of the loss.
    pub(super) fn new(now: Instant, cause: String) -> Self {
        Self { since: now, cause, is_reported: false, credentials: None, has_reported_credentials: false }
    }

    /// Ends it.
    pub(super) fn over(self, now: Instant) -> Interruption {
        Interruption { length: now.saturating_duration_since(self.since), cause: self.cause }
    }

    /// When it is to be reported.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.is_reported).then_some(self.since + SHORT_PAUSE)
    }

    /// Returns the cause, once, when it is to be reported.
    pub(super) fn report(&mut self, now: Instant) -> Option<String> {
        self.deadline().filter(|deadline| now >= *deadline)?;
        self.is_reported = true;
        Some(self.cause.clone())
    }

    /// Notes whether an attempt failed for want of credentials; returns the error the first time.
    pub(super) fn attempt_failed(&mut self, credentials: Option<&ApiError>) -> Option<ApiError> {
        self.credentials = credentials.cloned();
        let ended = self.credentials.clone().filter(|_| !self.has_reported_credentials)?;
        self.has_reported_credentials = true;
        Some(ended)
    }

    /// Takes the error of the last attempt, if it found no usable credentials.
    pub(super) fn take_credentials(&mut self) -> Option<ApiError> {
        self.credentials.take()
    }
}
