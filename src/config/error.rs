//! Why the configuration cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::value::ValueError;

/// Why the configuration cannot be used; the user can correct each cause.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file exists, or was named, and cannot be read: check its name and permissions.
    #[error("cannot read the config file `{}`: {source}", file.display())]
    Unreadable {
        /// The file's path.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file has an unknown key or a value that is not valid: correct that line.
    #[error("{}:{line}:{column}: {message}", file.display())]
    Invalid {
        /// The file's path.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong there, with the key and the value.
        message: String,
    },
    /// A variable's value is not valid: correct or unset it.
    #[error("`{name}` in the environment {source}")]
    Variable {
        /// The variable's name.
        name: &'static str,
        /// What the value must be.
        source: ValueError,
    },
}
