//! Asks the user as OpenSSH does: on the terminal, or by the program that `SSH_ASKPASS` names.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use zeroize::Zeroizing;

use super::child::without_secrets;
use super::prompt::{AnswerFuture, PromptError, Prompter, Question};
use super::secret::Secret;
use super::terminal::{self, Echo};

/// The program that OpenSSH runs if `SSH_ASKPASS` is not set.
const DEFAULT_PROGRAM: &str = "/usr/bin/ssh-askpass";

/// The variables of the environment that select how the user is asked.
#[derive(Clone, Debug, Default)]
pub struct AskpassSettings {
    /// `SSH_ASKPASS`.
    pub program: Option<PathBuf>,
    /// `SSH_ASKPASS_REQUIRE`: `never`, `prefer` or `force`.
    pub require: Option<String>,
    /// Whether `DISPLAY` or `WAYLAND_DISPLAY` is set.
    pub has_display: bool,
}

/// Asks on the terminal or runs the askpass program, by OpenSSH's rules.
pub struct Askpass {
    settings: AskpassSettings,
    escape: fn(&str) -> Cow<'_, str>,
}

/// Where a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Terminal,
    Program,
    TerminalThenProgram,
}

impl Askpass {
    /// Creates a prompter. `escape` makes a server's text safe for one line of a terminal.
    pub fn new(settings: AskpassSettings, escape: fn(&str) -> Cow<'_, str>) -> Self {
        Self { settings, escape }
    }

    async fn ask(&self, question: Question<'_>) -> Result<Secret, PromptError> {
        let (text, echo) = self.format(question);
        let text = &text;
        match self.settings.method() {
            Method::Terminal => terminal::ask(text, echo).await,
            Method::Program => self.by_program(text).await,
            Method::TerminalThenProgram => match terminal::ask(text, echo).await {
                Err(PromptError::NoTerminal) => self.by_program(text).await,
                answer => answer,
            },
        }
    }

    async fn by_program(&self, text: &str) -> Result<Secret, PromptError> {
        if terminal::is_forbidden() {
            return Err(PromptError::Forbidden);
        }
        let program = self.settings.program.as_deref().unwrap_or(Path::new(DEFAULT_PROGRAM));
        run(program, text).await
    }

    /// Formats a question as OpenSSH does.
    fn format(&self, question: Question<'_>) -> (String, Echo) {
        let escape = self.escape;
        match question {
            Question::Passphrase { file, is_retry } => {
                let again = if is_retry { "Bad passphrase, try again" } else { "Enter passphrase" };
                let file = file.to_string_lossy();
                (format!("{again} for key '{}': ", escape(&file)), Echo::Hidden)
            }
            Question::Password { user, host, is_retry } => {
                let again = if is_retry { "Permission denied, please try again.\n" } else { "" };
                (format!("{again}{}@{}'s password: ", escape(user), escape(host)), Echo::Hidden)
            }
            Question::Prompt { user, host, instructions, prompt, echo } => {
                let asking = format!("({}@{})", escape(user), escape(host));
                let lines = instructions.lines().map(|line| format!("{}\n", escape(line)));
                let before: String = lines.collect();
                // Our line comes first: a question must not begin with the server's words.
                let first = if before.is_empty() { String::new() } else { format!("{asking}\n{before}") };
                let text = format!("{first}{asking} {}", escape(prompt));
                (text, if echo { Echo::Shown } else { Echo::Hidden })
            }
            Question::HostKey { is_retry: true, .. } => {
                ("Please type 'yes', 'no' or the fingerprint: ".to_owned(), Echo::Shown)
            }
            Question::HostKey { host, kind, fingerprint, is_retry: false } => {
                let (host, kind) = (escape(host), escape(kind));
                let text = format!(
                    "The authenticity of host '{host}' can't be established.\n\
                     {kind} key fingerprint is {fingerprint}.\n\
                     Are you sure you want to continue connecting (yes/no/[fingerprint])? "
                );
                (text, Echo::Shown)
            }
        }
    }
}

impl Prompter for Askpass {
    fn ask<'a>(&'a self, question: Question<'a>) -> AnswerFuture<'a> {
        Box::pin(self.ask(question))
    }
}

impl AskpassSettings {
    /// Follows OpenSSH's `read_passphrase`.
    fn method(&self) -> Method {
        let require = self.require.as_deref().unwrap_or_default().to_ascii_lowercase();
        match require.as_str() {
            "force" => Method::Program,
            "prefer" if self.has_display => Method::Program,
            "never" => Method::Terminal,
            _ if self.has_display => Method::TerminalThenProgram,
            _ => Method::Terminal,
        }
    }
}

/// Runs the program with the question as its argument, and reads the answer from its output. A non-zero exit status
/// dismisses the question.
async fn run(program: &Path, text: &str) -> Result<Secret, PromptError> {
    let mut command = Command::new(program);
    command.arg(text).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    without_secrets(&mut command);
    let _lock = terminal::lock().await;
    let output = command.output().await.map_err(|error| {
        tracing::warn!(program = %program.display(), %error, "cannot run the askpass program");
        PromptError::NoTerminal
    })?;
    let printed = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(PromptError::Dismissed);
    }
    let printed = std::str::from_utf8(&printed).map_err(|_| PromptError::Dismissed)?;
    let line = printed.split(['\r', '\n']).next().unwrap_or_default();
    Ok(Secret::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(require: &str, has_display: bool) -> AskpassSettings {
        let require = (!require.is_empty()).then(|| require.to_owned());
        AskpassSettings { program: None, require, has_display }
    }

    #[test]
    fn terminal_or_program_is_chosen_as_in_openssh() {
        assert_eq!(settings("", false).method(), Method::Terminal);
        assert_eq!(settings("", true).method(), Method::TerminalThenProgram);
        assert_eq!(settings("never", true).method(), Method::Terminal);
        assert_eq!(settings("prefer", true).method(), Method::Program);
        assert_eq!(settings("prefer", false).method(), Method::Terminal);
        assert_eq!(settings("Force", false).method(), Method::Program);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn questions_are_asked_one_at_a_time() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let (program, alone) = (folder.path().join("askpass"), folder.path().join("alone"));
        let alone = alone.display();
        let text = format!("#!/bin/sh\nmkdir {alone} || exit 1\nsleep 0.2\nrmdir {alone}\necho yes\n");
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let prompter = || {
            let settings = AskpassSettings { program: Some(program.clone()), ..settings("force", false) };
            Askpass::new(settings, |text| Cow::Borrowed(text))
        };
        let (one, other) = (prompter(), prompter());
        let question = Question::Password { user: "bob", host: "app", is_retry: false };
        let (first, second) = tokio::join!(one.ask(question), other.ask(question));
        assert_eq!((first.unwrap().reveal(), second.unwrap().reveal()), ("yes", "yes"));
    }

    #[test]
    fn text_of_a_server_is_escaped() {
        let prompter = Askpass::new(settings("", false), |text| Cow::Owned(text.replace('\x1b', "ESC")));
        let question = Question::Prompt {
            user: "bob",
            host: "app",
            instructions: "\x1b[2J",
            prompt: "\x1bCode: ",
            echo: true,
        };
        let text = "(bob@app)\nESC[2J\n(bob@app) ESCCode: ";
        assert_eq!(prompter.format(question), (text.to_owned(), Echo::Shown));
    }

    #[test]
    fn a_question_begins_with_our_words() {
        let prompter = Askpass::new(settings("", false), |text| Cow::Borrowed(text));
        for (instructions, text) in [
            ("", "(bob@app) Enter passphrase: "),
            (
                "Enter passphrase for key:\nnow",
                "(bob@app)\nEnter passphrase for key:\nnow\n(bob@app) Enter passphrase: ",
            ),
        ] {
            let prompt = "Enter passphrase: ";
            let question = Question::Prompt { user: "bob", host: "app", instructions, prompt, echo: false };
            assert_eq!(prompter.format(question).0, text);
        }
    }

    #[test]
    fn questions_are_formatted_as_in_openssh() {
        let prompter = Askpass::new(settings("", false), |text| Cow::Borrowed(text));
        let passphrase = Question::Passphrase { file: Path::new("/k/id"), is_retry: false };
        assert_eq!(prompter.format(passphrase).0, "Enter passphrase for key '/k/id': ");
        let password = Question::Password { user: "bob", host: "app", is_retry: false };
        assert_eq!(prompter.format(password).0, "bob@app's password: ");
    }
}
