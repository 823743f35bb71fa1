//! The questions that a login may ask the user, as data. The caller supplies a [`Prompter`] that asks them.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use thiserror::Error;

use super::secret::Secret;

/// A question to the user. Text from the server is unescaped.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// Asks for the passphrase of a private key.
    Passphrase {
        /// The private key file.
        file: &'a Path,
        /// Whether the previous answer was wrong.
        is_retry: bool,
    },
    /// Asks for the user's password on a hop.
    Password {
        /// The user name on the host.
        user: &'a str,
        /// The host name.
        host: &'a str,
        /// Whether the previous answer was wrong.
        is_retry: bool,
    },
    /// Passes on a prompt of the server (keyboard-interactive).
    Prompt {
        /// The user name on the host.
        user: &'a str,
        /// The host name.
        host: &'a str,
        /// The server's instructions: untrusted, usually empty.
        instructions: &'a str,
        /// The server's prompt: untrusted.
        prompt: &'a str,
        /// Whether the terminal echoes the answer.
        echo: bool,
    },
    /// Asks whether to accept an unknown host key: `yes`, `no`, or its fingerprint.
    HostKey {
        /// The host's name in known_hosts.
        host: &'a str,
        /// The key's type, such as `ED25519`.
        kind: &'a str,
        /// `SHA256:…`.
        fingerprint: &'a str,
        /// Whether the previous answer was none of these.
        is_retry: bool,
    },
}

/// Why the user gave no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PromptError {
    /// The process has no terminal in the foreground, and no askpass program.
    #[error("no terminal to ask on")]
    NoTerminal,
    /// No question may be asked: `--no-input`.
    #[error("no question may be asked (`--no-input`)")]
    Forbidden,
    /// The user dismissed the question, or the answer could not be read.
    #[error("the user gave no answer")]
    Dismissed,
}

/// The future that [`Prompter::ask`] returns.
pub type AnswerFuture<'a> = Pin<Box<dyn Future<Output = Result<Secret, PromptError>> + Send + 'a>>;

/// Asks the user questions.
pub trait Prompter: Send + Sync {
    /// Asks one question. Dropping the future withdraws the question.
    fn ask<'a>(&'a self, question: Question<'a>) -> AnswerFuture<'a>;
}

/// A prompter that answers every question with [`PromptError::NoTerminal`].
#[derive(Clone, Copy, Debug)]
pub struct NoPrompter;

impl Prompter for NoPrompter {
    fn ask<'a>(&'a self, _question: Question<'a>) -> AnswerFuture<'a> {
        Box::pin(async { Err(PromptError::NoTerminal) })
    }
}
