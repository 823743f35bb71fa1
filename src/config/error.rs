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
    /// Another user can change the file, or own it: its settings run commands.
    #[error("the config file `{}` cannot be trusted: `{}` {why}", file.display(), place.display())]
    Untrusted {
        /// The file's path.
        file: PathBuf,
        /// The file or the folder that another user can change.
        place: PathBuf,
        /// How.
        why: Distrust,
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
    #[error("`{name}` in the environment {source}{}", shown(source))]
    Variable {
        /// The variable's name.
        name: &'static str,
        /// What the value must be.
        source: ValueError,
    },
}

impl ConfigError {
    /// Returns true if the file that was named does not exist.
    pub(super) fn is_missing_file(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// Why a file or a folder is not trusted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Distrust {
    /// Its group or others can write it.
    #[error("can be written by other users")]
    Writable,
    /// It belongs to the user of this id, who is neither root nor the user that runs fumidai.
    #[error("belongs to another user, with id {0}")]
    Owner(u32),
}

/// Returns the value, if it is not a secret: that of a region.
fn shown(error: &ValueError) -> String {
    if let ValueError::NotARegion(value) = error { format!(", not `{value}`") } else { String::new() }
}
