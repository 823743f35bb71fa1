//! Failures of a command on this machine: standard streams, processes, files of the system.

use std::io;

use thiserror::Error;

/// Why a command failed on this machine.
#[derive(Debug, Error)]
pub enum LocalError {
    /// The tokio runtime cannot be created.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// The process cannot listen to signals.
    #[error("cannot install signal handlers: {0}")]
    Signals(io::Error),
    /// Standard input or output cannot be opened.
    #[error("standard input or output: {0}")]
    Stdio(io::Error),
    /// Standard input cannot be read.
    #[error("standard input: {0}")]
    Stdin(io::Error),
    /// Standard output cannot be written.
    #[error("standard output: {0}")]
    Stdout(io::Error),
    /// The descriptor of `--ready-fd` cannot be used: it must be open for writing.
    #[error("`--ready-fd {fd}`: {source}")]
    ReadyFd {
        /// The descriptor.
        fd: i32,
        /// The system's error.
        source: io::Error,
    },
    /// The command of `--exec` cannot be run.
    #[error("cannot run `{command}`: {source}")]
    Exec {
        /// The command.
        command: String,
        /// The system's error.
        source: io::Error,
    },
    /// The user's home folder is unknown.
    #[error("there is no home folder to install into")]
    NoHome,
    /// ssh needs the path of this program, which is unknown or cannot be written to an ssh_config.
    #[error("cannot find the path of this program: {0}")]
    OwnPath(io::Error),
}
