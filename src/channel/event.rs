//! The inputs and outputs of a channel, apart from frames.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use super::discovery::{LARGEST_PAYLOAD, PathKnowledge};
use super::frame::FrameError;
use super::handshake::{Mode, Refusal};
use super::pacer::Pace;
use super::version::AgentVersion;

/// The caller's clocks: a monotonic one, and the wall clock for CreatedDate.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic time.
    pub instant: Instant,
    /// Unix time in milliseconds.
    pub unix_ms: u64,
}

/// The source of UUIDs: fills the slice with random bytes.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// The settings of a session.
#[derive(Clone, Copy, Debug)]
pub struct ChannelSettings {
    /// The largest payload of a message, in bytes.
    pub max_payload: usize,
    /// The limit on messages a second.
    pub pace: Pace,
    /// Message sizes that earlier sessions found on this path.
    pub path: PathKnowledge,
    /// True if the session is for a host behind the agent. An agent that would dial itself instead is refused.
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
    /// The opening message. It contains the token: never log it.
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

/// What the caller must act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelEvent {
    /// The handshake is complete: data can flow.
    Connected {
        /// The agent's version.
        agent: AgentVersion,
        /// The format of the session's bytes.
        mode: Mode,
        /// The administrator's message: untrusted text, often empty.
        customer_message: String,
    },
    /// Bytes for the user, in order.
    Data(Bytes),
    /// The agent could not open a connection of a multiplexed session. It is the next stream that ends without having
    /// received data.
    PortRefused,
    /// The first input has not been acknowledged for three seconds: the port may not be listening.
    FirstInputUnanswered,
    /// A message of this size, in bytes, was acknowledged.
    SizeProven(usize),
    /// Messages of this size, in bytes, failed twice: store it for later sessions.
    SizeRefused(usize),
    /// The size that earlier sessions proved has failed: delete it.
    SizeOutdated,
    /// A received message was dropped; write it to the debug log.
    Dropped(DropReason),
    /// The service closed the channel.
    Closed {
        /// The reason as the agent or the service gave it: untrusted text, empty for a normal end.
        output: String,
    },
    /// The session cannot go on: terminate it.
    Failed(ChannelError),
}

/// Why a received message was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The message is not a frame.
    Malformed(FrameError),
    /// The digest does not match the payload.
    Digest {
        /// Its sequence number.
        sequence_number: i64,
    },
    /// The sequence number is negative or too far ahead.
    SequenceNumber(i64),
    /// The type is unknown, or a client does not expect it.
    Type,
    /// The body of this type cannot be parsed.
    Body(&'static str),
}

/// Why a session cannot go on, although the link works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelError {
    /// The agent sent no handshake request within 30 s.
    HandshakeRequestTimeout,
    /// The agent did not complete the handshake within 30 s.
    HandshakeCompleteTimeout,
    /// We refused the agent's request.
    Refused(Refusal),
    /// The agent sent output without a handshake: the session is a shell, not a port.
    NotAPort,
    /// A message is missing for 120 s, so later ones cannot be delivered.
    Gap {
        /// The sequence number of the missing message.
        missing: i64,
    },
}
