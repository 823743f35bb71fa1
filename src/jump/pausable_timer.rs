//! A time limit that is paused while the user answers a question.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::clock;

/// Counts the open questions, and extends limits by the time that answers take.
#[derive(Default)]
pub(super) struct PausableTimer {
    asking: Mutex<Asking>,
}

#[derive(Clone, Copy, Default)]
struct Asking {
    questions: usize,
    /// When the last question was closed.
    answered: Option<Instant>,
}

/// Pauses the timer until it is dropped.
pub(super) struct Paused<'a>(&'a PausableTimer);

/// The error of a limit that has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elapsed;

impl PausableTimer {
    pub fn pause(&self) -> Paused<'_> {
        self.change(|asking| asking.questions += 1);
        Paused(self)
    }

    fn change(&self, change: impl FnOnce(&mut Asking)) -> Asking {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut asking);
        *asking
    }

    /// Returns the new deadline, or `None` if the limit has expired.
    fn extended(&self, limit: Duration) -> Option<Instant> {
        let (asking, now) = (self.change(|_| {}), clock::now());
        let begin = if asking.questions > 0 { Some(now) } else { asking.answered };
        begin.map(|begin| begin + limit).filter(|deadline| *deadline > now)
    }

    /// Awaits a future for at most `limit`; an answer restarts the limit.
    pub async fn limit<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        tokio::pin!(future);
        let mut deadline = clock::now() + limit;
        loop {
            tokio::select! {
                output = &mut future => return Ok(output),
                () = sleep_until(deadline.into()) => {
                    deadline = self.extended(limit).ok_or(Elapsed)?;
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
    async fn the_limit_is_paused_while_a_question_is_open() {
        let timer = PausableTimer::default();
        assert_eq!(timer.extended(LIMIT), None);
        let (first, second) = (timer.pause(), timer.pause());
        assert!(timer.extended(LIMIT).is_some());
        drop(first);
        assert!(timer.extended(LIMIT).is_some());
        drop(second);
        // The answer restarts the limit.
        assert!(timer.extended(LIMIT).is_some());
        assert_eq!(timer.extended(Duration::ZERO), None);
    }

    #[tokio::test]
    async fn a_future_that_never_completes_exceeds_the_limit() {
        let timer = PausableTimer::default();
        assert_eq!(timer.limit(Duration::ZERO, pending::<()>()).await, Err(Elapsed));
        assert_eq!(timer.limit(Duration::ZERO, async { 7 }).await, Ok(7));
    }
}
