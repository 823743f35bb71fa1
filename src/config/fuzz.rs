//! Any bytes as a config file.

use std::path::Path;

use super::parse::parse;

/// A fault has a line of the file.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(fault) = parse(text) {
        let error = fault.at(Path::new("config.toml"), text);
        assert!(!error.to_string().is_empty());
    }
}
