//! Why a source has no host keys.

use thiserror::Error;

use crate::aws::ApiError;
use crate::names::TargetError;

/// The cause. Only the user can correct it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HostKeysError {
    /// The source is the session, and the machine is behind a hop: use another source.
    #[error(
        "`host_keys = \"session\"` cannot be used for `{host}`: it is behind hop `{hop}`, and a path through a hop does not prove which machine answers"
    )]
    BehindHop {
        /// The machine, as the user names it.
        host: String,
        /// The hop before it.
        hop: String,
    },
    /// The source is the console, and the target is not an instance of EC2: use another source.
    #[error("`host_keys = \"console\"` cannot be used for `{host}`: it is not an EC2 instance")]
    NotAnInstance {
        /// The machine, as the user names it.
        host: String,
    },
    /// EC2 has no output yet, or no longer: wait, or use another source.
    #[error("EC2 has no console output of {id}")]
    NoConsole {
        /// The instance.
        id: String,
    },
    /// The output has no host keys: use another source.
    #[error("the console output of {id} has no host keys")]
    NoKeysOnConsole {
        /// The instance.
        id: String,
    },
    /// There is no such parameter: correct the name.
    #[error("no parameter `{name}` in {region}")]
    NoParameter {
        /// Its name.
        name: String,
        /// The region that was asked.
        region: String,
    },
    /// The value of the parameter has no public keys: correct it.
    #[error("parameter `{name}` has no host keys")]
    NoKeysInParameter {
        /// Its name.
        name: String,
    },
    /// AWS did not answer for the source.
    #[error("{error}")]
    Call {
        /// The cause.
        error: Box<ApiError>,
        /// The machine, as the user names it.
        host: String,
        /// The permission that the call needs.
        action: &'static str,
    },
    /// The target of a machine behind a hop is not valid.
    #[error(transparent)]
    Target(TargetError),
}
