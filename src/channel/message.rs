//! The names on the wire: message types, payload types, flags and the small JSON bodies.
//!
//! Owns spelling, not behaviour. Unknown names and numbers are values, not errors: the official client and the agent
//! log and ignore them. Source: the official client's `clientmessage.go` and `service.go`, the agent's `model.go`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MessageType {
    /// Client to agent; each message is acknowledged.
    InputStreamData,
    /// Agent to client; each message is acknowledged.
    OutputStreamData,
    /// Both directions; never acknowledged.
    Acknowledge,
    /// The service reports that the session has ended.
    ChannelClosed,
    /// The service reports that the peer receives (again).
    StartPublication,
    /// The service reports that the peer does not receive now.
    PausePublication,
    /// Any other name; the message is dropped.
    Unknown,
}

impl MessageType {
    const NAMES: [(Self, &str); 6] = [
        (Self::InputStreamData, "input_stream_data"),
        (Self::OutputStreamData, "output_stream_data"),
        (Self::Acknowledge, "acknowledge"),
        (Self::ChannelClosed, "channel_closed"),
        (Self::StartPublication, "start_publication"),
        (Self::PausePublication, "pause_publication"),
    ];

    /// Reads the 32-byte field, padded with spaces by clients and agents and with NULs by the service.
    pub(crate) fn from_name(field: &[u8]) -> Self {
        let name = field.split(|byte| *byte == 0).find(|part| !part.is_empty()).unwrap_or_default();
        let name = name.trim_ascii();
        Self::NAMES.iter().find(|(_, known)| known.as_bytes() == name).map_or(Self::Unknown, |(t, _)| *t)
    }

    /// Returns the name on the wire.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(known, _)| *known == self).map_or("unknown", |(_, name)| name)
    }
}

/// The kind of a payload of stream data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayloadType {
    /// In acknowledgements.
    None,
    /// The port's bytes.
    Output,
    /// Terminal size, JSON.
    Size,
    /// JSON, from the agent.
    HandshakeRequest,
    /// JSON, from us.
    HandshakeResponse,
    /// JSON, from the agent.
    HandshakeComplete,
    /// Four bytes, a [`Flag`].
    Flag,
    /// Any other number: acknowledged and ignored.
    Other(u32),
}

impl From<u32> for PayloadType {
    fn from(number: u32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Output,
            3 => Self::Size,
            5 => Self::HandshakeRequest,
            6 => Self::HandshakeResponse,
            7 => Self::HandshakeComplete,
            10 => Self::Flag,
            other => Self::Other(other),
        }
    }
}

impl From<PayloadType> for u32 {
    fn from(payload_type: PayloadType) -> Self {
        match payload_type {
            PayloadType::None => 0,
            PayloadType::Output => 1,
            PayloadType::Size => 3,
            PayloadType::HandshakeRequest => 5,
            PayloadType::HandshakeResponse => 6,
            PayloadType::HandshakeComplete => 7,
            PayloadType::Flag => 10,
            PayloadType::Other(other) => other,
        }
    }
}

/// The payload of a [`PayloadType::Flag`] message: a big-endian u32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    /// From the client: end the session.
    TerminateSession,
    /// From the agent: a multiplexed connection could not be opened.
    ConnectToPortError,
}

impl Flag {
    /// Reads a payload; `None` for flags that a client ignores.
    pub(crate) fn from_payload(payload: &[u8]) -> Option<Self> {
        match u32::from_be_bytes(payload.try_into().ok()?) {
            3 => Some(Self::ConnectToPortError),
            _ => None,
        }
    }

    /// Returns the payload of a Flag message.
    pub(crate) fn payload(self) -> [u8; 4] {
        match self {
            Self::TerminateSession => 2u32.to_be_bytes(),
            Self::ConnectToPortError => 3u32.to_be_bytes(),
        }
    }
}

/// The body of an acknowledgement. The official client and the agent use the sequence number only.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Acknowledge {
    pub acknowledged_message_type: String,
    pub acknowledged_message_id: String,
    pub acknowledged_message_sequence_number: i64,
    pub is_sequential_message: bool,
}

impl Acknowledge {
    pub(crate) fn of_output(id: Uuid, sequence_number: i64) -> Self {
        Self {
            acknowledged_message_type: MessageType::OutputStreamData.name().to_owned(),
            acknowledged_message_id: id.hyphenated().to_string(),
            acknowledged_message_sequence_number: sequence_number,
            is_sequential_message: true,
        }
    }
}

/// The used part of `channel_closed`: the reason as the agent or the service gave it, empty for a normal end.
#[derive(Debug, Deserialize)]
pub(crate) struct ChannelClosed {
    #[serde(rename = "Output", default)]
    pub output: String,
}

/// The first message on a websocket, a text frame. The service does not reply.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct OpenDataChannelInput<'a> {
    pub message_schema_version: &'static str,
    pub request_id: String,
    pub token_value: &'a str,
    pub client_id: String,
    pub client_version: &'static str,
}

/// The longest text of the far side that is kept, in characters; the agent's own limit.
const LONGEST_TEXT: usize = 2500;

/// The longest name of the far side that is kept.
const LONGEST_NAME: usize = 100;

/// Cuts a text of the far side, which may fill a message of a mebibyte.
pub(crate) fn clip(text: String) -> String {
    clip_to(text, LONGEST_TEXT)
}

/// Cuts a name that the far side gives to something.
pub(crate) fn clip_name(text: &str) -> String {
    clip_to(text.to_owned(), LONGEST_NAME)
}

fn clip_to(text: String, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Serializes a body to send.
pub(crate) fn json<T: Serialize>(body: &T) -> String {
    serde_json::to_string(body).expect("our own bodies have string keys and no fallible parts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_paddings_are_trimmed() {
        let field = |name: &str, pad: u8| {
            let mut field = name.as_bytes().to_vec();
            field.resize(32, pad);
            field
        };
        for (expected, name) in MessageType::NAMES {
            assert_eq!(MessageType::from_name(&field(name, b' ')), expected);
            assert_eq!(MessageType::from_name(&field(name, 0)), expected);
        }
        assert_eq!(MessageType::from_name(&field("agent_session_state", b' ')), MessageType::Unknown);
        assert_eq!(MessageType::from_name(&[0; 32]), MessageType::Unknown);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(clip("短い".to_owned()), "短い");
        let long = clip("é".repeat(1 << 20));
        assert_eq!((long.chars().count(), long.ends_with("é…")), (LONGEST_TEXT + 1, true));
    }

    #[test]
    fn payload_types_keep_their_numbers() {
        for number in 0..20 {
            assert_eq!(u32::from(PayloadType::from(number)), number);
        }
    }
}
