//! Asking a human, who takes as long as it takes: that time counts for no time-out.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::sleep_until;

use crate::clock;

/// Asks for the code of a second factor, whose serial number or ARN it is given.
pub type AskCode = Box<dyn Fn(String) -> BoxFuture<'static, Result<String, NoCode>> + Send + Sync>;

/// Why there is no code.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoCode {
    /// There is nobody to ask: no terminal, or it is not ours now.
    #[error("there is no terminal to ask for it")]
    NoTerminal,
    /// The answer was empty, or could not be read.
    #[error("none was given")]
    NoAnswer,
}

/// Somebody who can be asked, and how long that took.
#[derive(Default)]
pub struct Human {
    ask: Option<AskCode>,
    waiting: watch::Sender<Waiting>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    since: Option<Instant>,
    total: Duration,
}

impl Human {
    /// Somebody who is asked in this way.
    pub fn asked_by(ask: AskCode) -> Self {
        Self { ask: Some(ask), waiting: watch::Sender::default() }
    }

    /// Asks for a code.
    pub(super) async fn code(&self, serial: &str) -> Result<String, NoCode> {
        let Some(ask) = &self.ask else { return Err(NoCode::NoTerminal) };
        let _asking = Asking::begin(&self.waiting);
        ask(serial.to_owned()).await
    }

    /// Tells whether an answer is being waited for.
    pub fn is_asked(&self) -> bool {
        self.waiting.borrow().since.is_some()
    }

    /// Returns how long answers took altogether.
    pub fn time_taken(&self) -> Duration {
        self.waiting.borrow().total
    }

    /// Waits until the deadline, put off by the time that a human takes.
    pub async fn passed(&self, deadline: Instant) {
        let mut changes = self.waiting.subscribe();
        loop {
            let waiting = *changes.borrow_and_update();
            let is_asked = waiting.since.is_some();
            tokio::select! {
                () = sleep_until((deadline + waiting.total).into()), if !is_asked => return,
                _ = changes.changed() => {}
            }
        }
    }
}

impl fmt::Debug for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Human").field("can_be_asked", &self.ask.is_some()).finish_non_exhaustive()
    }
}

/// A question that is open until this is dropped.
struct Asking<'a>(&'a watch::Sender<Waiting>);

impl<'a> Asking<'a> {
    fn begin(waiting: &'a watch::Sender<Waiting>) -> Self {
        waiting.send_modify(|waiting| waiting.since = Some(clock::now()));
        Self(waiting)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| {
            waiting.total += waiting.since.take().map(|since| clock::now() - since).unwrap_or_default();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(answer_after: Duration) -> Human {
        Human::asked_by(Box::new(move |_| {
            Box::pin(async move {
                tokio::time::sleep(answer_after).await;
                Ok("123456".to_owned())
            })
        }))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn nobody_there_is_no_code() {
        assert_eq!(Human::default().code("serial").await, Err(NoCode::NoTerminal));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_deadline_waits_for_the_human() {
        let human = slow(Duration::from_millis(300));
        let start = clock::now();
        let work = async {
            let code = human.code("serial").await;
            std::future::pending::<()>().await;
            code
        };
        tokio::select! {
            _ = work => unreachable!("it never ends"),
            () = human.passed(start + Duration::from_millis(100)) => {}
        }
        let taken = human.time_taken();
        assert!(
            taken >= Duration::from_millis(300) && clock::now() - start >= taken + Duration::from_millis(100)
        );
        assert!(!human.is_asked());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_question_that_is_dropped_is_over() {
        let human = slow(Duration::from_secs(3600));
        {
            let mut question = Box::pin(human.code("serial"));
            assert!(futures_util::poll!(&mut question).is_pending());
            assert!(human.is_asked());
        }
        assert!(!human.is_asked());
    }
}
