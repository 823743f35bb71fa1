//! What a running forward answers about itself: one JSON object, the keys of docs/json.md.

use serde::{Deserialize, Serialize};

/// The answer of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The forwards of the config file that it serves; none if it was given a target.
    pub names: Vec<String>,
    /// The supervisor that keeps it.
    pub supervisor: Option<String>,
    /// The process.
    pub pid: u32,
    /// The version of the program.
    pub version: String,
    /// When it began to listen, in seconds of Unix time.
    pub since: u64,
    /// Where it listens.
    pub listeners: Vec<ListeningOn>,
    /// Sessions that are open at the service.
    pub sessions: usize,
    /// The connections of local clients.
    pub connections: Connections,
    /// What passed through them.
    pub bytes: Bytes,
    /// The last failure that a client noticed.
    pub last_error: Option<LastError>,
}

/// One listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListeningOn {
    /// Its address or path.
    pub local: String,
    /// The destination.
    pub remote: String,
    /// The target.
    pub target: String,
}

/// The connections of local clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Those that are open.
    pub open: usize,
    /// All since the start.
    pub total: u64,
}

/// What passed through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// Sent by local clients.
    pub sent: u64,
    /// Received by them.
    pub received: u64,
}

/// A failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The cause, as `forward` reports it.
    pub cause: String,
    /// The exit code that belongs to it.
    pub exit: u8,
    /// When it happened, in seconds of Unix time.
    pub at: Option<u64>,
}
