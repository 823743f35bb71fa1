//! THE DRIVER: everything that blocks, waits or draws a random number for a session is here.
//!
//! [`open()`] starts a session that hands out byte streams, and leaves nothing behind: from the answer of StartSession on,
//! every way out ends the session at the service. The loop is in `driver`, which owns the channel and the `link`; the link
//! decides by values without I/O (`liveness`, `outage`, `ending`). The service is reached through the traits of `service`,
//! this side through `end`: the tests have their own of each. `relay` joins a stream to a local end.

mod attempt;
mod clock;
mod driver;
mod end;
mod end_reason;
mod ending;
mod fact;
#[cfg(unix)]
mod ignored;
mod leave;
mod link;
mod link_error;
mod liveness;
mod open;
mod outage;
mod path_cache;
mod pause;
mod random;
mod relay;
mod resume_rate;
mod service;
mod signals;
mod start;
mod stdio;
mod streams;
mod wakes;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::aws::{ApiError, ApprovalError, ApprovalEvent};
use crate::channel::{self, Refusal};
use crate::mux::HeaderError;
use crate::transport::{DialError, HostError};

pub use self::end_reason::{EarlyEnd, LossCause, LossHistory};
pub use self::fact::{Amounts, Fact};
pub(crate) use self::open::{Ran, Session, open, run};
pub(crate) use self::relay::{FAREWELL, LocalStream, Peer, RelayEnd, RelayPolicy, Way, close, relay};
pub use self::signals::Interrupt;
pub(crate) use self::signals::Interrupts;
pub(crate) use self::stdio::Stdio;
pub(crate) use self::streams::{
    Handle, Released, Request, SessionStatus, Stream, StreamError, StreamOptions, Streams,
};

/// How a session is opened and kept.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// When the run began: a name may have been looked up before the session is started.
    pub began: Instant,
    /// From there until data can flow.
    pub connect_timeout: Duration,
    /// How long a lost link is tried to be resumed; zero is not at all.
    pub resume_window: Duration,
    /// Between two pings.
    pub keepalive: Duration,
    /// How long the peer may be silent once our input has ended and is acknowledged.
    pub linger: Duration,
    /// Cap on a message's payload, in bytes.
    pub max_payload: Option<usize>,
    /// Where path knowledge is kept.
    pub cache_dir: Option<PathBuf>,
    /// The session is for a host behind the agent.
    pub for_remote_host: bool,
    /// Access is requested if StartSession is denied; `None` is not.
    pub access_request: Option<AccessRequest>,
}

/// How access is requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRequest {
    /// The id of a request that was filed before.
    pub known: Option<String>,
    /// How long the approval is waited for.
    pub patience: Duration,
}

/// How a session ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The peer closed it, or both directions have ended.
    Done,
    /// The user of the session does not want it any more.
    Left,
}

/// The step of the start-up that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Credentials and StartSession.
    Start,
    /// Opening the websocket.
    Open,
    /// The agent's first message.
    HandshakeRequest,
    /// The agent's message that completes the handshake.
    HandshakeComplete,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "StartSession",
            Self::Open => "opening the websocket",
            Self::HandshakeRequest => "waiting for the agent's first message",
            Self::HandshakeComplete => "waiting for the agent to complete the handshake",
        })
    }
}

/// Why a session failed.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The control plane refused the call, or cannot be reached.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Access was requested, and there is none.
    #[error(transparent)]
    Approval(Box<ApprovalError>),
    /// The service gave a stream URL that must not be dialled.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The websocket could not be opened, and another attempt cannot succeed.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A step of the start-up took too long.
    #[error("timed out after {} s in step `{step}`{}", after.as_secs(), last.as_ref().map(|last| format!(" (last: {last})")).unwrap_or_default())]
    TimedOut {
        /// Which.
        step: Step,
        /// How long it took.
        after: Duration,
        /// What went wrong last, if anything did.
        last: Option<String>,
    },
    /// The session was lost and cannot be resumed.
    #[error("session lost: {cause}{}", told(history.as_ref()))]
    Lost {
        /// Why it cannot be resumed.
        cause: LossCause,
        /// The message size that may be to blame.
        suspected_size: Option<usize>,
        /// Why there were no usable credentials to resume it with.
        credentials: Option<Box<ApiError>>,
        /// Since when, and what was tried; `None` if it was lost without an outage.
        history: Option<LossHistory>,
    },
    /// The port on the far side refused, or cannot be reached.
    #[error("{0}")]
    RemotePort(String),
    /// The far side ended the session before its time.
    #[error("the session was ended by the far side: {reason}")]
    Ended {
        /// The reason.
        reason: EarlyEnd,
        /// The message size that may be to blame.
        suspected_size: Option<usize>,
    },
    /// We refused what the agent asked for in the handshake.
    #[error("{0}")]
    Refused(Refusal),
    /// The agent sends something other than smux in a multiplexed session.
    #[error("the agent's multiplexing is not understood: {0}")]
    Mux(HeaderError),
    /// The session's document opens a shell.
    #[error("the session document opens a shell, not a port")]
    NotAPort,
    /// A bug of ours; the session has been ended.
    #[error("internal error: {0}")]
    Panic(String),
}

impl From<channel::ChannelError> for SessionError {
    fn from(failure: channel::ChannelError) -> Self {
        let timed_out = |step| Self::TimedOut { step, after: channel::HANDSHAKE_TIMEOUT, last: None };
        match failure {
            channel::ChannelError::HandshakeRequestTimeout => timed_out(Step::HandshakeRequest),
            channel::ChannelError::HandshakeCompleteTimeout => timed_out(Step::HandshakeComplete),
            channel::ChannelError::Refused(refusal) => Self::Refused(refusal),
            channel::ChannelError::NotAPort => Self::NotAPort,
            channel::ChannelError::Gap { missing } => Self::lost(LossCause::Gap { missing }),
        }
    }
}

impl From<ApprovalError> for SessionError {
    fn from(error: ApprovalError) -> Self {
        if let ApprovalError::Own(error) = error { Self::Api(error) } else { Self::Approval(Box::new(error)) }
    }
}

impl SessionError {
    /// The session was lost, and a message's size is not to blame.
    fn lost(cause: LossCause) -> Self {
        Self::Lost { cause, suspected_size: None, credentials: None, history: None }
    }
}

fn told(history: Option<&LossHistory>) -> String {
    history.map(|history| format!("; {history}")).unwrap_or_default()
}

/// An event of a session: for the user, or for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The administrator's message for all users who connect, untrusted.
    CustomerMessage(String),
    /// The port does not answer.
    FirstInputUnanswered,
    /// The link cannot be opened yet; it is tried again.
    Retrying(String),
    /// The link has been lost for some seconds; it is being resumed.
    Interrupted(String),
    /// The link is lost, and the credentials to resume it with have ended.
    CredentialsEnded {
        /// Why they cannot be used.
        error: ApiError,
        /// How long it is still tried.
        left: Duration,
    },
    /// The link is back, after so long; nothing was lost.
    Resumed(Duration),
    /// An event of the access request for the session.
    Approval(ApprovalEvent),
    /// The session is about to end; this was learned about its path.
    Measured(Measured),
    /// A key was pushed, and the server seems to have refused the login of ssh.
    LoginRefused {
        /// The machine, as the user names it.
        machine: String,
        /// The user that the key was pushed to.
        user: String,
    },
    /// A fact for a record.
    Recorded(Fact),
}

/// What a session has learned about its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The smoothed time until the agent has acknowledged a message.
    pub round_trip: Duration,
    /// The size in bytes of the largest message that passes, as far as it was tried.
    pub message_size: usize,
}

/// A shorter loss of the link is not noticed by a user, and is not reported as [`Notice::Interrupted`].
pub const SHORT_PAUSE: Duration = Duration::from_secs(3);

/// Called with each notice.
pub type OnNotice = Rc<dyn Fn(&Notice)>;

#[cfg(test)]
mod tests;
