//! Why a key could not be made, kept or pushed. Words and hints are `cli::report`'s.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::aws::ApiError;
use crate::jump::{KeyProblem, LoginFailure};
use crate::names::lookup::LookupError;

/// The step that failed, with its cause.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The AWS settings or credentials cannot be used.
    #[error(transparent)]
    Aws(#[from] ApiError),
    /// The instance with that address or name was not found.
    #[error("{error}")]
    Lookup {
        /// The cause.
        error: LookupError,
        /// The region that was asked.
        region: String,
    },
    /// EC2 Instance Connect did not take the key.
    #[error("cannot push a key to `{user}` on {instance}: {error}")]
    Push {
        /// The cause.
        error: Box<ApiError>,
        /// The machine, as the user names it.
        machine: String,
        /// The user on the instance.
        user: String,
        /// The instance.
        instance: String,
    },
    /// The user to log in as was not named: write `USER@`.
    #[error("cannot push a key to `{machine}`: no user is named")]
    NoUser {
        /// The machine, as the user names it.
        machine: String,
    },
    /// Only EC2 instances take pushed keys.
    #[error("cannot push a key to `{machine}`: {id} is not an EC2 instance")]
    NotAnInstance {
        /// The machine, as the user names it.
        machine: String,
        /// What it is.
        id: String,
    },
    /// There is no agent, and no file was named: ssh could not find the private key.
    #[error("no ssh-agent and no `--key-file` for the ephemeral key of `{machine}`")]
    NoKeeper {
        /// The machine, as the user names it.
        machine: String,
    },
    /// The agent does not take the key.
    #[error("{0}")]
    Agent(KeyProblem),
    /// The key file cannot be read or written.
    #[error("key file `{}`: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The key cannot be made.
    #[error("cannot make a key: {0}")]
    Generate(io::Error),
    /// The user has no key that EC2 Instance Connect takes.
    #[error("no ed25519 or RSA key of yours was found to push to `{machine}`")]
    NoOwnKey {
        /// The machine, as the user names it.
        machine: String,
        /// The keys that cannot be used.
        problems: Vec<KeyProblem>,
    },
    /// A hop refused the login although the key was pushed.
    #[error("the key was pushed, but {failure}")]
    LoginRefused {
        /// The login.
        failure: Box<LoginFailure>,
    },
}
