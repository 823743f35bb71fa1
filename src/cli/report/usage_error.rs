//! Arguments that contradict each other or the config file.

use thiserror::Error;

/// Why a command cannot be run as it was typed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UsageError {
    /// `ssh-config` would lead each host through the same hops.
    #[error("`--via` cannot be written for every host")]
    ViaForEveryHost,
    /// `ssh-config` would copy a password to a file that others may read.
    #[error("a password of `--endpoint-url` must not be in an ssh_config")]
    PasswordForEveryHost,
    /// `explain` of a forward needs no port.
    #[error("forward `{name}` has a port of its own")]
    PortOfForward {
        /// The forward.
        name: String,
    },
}
