//! Why a route could not be carried out. Words, hints and exit codes are `cli::report`'s.

use std::time::Duration;

use thiserror::Error;

use crate::aws::{ApiError, Meaning};
use crate::channel::Refusal;
use crate::jump::JumpError;
use crate::jump::openssh::OpenSshError;
use crate::names::ecs::EcsError;
use crate::names::lookup::LookupError;
use crate::names::{Destination, ResolveError, Target};
use crate::session::SessionError;

/// The step that failed, with its cause.
#[derive(Debug, Error)]
pub enum ReachError {
    /// The AWS settings or credentials cannot be used.
    #[error(transparent)]
    Aws(#[from] ApiError),
    /// The entry's name could not be resolved in this region.
    #[error("{error}")]
    Lookup {
        /// The cause.
        error: LookupError,
        /// The region that was asked.
        region: String,
    },
    /// The name was not resolved in time.
    #[error("timed out after {} s in step `looking up the name`", after.as_secs())]
    LookupTimedOut {
        /// `connect_timeout`.
        after: Duration,
    },
    /// EC2 reports the target as stopped or stopping.
    #[error("`{destination}` is stopped ({} in {region})", target.id())]
    Stopped {
        /// The entry as it was named.
        destination: Box<Destination>,
        /// The instance.
        target: Target,
        /// Its region.
        region: String,
    },
    /// `ssh -G` failed: correct the ssh_config.
    #[error(transparent)]
    HopSettings(#[from] OpenSshError),
    /// The session failed.
    #[error("{error}")]
    Session {
        /// The cause.
        error: SessionError,
        /// The far end of the session.
        to: Box<SessionEnd>,
    },
    /// A hop failed.
    #[error(transparent)]
    Hop(#[from] JumpError),
}

/// The machine and port that a session connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// The target of the session, if it is known.
    pub target: Option<Target>,
    /// The machine, as the user names it.
    pub machine: String,
    /// The port there.
    pub port: u16,
    /// The hop whose agent connects to the machine.
    pub through: Option<String>,
    /// The session carries the connections of a forward.
    pub is_forward: bool,
}

impl ReachError {
    /// Returns true if the first hop's sshd may succeed where its agent could not or was not allowed to connect.
    pub(super) fn asks_for_sshd(&self) -> bool {
        let Self::Session { error, .. } = self else { return false };
        if let SessionError::Api(error) = error {
            let unknown = ["InvalidDocument", "BadRequest", "BadRequestException"];
            return error.meaning() == Meaning::AccessDenied
                || unknown.iter().any(|code| error.has_code(code));
        }
        matches!(error, SessionError::Refused(Refusal::IgnoresHost(_)))
    }

    /// Returns true if the remote port refused or cannot be reached.
    pub fn is_remote_port(&self) -> bool {
        matches!(self, Self::Session { error: SessionError::RemotePort(_), .. })
    }

    /// Returns true if no later session with the same route can succeed either.
    pub fn is_permanent(&self) -> bool {
        let Self::Session { error, .. } = self else { return false };
        matches!(error, SessionError::Refused(_) | SessionError::NotAPort | SessionError::Host(_))
    }

    /// Returns true if a later attempt may succeed: the target is restarting, or the service or the network fails.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Stopped { .. } => true,
            Self::Lookup { error: LookupError::Resolve { error, .. }, .. } => {
                matches!(error, ResolveError::NotFound { .. })
            }
            Self::Lookup { error: LookupError::Ecs(error), .. } => {
                !matches!(error, EcsError::WhichContainer { .. })
            }
            Self::Session { error: SessionError::Api(error), .. } => {
                matches!(error.meaning(), Meaning::TargetNotConnected | Meaning::Transient)
            }
            Self::Lookup { .. }
            | Self::Aws(_)
            | Self::LookupTimedOut { .. }
            | Self::HopSettings(_)
            | Self::Session { .. }
            | Self::Hop(_) => false,
        }
    }
}
