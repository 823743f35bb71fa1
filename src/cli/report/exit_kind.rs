//! How a run ended, as scripts see it: the exit codes of the contract.

use std::process::ExitCode;

/// How a run ended, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// Done.
    Done,
    /// An unexpected failure, or an AWS error that has no code here.
    Failure,
    /// The command line, or a variable that stands for a part of it.
    Usage,
    /// The config file, or a setting that is nowhere.
    Configuration,
    /// No usable credentials, or expired ones.
    Credentials,
    /// Denied by IAM, an SCP or a session policy.
    AccessDenied,
    /// No such target.
    NotFound,
    /// More than one such target.
    Ambiguous,
    /// The target is stopped or its agent is not connected.
    NotConnected,
    /// The remote port refused or could not be reached.
    RemotePort,
    /// A step took too long; the message says which.
    TimedOut,
    /// The session was cut and could not be resumed in the window.
    Lost,
    /// The far side ended the session before its time.
    EndedByFarSide,
    /// ssh authentication or a host key, on a built-in hop.
    SshAuth,
    /// Session encryption (KMS).
    Encryption,
    /// A machine could not be started.
    NotStarted,
    /// Ended by the signal of that number.
    Signal(u8),
}

impl ExitKind {
    /// Standard output has no reader any more: the code of SIGPIPE.
    pub const READER_GONE: Self = Self::Signal(13);

    /// Every kind but [`Self::Signal`], in the order of the codes. Manual and docs are made from it or tested against it.
    pub const ALL: [Self; 16] = [
        Self::Done,
        Self::Failure,
        Self::Usage,
        Self::Configuration,
        Self::Credentials,
        Self::AccessDenied,
        Self::NotFound,
        Self::Ambiguous,
        Self::NotConnected,
        Self::RemotePort,
        Self::TimedOut,
        Self::Lost,
        Self::EndedByFarSide,
        Self::SshAuth,
        Self::Encryption,
        Self::NotStarted,
    ];

    /// Returns the code that the process exits with.
    pub fn code(self) -> u8 {
        self.row().0
    }

    /// Returns what the code means, in a few words.
    pub fn meaning(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (u8, &'static str) {
        match self {
            Self::Done => (0, "done"),
            Self::Failure => (1, "unexpected failure, or an AWS error that has no code here"),
            Self::Usage => (2, "usage"),
            Self::Configuration => (3, "configuration"),
            Self::Credentials => (10, "no usable credentials, or expired ones"),
            Self::AccessDenied => (11, "access denied (IAM, SCP, session policy)"),
            Self::NotFound => (12, "target not found"),
            Self::Ambiguous => (13, "target ambiguous"),
            Self::NotConnected => (14, "target not connected"),
            Self::RemotePort => (15, "the remote port refused or could not be reached"),
            Self::TimedOut => (16, "timed out (the message names the step)"),
            Self::Lost => (17, "session lost and not resumable in the window"),
            Self::EndedByFarSide => (18, "ended by the far side before its time"),
            Self::SshAuth => (19, "ssh authentication or host key (built-in hops)"),
            Self::Encryption => (20, "session encryption (KMS) failed"),
            Self::NotStarted => (21, "could not be started (the message names how far it got)"),
            Self::Signal(number) => (128_u8.saturating_add(number), "ended by a signal"),
        }
    }
}

impl From<ExitKind> for ExitCode {
    fn from(kind: ExitKind) -> Self {
        Self::from(kind.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_about_errors_has_each_code_with_the_words_that_programs_get() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");
        let page = std::fs::read_to_string(page).expect("the page");
        let table =
            page.split("\n## ").find_map(|part| part.strip_prefix("Exit codes\n")).expect("the table");
        let rows =
            table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
        let rows: Vec<(&str, &str)> =
            rows.skip(1).map(|(code, text)| (code, text.split(':').next().unwrap_or(text))).collect();
        let kinds = ExitKind::ALL.map(|kind| (kind.code().to_string(), kind.meaning()));
        let signal = ("128 + n".to_owned(), ExitKind::Signal(1).meaning());
        let kinds: Vec<_> = kinds.into_iter().chain([signal]).collect();
        assert_eq!(rows, kinds.iter().map(|(code, text)| (code.as_str(), *text)).collect::<Vec<_>>());
    }

    #[test]
    fn every_exit_has_the_code_of_the_table() {
        use ExitKind::*;
        for (kind, code) in [
            (Done, 0),
            (Failure, 1),
            (Usage, 2),
            (Configuration, 3),
            (Credentials, 10),
            (AccessDenied, 11),
            (NotFound, 12),
            (Ambiguous, 13),
            (NotConnected, 14),
            (RemotePort, 15),
            (TimedOut, 16),
            (Lost, 17),
            (EndedByFarSide, 18),
            (SshAuth, 19),
            (Encryption, 20),
            (NotStarted, 21),
            (Signal(1), 129),
            (Signal(15), 143),
        ] {
            assert_eq!(kind.code(), code);
        }
    }
}
