//! Asks for what AWS wants of a human.

use std::path::PathBuf;

use tokio::process::Command;

use crate::aws::source::LoginCommand;
use crate::aws::{AskCode, NoCode, OfferLogin, Prompts};
use crate::config::{Config, Verbosity};
use crate::escape::escape;
use crate::jump::PromptError;
use crate::jump::terminal::{self, Echo};

use super::report::{login_words, notes};
use super::stderr::print_note;

/// Asks whether to go on. Without a terminal, the answer is no.
pub(super) async fn confirm(question: &str) -> bool {
    let answer = terminal::ask(&format!("{question} [y/N] "), Echo::Shown).await;
    answer.is_ok_and(|answer| matches!(answer.reveal().trim(), "y" | "Y" | "yes"))
}

/// Returns what asks the user for a run with this configuration.
pub(super) fn prompts(config: &Config) -> Prompts {
    prompts_of(config.log.verbosity)
}

/// Returns what asks the user; with `-q`, no login is offered.
pub(super) fn prompts_of(verbosity: Verbosity) -> Prompts {
    Prompts::new(ask_code(), offer_login(verbosity != Verbosity::Quiet))
}

/// Asks for the code of a second factor with the AWS CLI's words; like there, what is typed is not shown.
fn ask_code() -> AskCode {
    Box::new(|serial| {
        Box::pin(async move {
            let question = format!("Enter MFA code for {}: ", escape(&serial));
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

/// Offers to run the command of a login, if its program can be found.
fn offer_login(is_wanted: bool) -> OfferLogin {
    Box::new(move |command| Box::pin(async move { is_wanted && log_in(&command).await }))
}

async fn log_in(command: &LoginCommand) -> bool {
    let words = command.words();
    let Some((program, arguments)) = words.split_first() else { return false };
    let Some(program) = on_path(program) else { return false };
    let shown = login_words(command);
    let question = format!("fumidai: {}", notes::of_login_offer(&command.profile, &shown));
    if !confirm(&escape(&question)).await {
        return false;
    }
    let mut login = Command::new(program);
    login.args(arguments).kill_on_drop(true);
    match terminal::run(login).await {
        Ok(status) if status.success() => true,
        Ok(status) => {
            print_note(&notes::of_failed_login(&shown, &status.to_string()));
            false
        }
        Err(error) => {
            print_note(&notes::of_failed_login(&shown, &error.to_string()));
            false
        }
    }
}

/// Finds a program as a shell does.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = crate::config::process_variable("PATH")?;
    let names = std::env::split_paths(&path)
        .map(|folder| folder.join(program).with_extension(std::env::consts::EXE_EXTENSION));
    names.into_iter().find(|file| is_executable(file))
}

#[cfg(unix)]
fn is_executable(file: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &std::path::Path) -> bool {
    file.is_file()
}
