//! What only a human can give: the code of an MFA device, and a login.

use std::fmt;

use futures_util::future::BoxFuture;
use thiserror::Error;

use super::human_time::HumanTime;
use super::source::LoginCommand;

/// Asks for the code of an MFA device, given its serial number or ARN.
pub type AskCode = Box<dyn Fn(String) -> BoxFuture<'static, Result<String, NoCode>> + Send + Sync>;

/// Offers to run the command that logs in. Returns true if it was run and succeeded.
pub type OfferLogin = Box<dyn Fn(LoginCommand) -> BoxFuture<'static, bool> + Send + Sync>;

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

/// Asks the user, and measures how long the answers take. The default asks nothing.
#[derive(Default)]
pub struct Prompts {
    code: Option<AskCode>,
    login: Option<OfferLogin>,
    human_time: HumanTime,
}

impl Prompts {
    /// Asks for codes with `code`, and for logins with `login`.
    pub fn new(code: AskCode, login: OfferLogin) -> Self {
        Self { code: Some(code), login: Some(login), human_time: HumanTime::default() }
    }

    /// Asks for the code of a device.
    pub(super) async fn code(&self, serial: &str) -> Result<String, NoCode> {
        let Some(ask) = &self.code else { return Err(NoCode::NoTerminal) };
        let _wait = self.human_time.begin();
        ask(serial.to_owned()).await
    }

    /// Offers to run the command of a login.
    pub(super) async fn log_in(&self, command: LoginCommand) -> bool {
        let Some(offer) = &self.login else { return false };
        let _wait = self.human_time.begin();
        offer(command).await
    }

    /// Returns the time that humans take.
    pub fn human_time(&self) -> &HumanTime {
        &self.human_time
    }
}

impl fmt::Debug for Prompts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prompts").field("can_ask", &self.code.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn slow(answer_after: Duration) -> Prompts {
        let code: AskCode = Box::new(move |_| {
            Box::pin(async move {
                tokio::time::sleep(answer_after).await;
                Ok("123456".to_owned())
            })
        });
        Prompts::new(code, Box::new(|_| Box::pin(async { false })))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn without_a_terminal_there_is_no_code() {
        assert_eq!(Prompts::default().code("serial").await, Err(NoCode::NoTerminal));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_dropped_question_is_closed() {
        let prompts = slow(Duration::from_secs(3600));
        {
            let mut question = Box::pin(prompts.code("serial"));
            assert!(futures_util::poll!(&mut question).is_pending());
            assert!(prompts.human_time().is_open());
        }
        assert!(!prompts.human_time().is_open());
    }
}
