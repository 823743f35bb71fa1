//! What a login may have to ask a human, as data; who is asked and how is the caller's to say.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use thiserror::Error;

use super::secret::Secret;

/// A question; text in it that comes from a server is as the server wrote it.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// The passphrase of a private key.
    Passphrase {
        /// The key's file.
        file: &'a Path,
        /// Whether the answer before was wrong.
        is_retry: bool,
    },
    /// The user's password on a hop.
    Password {
        /// Who logs in.
        user: &'a str,
        /// Where.
        host: &'a str,
        /// Whether the answer before was wrong.
        is_retry: bool,
    },
    /// A prompt of the server (keyboard-interactive).
    Prompt {
        /// Who logs in.
        user: &'a str,
        /// Where.
        host: &'a str,
        /// The server's explanation, untrusted, mostly empty.
        instructions: &'a str,
        /// The server's prompt, untrusted.
        prompt: &'a str,
        /// Whether what is typed may be shown.
        echo: bool,
    },
    /// Whether a host key that nobody has seen yet is the right one: `yes`, `no`, or its fingerprint.
    HostKey {
        /// The host, as known_hosts would name it.
        host: &'a str,
        /// The key's type, such as `ED25519`.
        kind: &'a str,
        /// `SHA256:…`.
        fingerprint: &'a str,
        /// Whether the answer before was none of these.
        is_retry: bool,
    },
}

/// Why there is no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PromptError {
    /// There is nobody to ask: no terminal that is ours, and no askpass program.
    #[error("there is no terminal to ask on")]
    NoTerminal,
    /// The question was dismissed, or its answer could not be read.
    #[error("there was no answer")]
    Dismissed,
}

/// The answer to come.
pub type AnswerFuture<'a> = Pin<Box<dyn Future<Output = Result<Secret, PromptError>> + Send + 'a>>;

/// Somebody who can be asked.
pub trait Prompter: Send + Sync {
    /// Asks one question; dropping the answer takes the question back.
    fn ask<'a>(&'a self, question: Question<'a>) -> AnswerFuture<'a>;
}

/// An prompter that has nobody to ask.
#[derive(Clone, Copy, Debug)]
pub struct NoPrompter;

impl Prompter for NoPrompter {
    fn ask<'a>(&'a self, _question: Question<'a>) -> AnswerFuture<'a> {
        Box::pin(async { Err(PromptError::NoTerminal) })
    }
}
