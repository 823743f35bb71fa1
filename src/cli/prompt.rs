//! Asks for what AWS wants of a human.

use crate::aws::{AskCode, NoCode};
use crate::jump::PromptError;
use crate::jump::terminal::{self, Echo};

/// Asks whether to go on. Without a terminal, the answer is no.
pub(super) async fn confirm(question: &str) -> bool {
    let answer = terminal::ask(&format!("{question} [y/N] "), Echo::Shown).await;
    answer.is_ok_and(|answer| matches!(answer.reveal().trim(), "y" | "Y" | "yes"))
}

/// Asks for the code of a second factor with the AWS CLI's words; like there, what is typed is not shown.
pub(super) fn ask_code() -> AskCode {
    Box::new(|serial| {
        Box::pin(async move {
            let question = format!("Enter MFA code for {}: ", crate::escape::escape(&serial));
            let answer = terminal::ask(&question, Echo::Hidden).await.map_err(|error| match error {
                PromptError::NoTerminal => NoCode::NoTerminal,
                PromptError::Forbidden => NoCode::Forbidden,
                PromptError::Dismissed => NoCode::NoAnswer,
            })?;
            let answer = answer.reveal().trim().to_owned();
            if answer.is_empty() { Err(NoCode::NoAnswer) } else { Ok(answer) }
        })
    })
}
