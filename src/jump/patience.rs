//! A limit of time that does not run while a human is asked.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::clock;

/// Knows whether a human is being asked.
#[derive(Default)]
pub(super) struct Patience {
    asking: Mutex<Asking>,
}

#[derive(Clone, Copy, Default)]
struct Asking {
    questions: usize,
    /// When the last answer came.
    answered: Option<Instant>,
}

/// While this lives, no time runs.
pub(super) struct Paused<'a>(&'a Patience);

/// It took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Patience {
    pub fn pause(&self) -> Paused<'_> {
        self.change(|asking| asking.questions += 1);
        Paused(self)
    }

    fn change(&self, change: impl FnOnce(&mut Asking)) -> Asking {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut asking);
        *asking
    }

    /// Returns when it will have been too long, if that is not now.
    fn later(&self, limit: Duration) -> Option<Instant> {
        let (asking, now) = (self.change(|_| {}), clock::now());
        let begin = if asking.questions > 0 { Some(now) } else { asking.answered };
        begin.map(|begin| begin + limit).filter(|deadline| *deadline > now)
    }

    /// Waits for something; an answer begins the limit anew.
    pub async fn limit<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Result<T, TooLong> {
        tokio::pin!(future);
        let mut deadline = clock::now() + limit;
        loop {
            tokio::select! {
                output = &mut future => return Ok(output),
                () = sleep_until(deadline.into()) => {
                    deadline = self.later(limit).ok_or(TooLong)?;
                }
            }
        }
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.change(|asking| {
            asking.questions -= 1;
            asking.answered = Some(clock::now());
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn no_time_runs_while_a_human_thinks() {
        let patience = Patience::default();
        assert_eq!(patience.later(LIMIT), None);
        let (first, second) = (patience.pause(), patience.pause());
        assert!(patience.later(LIMIT).is_some());
        drop(first);
        assert!(patience.later(LIMIT).is_some());
        drop(second);
        // The limit begins anew with the answer.
        assert!(patience.later(LIMIT).is_some());
        assert_eq!(patience.later(Duration::ZERO), None);
    }

    #[tokio::test]
    async fn what_never_comes_is_too_late() {
        let patience = Patience::default();
        assert_eq!(patience.limit(Duration::ZERO, pending::<()>()).await, Err(TooLong));
        assert_eq!(patience.limit(Duration::ZERO, async { 7 }).await, Ok(7));
    }
}
