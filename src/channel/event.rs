//! What goes into a channel and what comes out of it, apart from frames.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use super::discovery::{LARGEST_PAYLOAD, PathKnowledge};
use super::frame::FrameError;
use super::handshake::{Mode, Refusal};
use super::pacer::Pace;
use super::version::AgentVersion;

/// The caller's clocks: one that only goes forward, and the wall's for CreatedDate.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic time.
    pub instant: Instant,
    /// Unix time in milliseconds.
    pub unix_ms: u64,
}

/// Where UUIDs come from: fills the slice with random bytes.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// What a session starts with.
#[derive(Clone, Copy, Debug)]
pub struct ChannelSettings {
    /// Cap on the payload of a message, in bytes.
    pub max_payload: usize,
    /// Cap on messages a second.
    pub pace: Pace,
    /// What earlier sessions learned about the path.
    pub path: PathKnowledge,
    /// The session is for a host behind the agent: an agent that would dial itself instead is refused.
    pub for_remote_host: bool,
}

impl Default for ChannelSettings {
    fn default() -> Self {
        Self {
            max_payload: LARGEST_PAYLOAD,
            pace: Pace::default(),
            path: PathKnowledge::default(),
            for_remote_host: false,
        }
    }
}

/// One websocket message to send.
#[derive(Clone, PartialEq, Eq)]
pub enum Transmit {
    /// The opening message, with the token in it: never log it.
    Text(String),
    /// A frame.
    Binary(Bytes),
}

impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::Binary(frame) => write!(f, "Binary({} bytes)", frame.len()),
        }
    }
}

/// What the caller must know or do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelEvent {
    /// The handshake is complete: data can flow.
    Connected {
        /// The agent's version.
        agent: AgentVersion,
        /// What the session's bytes are.
        mode: Mode,
        /// The administrator's message, untrusted text; often empty.
        customer_message: String,
    },
    /// Bytes for the user, in order.
    Data(Bytes),
    /// The agent could not open a connection of a multiplexed session; the stream that ends next, without having
    /// received anything, is the one.
    PortRefused,
    /// The first input has not been acknowledged for three seconds: the port may not be listening.
    FirstInputUnanswered,
    /// Messages of this size, in bytes, were proven to pass.
    SizeProven(usize),
    /// Messages of this size, in bytes, were refused for good: keep it for later sessions.
    SizeRefused(usize),
    /// What earlier sessions found of message sizes does not hold any more: forget it.
    SizeOutdated,
    /// A message that cannot be used was dropped; worth a line in a debug log.
    Dropped(DropReason),
    /// The service's last word.
    Closed {
        /// Why, in the agent's or the service's words, untrusted; empty for a normal end.
        output: String,
    },
    /// The session cannot go on: terminate it.
    Failed(ChannelError),
}

/// Why a received message was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// It is not a frame.
    Malformed(FrameError),
    /// Its payload is not what was digested.
    Digest {
        /// Its number.
        sequence_number: i64,
    },
    /// Its number is garbage or too far ahead.
    SequenceNumber(i64),
    /// Its type is unknown, or not for clients.
    Type,
    /// The body does not read as what its type says.
    Body(&'static str),
}

/// Why a session cannot go on, although the link works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelError {
    /// The agent did not speak within 30 s.
    HandshakeRequestTimeout,
    /// The agent did not complete the handshake within 30 s.
    HandshakeCompleteTimeout,
    /// We refused what the agent wants.
    Refused(Refusal),
    /// The agent sends output without a handshake: it is a shell, not a port.
    NotAPort,
    /// A message is missing for 120 s, so nothing behind it can be delivered.
    Gap {
        /// The number that never came.
        missing: i64,
    },
}
