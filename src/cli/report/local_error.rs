//! Failures of a command on this machine: standard streams, processes, files of the system.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::audit::StoreError;

/// Why a command failed on this machine.
#[derive(Debug, Error)]
pub enum LocalError {
    /// The tokio runtime cannot be created.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// The process has too few descriptors: allow more open files.
    #[error("cannot start: {0}")]
    Descriptors(io::Error),
    /// The process cannot listen to signals.
    #[error("cannot install signal handlers: {0}")]
    Signals(io::Error),
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
    /// The audit record cannot be read.
    #[error("the audit record cannot be read: {0}")]
    Record(StoreError),
    /// No session has that id, or it has ended.
    #[error("no open session `{id}` in {region}")]
    NoSession {
        /// The id.
        id: String,
        /// The region.
        region: String,
    },
    /// There is no folder for the audit record.
    #[error("there is no folder for the audit record")]
    NoState,
    /// The page of `audit report` cannot be written.
    #[error("cannot write `{}`: {source}", file.display())]
    Page {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The config file cannot be written.
    #[error("cannot write the config file `{}`: {source}", file.display())]
    ConfigWrite {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The user's home folder is unknown.
    #[error("there is no home folder to install into")]
    NoHome,
    /// The config file is named by `--config`, and an ssh_config cannot hold its path.
    #[error("an ssh_config cannot hold the path `{}`", file.display())]
    ConfigPath {
        /// The config file.
        file: PathBuf,
    },
    /// ssh needs the path of this program, which is unknown or cannot be written to an ssh_config.
    #[error("cannot find the path of this program: {0}")]
    OwnPath(io::Error),
}
