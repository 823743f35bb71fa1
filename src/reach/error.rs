//! Why a route could not be carried out. Words, hints and exit codes are `cli::report`'s.

use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

use crate::aws::{ApiError, Aws, Filter, Instance, Meaning, Place};
use crate::bastion::StartError;
use crate::jump::JumpError;
use crate::jump::openssh::OpenSshError;
use crate::keys::KeyError;
use crate::names::ecs::EcsError;
use crate::names::lookup::LookupError;
use crate::names::{Destination, ResolveError, Target, TargetKind};
use crate::session::SessionError;

use super::host_keys_error::HostKeysError;

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
    #[error("`{}` is stopped ({} in {})", .0.destination, .0.target.id(), .0.region)]
    Stopped(Box<StoppedTarget>),
    /// The task of the host does not run.
    #[error("`{host}` does not run: it has no task")]
    NoTask {
        /// The host.
        host: String,
    },
    /// `require_reason` is set, and there is no reason.
    #[error("a reason is required, and none is given")]
    NoReason,
    /// The machine could not be started, or a group not be lent.
    #[error(transparent)]
    Start(#[from] StartError),
    /// `ssh -G` failed: correct the ssh_config.
    #[error(transparent)]
    HopSettings(#[from] OpenSshError),
    /// The source of host keys has none for the machine.
    #[error(transparent)]
    HostKeys(#[from] HostKeysError),
    /// The session failed.
    #[error("{error}")]
    Session {
        /// The cause.
        error: SessionError,
        /// The far end of the session.
        to: Box<SessionEnd>,
    },
    /// Standard input or output failed.
    #[error("{what}: {error}")]
    Stdio {
        /// Which of them.
        what: &'static str,
        /// The system's error.
        error: std::io::Error,
    },
    /// A hop failed.
    #[error(transparent)]
    Hop(#[from] JumpError),
    /// A key could not be made, kept or pushed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A target that EC2 reports as stopped or stopping.
#[derive(Clone, Debug)]
pub struct StoppedTarget {
    /// The entry as it was named.
    pub destination: Destination,
    /// The instance.
    pub target: Target,
    /// Its region.
    pub region: String,
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
    /// What `explain` takes for this route.
    pub subject: String,
    /// The target of the session, also if the machine is behind it.
    pub entry: Option<Target>,
    /// Where the target was looked for, if it is not connected.
    pub place: Option<Place>,
    /// EC2 reports the target as stopped or stopping, and it is not connected.
    pub is_stopped: bool,
}

impl SessionEnd {
    /// Makes the error of a session to this end.
    pub fn error(self, error: SessionError) -> ReachError {
        ReachError::Session { error, to: Box::new(self) }
    }
}

/// The state of an instance is not worth a longer wait.
const STATE_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks EC2 whether an instance is stopped; what it does not answer in time is false.
async fn is_stopped(aws: &Aws, target: Option<&Target>) -> bool {
    let Some(target) = target.filter(|target| target.kind() == TargetKind::Instance) else { return false };
    let ask = async {
        let access = aws.access().await?;
        access.describe_instances(&[Filter::new("instance-id", target.id())]).await
    };
    let found = timeout(STATE_TIMEOUT, ask).await;
    let state = |found: Vec<Instance>| found.into_iter().next().map(|instance| instance.state);
    let state = found.ok().and_then(Result::ok).and_then(state);
    matches!(state.as_deref(), Some("stopped" | "stopping"))
}

impl ReachError {
    /// Adds where the target was looked for and whether it is stopped, if it is not connected.
    pub async fn locate(&mut self, aws: &Aws) {
        if let Self::Session { error: SessionError::Api(error), to } = self
            && error.meaning() == Meaning::TargetNotConnected
        {
            let (place, is_stopped) = tokio::join!(aws.place(), is_stopped(aws, to.entry.as_ref()));
            to.place = Some(place);
            to.is_stopped = is_stopped;
        }
    }

    /// Returns true if the name of the target is wrong, or the AWS settings are: only the user can correct that.
    pub fn is_wrong_name(&self) -> bool {
        match self {
            Self::Lookup { error, .. } => match error {
                LookupError::Resolve { error, .. } => {
                    matches!(error, ResolveError::NotFound { .. } | ResolveError::Ambiguous { .. })
                }
                LookupError::Ecs(error) => matches!(
                    error,
                    EcsError::NoSuchTask { .. }
                        | EcsError::NoSuchContainer { .. }
                        | EcsError::WhichContainer { .. }
                ),
                LookupError::Api(error) => {
                    error.has_code("ClusterNotFoundException") || error.has_code("ServiceNotFoundException")
                }
                LookupError::Denied { .. } => false,
            },
            Self::Aws(error) => error.meaning() == Meaning::Settings,
            Self::LookupTimedOut { .. }
            | Self::Stopped(_)
            | Self::NoTask { .. }
            | Self::NoReason
            | Self::Start(_)
            | Self::HopSettings(_)
            | Self::HostKeys(_)
            | Self::Session { .. }
            | Self::Stdio { .. }
            | Self::Hop(_)
            | Self::Key(_) => false,
        }
    }

    /// Returns true if the machine is stopped, or its agent is not connected: starting it may help.
    pub fn is_down(&self) -> bool {
        match self {
            Self::Stopped(_) | Self::NoTask { .. } => true,
            Self::Session { error: SessionError::Api(error), .. } => {
                error.meaning() == Meaning::TargetNotConnected
            }
            Self::Aws(_)
            | Self::Lookup { .. }
            | Self::LookupTimedOut { .. }
            | Self::NoReason
            | Self::HopSettings(_)
            | Self::HostKeys(_)
            | Self::Session { .. }
            | Self::Stdio { .. }
            | Self::Start(_)
            | Self::Hop(_)
            | Self::Key(_) => false,
        }
    }

    /// Returns true if the caller may not start the session.
    pub fn is_denied_start(&self) -> bool {
        let Self::Session { error: SessionError::Api(error), .. } = self else { return false };
        error.is_of("StartSession") && error.meaning() == Meaning::AccessDenied
    }

    /// Returns true if the last hop refused to connect to the destination.
    pub fn is_refused_by_hop(&self) -> bool {
        matches!(self, Self::Hop(JumpError::ChannelRefused { .. }))
    }

    /// Returns true if the remote port refused or cannot be reached.
    pub fn is_remote_port(&self) -> bool {
        matches!(self, Self::Session { error: SessionError::RemotePort(_), .. })
    }

    /// Returns true if no later session with the same route can succeed either.
    pub fn is_permanent(&self) -> bool {
        let Self::Session { error, .. } = self else { return false };
        if let SessionError::Approval(error) = error {
            return error.is_final();
        }
        matches!(error, SessionError::Refused(_) | SessionError::NotAPort | SessionError::Host(_))
    }

    /// Returns true if a later attempt may succeed: the target is restarting, or the service or the network fails.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Stopped(_) | Self::NoTask { .. } => true,
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
            | Self::NoReason
            | Self::Start(_)
            | Self::Aws(_)
            | Self::LookupTimedOut { .. }
            | Self::HopSettings(_)
            | Self::HostKeys(_)
            | Self::Session { .. }
            | Self::Stdio { .. }
            | Self::Hop(_)
            | Self::Key(_) => false,
        }
    }
}
