//! Why a session was lost, and why the far side ended one early: the causes inside `SessionError`.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use thiserror::Error;

/// Why a lost session cannot be resumed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LossCause {
    /// The resume window is over: check the network.
    #[error("not resumed within {} s: {last}", window.as_secs())]
    NotResumed {
        /// The resume window.
        window: Duration,
        /// The last failure.
        last: String,
    },
    /// ResumeSession returned no token: the service has ended the session.
    #[error("it has ended meanwhile")]
    Ended,
    /// A message of the agent is missing, so later ones cannot be delivered.
    #[error("message {missing} of the agent did not arrive for 120 s")]
    Gap {
        /// The sequence number of the missing message.
        missing: i64,
    },
    /// The agent acknowledges nothing, also on a new link.
    #[error("the agent has acknowledged nothing for {} s", .0.as_secs())]
    Unacknowledged(Duration),
    /// Each link was lost when a message of this size was sent.
    #[error("every connection is lost at a message of {0} bytes")]
    MessageSize(usize),
    /// The failure of the link or of ResumeSession.
    #[error("{0}")]
    Link(String),
}

/// Since when a session was lost, and what was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossHistory {
    /// When the link was lost.
    pub since: SystemTime,
    /// How long ago that was when the session was given up.
    pub lasted: Duration,
    /// The attempts to resume it that failed.
    pub attempts: u32,
}

impl fmt::Display for LossHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let since = DateTime::from_secs(since.try_into().unwrap_or_default());
        let since = since.fmt(Format::DateTime).unwrap_or_default();
        let (lasted, attempts) = (self.lasted.as_secs(), self.attempts);
        write!(f, "the connection was lost at {since}; attempts to resume it in {lasted} s: {attempts}")
    }
}

/// Why the far side ended a session early.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EarlyEnd {
    /// The service or the agent sent a reason: untrusted text.
    #[error("{0}")]
    Message(String),
    /// The handshake was not complete.
    #[error("it was closed before data could flow")]
    BeforeData,
    /// A message that was sent before the end did not arrive.
    #[error("it was closed while received data was still incomplete")]
    Incomplete,
    /// Connections of a forward were open.
    #[error("it was closed with connections open")]
    OpenConnections,
    /// A large message was unacknowledged.
    #[error("it was closed in the middle of a transfer")]
    MidTransfer,
}
