//! The setting `access_request`: whether access to a node is requested, or which request is gone on with.

use std::fmt;

/// Whether access is requested when StartSession is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessRequest {
    /// It is not.
    Off,
    /// A request is filed.
    New,
    /// The request of this id was filed before.
    Known(String),
}

impl AccessRequest {
    /// Reads the id of a request (SSM API reference, StartAccessRequest).
    pub fn of_id(word: &str) -> Option<Self> {
        let digits = word.strip_prefix("oi-")?;
        let is_id = digits.len() == 12 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_id.then(|| Self::Known(word.to_owned()))
    }
}

impl fmt::Display for AccessRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "false",
            Self::New => "true",
            Self::Known(id) => id,
        })
    }
}
