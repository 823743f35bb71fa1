//! The questions of `init`, on the terminal.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, stderr, stdin};

use dialoguer::theme::SimpleTheme;
use dialoguer::{Confirm, FuzzySelect, Input};

use crate::jump::terminal;

use super::super::report::{Report, UsageError};

/// Lines of a list that are shown at once.
const SHOWN: usize = 12;

/// Returns whether questions can be asked.
pub(super) fn can_ask() -> bool {
    !terminal::is_forbidden() && stdin().is_terminal() && stderr().is_terminal()
}

/// Returns why the question that this flag answers is not asked.
pub(super) fn unasked(flag: &'static str) -> UsageError {
    if terminal::is_forbidden() { UsageError::NoInput { flag } } else { UsageError::NothingToAskOn { flag } }
}

/// Lets the user pick a line: arrow keys, or letters that filter; returns its place.
pub(super) async fn pick(question: &str, lines: Vec<String>) -> Result<usize, Report> {
    let question = question.to_owned();
    let ask = move || {
        let list = FuzzySelect::with_theme(&SimpleTheme).with_prompt(question).items(&lines).default(0);
        list.max_length(SHOWN).interact_opt()
    };
    answered(ask).await?.ok_or_else(|| UsageError::Dismissed.into())
}

/// Asks for a text that `parse` accepts.
pub(super) async fn text<T: 'static, E: Display + 'static>(
    question: &str,
    usual: Option<String>,
    parse: fn(&str) -> Result<T, E>,
) -> Result<T, Report> {
    let question = question.to_owned();
    let ask = move || {
        let input = Input::<String>::with_theme(&SimpleTheme).with_prompt(question);
        let input = match usual {
            Some(usual) => input.default(usual),
            None => input,
        };
        let check = move |text: &String| parse(text.trim()).map(drop).map_err(|error| error.to_string());
        input.allow_empty(true).validate_with(check).interact_text()
    };
    let answer = answered(ask).await?;
    parse(answer.trim()).map_err(|_| UsageError::Dismissed.into())
}

/// Asks a question whose answer is yes or no.
pub(super) async fn confirm(question: &str, usual: bool) -> Result<bool, Report> {
    let question = question.to_owned();
    let ask = move || Confirm::with_theme(&SimpleTheme).with_prompt(question).default(usual).interact_opt();
    answered(ask).await?.ok_or_else(|| UsageError::Dismissed.into())
}

/// Asks in a thread of its own, so that a signal ends the command. Ctrl-C is passed on as SIGINT.
async fn answered<T: Send + 'static>(
    ask: impl FnOnce() -> dialoguer::Result<T> + Send + 'static,
) -> Result<T, Report> {
    let _cursor = Cursor;
    let answer = tokio::task::spawn_blocking(ask).await;
    let Ok(Err(dialoguer::Error::IO(error))) = &answer else {
        return answer.ok().and_then(Result::ok).ok_or_else(|| UsageError::Dismissed.into());
    };
    if error.kind() == ErrorKind::Interrupted {
        std::future::pending::<()>().await;
    }
    Err(UsageError::Dismissed.into())
}

/// A list hides the cursor while it is shown; this shows it again, also if a signal ends the question.
struct Cursor;

impl Drop for Cursor {
    fn drop(&mut self) {
        // A terminal that is gone needs no cursor.
        let _ = dialoguer::console::Term::stderr().show_cursor();
    }
}
