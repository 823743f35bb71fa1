//! Asks the user for MFA codes, and extends deadlines by the time that the answers take.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::sleep_until;

use crate::clock;

/// Asks for the code of an MFA device, given its serial number or ARN.
pub type AskCode = Box<dyn Fn(String) -> BoxFuture<'static, Result<String, NoCode>> + Send + Sync>;

/// Why the user entered no code.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoCode {
    /// The process has no terminal, or is not in its foreground.
    #[error("no terminal to ask on")]
    NoTerminal,
    /// No question may be asked: `--no-input`.
    #[error("no question may be asked (`--no-input`)")]
    Forbidden,
    /// The answer was empty, or could not be read.
    #[error("no code was entered")]
    NoAnswer,
}

/// Asks the user for MFA codes, and measures how long the answers take.
#[derive(Default)]
pub struct MfaPrompt {
    ask: Option<AskCode>,
    waiting: watch::Sender<Waiting>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    since: Option<Instant>,
    total: Duration,
}

impl MfaPrompt {
    /// Creates a prompt that asks with `ask`.
    pub fn new(ask: AskCode) -> Self {
        Self { ask: Some(ask), waiting: watch::Sender::default() }
    }

    /// Asks for the code of a device.
    pub(super) async fn code(&self, serial: &str) -> Result<String, NoCode> {
        let Some(ask) = &self.ask else { return Err(NoCode::NoTerminal) };
        let _asking = Asking::begin(&self.waiting);
        ask(serial.to_owned()).await
    }

    /// Returns true while a question is open.
    pub fn is_open(&self) -> bool {
        self.waiting.borrow().since.is_some()
    }

    /// Returns the total time that answers took.
    pub fn time_spent(&self) -> Duration {
        self.waiting.borrow().total
    }

    /// Waits until the deadline, extended by the time that answers take.
    pub async fn wait_until(&self, deadline: Instant) {
        let mut changes = self.waiting.subscribe();
        loop {
            let waiting = *changes.borrow_and_update();
            let is_open = waiting.since.is_some();
            tokio::select! {
                () = sleep_until((deadline + waiting.total).into()), if !is_open => return,
                _ = changes.changed() => {}
            }
        }
    }
}

impl fmt::Debug for MfaPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MfaPrompt").field("can_be_asked", &self.ask.is_some()).finish_non_exhaustive()
    }
}

/// Marks a question as open until it is dropped.
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

    fn slow(answer_after: Duration) -> MfaPrompt {
        MfaPrompt::new(Box::new(move |_| {
            Box::pin(async move {
                tokio::time::sleep(answer_after).await;
                Ok("123456".to_owned())
            })
        }))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn without_a_terminal_there_is_no_code() {
        assert_eq!(MfaPrompt::default().code("serial").await, Err(NoCode::NoTerminal));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_deadline_is_extended_by_the_time_of_an_answer() {
        let mfa_prompt = slow(Duration::from_millis(300));
        let start = clock::now();
        let work = async {
            let code = mfa_prompt.code("serial").await;
            std::future::pending::<()>().await;
            code
        };
        tokio::select! {
            _ = work => unreachable!("it never ends"),
            () = mfa_prompt.wait_until(start + Duration::from_millis(100)) => {}
        }
        let taken = mfa_prompt.time_spent();
        assert!(
            taken >= Duration::from_millis(300) && clock::now() - start >= taken + Duration::from_millis(100)
        );
        assert!(!mfa_prompt.is_open());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_dropped_question_is_closed() {
        let mfa_prompt = slow(Duration::from_secs(3600));
        {
            let mut question = Box::pin(mfa_prompt.code("serial"));
            assert!(futures_util::poll!(&mut question).is_pending());
            assert!(mfa_prompt.is_open());
        }
        assert!(!mfa_prompt.is_open());
    }
}
