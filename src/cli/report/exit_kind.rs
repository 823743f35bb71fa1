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
    /// Ended by the signal of that number.
    Signal(u8),
}

impl ExitKind {
    /// Nobody reads our output any more: what SIGPIPE would have made of it, in silence.
    pub const READER_GONE: Self = Self::Signal(13);

    /// Returns the code that the process exits with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::Credentials => 10,
            Self::AccessDenied => 11,
            Self::NotFound => 12,
            Self::Ambiguous => 13,
            Self::NotConnected => 14,
            Self::RemotePort => 15,
            Self::TimedOut => 16,
            Self::Lost => 17,
            Self::EndedByFarSide => 18,
            Self::SshAuth => 19,
            Self::Encryption => 20,
            Self::Signal(number) => 128_u8.saturating_add(number),
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
            (Signal(1), 129),
            (Signal(15), 143),
        ] {
            assert_eq!(kind.code(), code);
        }
    }
}
