//! The check that the loop makes progress: it never wakes up twice for the same moment.
//!
//! A deadline that was acted on and is planned again would be waited for without waiting: one whole processor. Debug
//! builds, and so all tests, stop there; a release build logs it.

use std::time::Instant;

/// What the loop woke up for last.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    expired: Option<Instant>,
}

impl Wakes {
    /// The loop woke up, for a deadline or for an event.
    pub(super) fn woke(&mut self, deadline: Option<Instant>) {
        let is_repeated = deadline.is_some() && self.expired == deadline;
        self.expired = deadline;
        if is_repeated {
            tracing::warn!("the loop woke up twice for one deadline");
            debug_assert!(!is_repeated, "the loop woke up twice for one deadline");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::channel::tests::start;

    #[test]
    fn deadlines_that_advance_and_events_between_are_progress() {
        let (at, mut wakes) = (start().instant, Wakes::default());
        for deadline in [Some(at), Some(at + Duration::from_millis(1)), None, Some(at), None, Some(at)] {
            wakes.woke(deadline);
        }
    }

    #[test]
    #[should_panic(expected = "twice for one deadline")]
    fn one_deadline_twice_is_not() {
        let (at, mut wakes) = (start().instant, Wakes::default());
        wakes.woke(Some(at));
        wakes.woke(Some(at));
    }
}
