//! The AgentMessage codec as the agent and the service use it (docs/protocol.md, "AgentMessage").
//!
//! It shares no code with the client's codec, so that a mistake in one is not mirrored in the other. Parsing checks what
//! the real agent checks and no more; the caller checks the digest.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// Bytes before the payload length in a message of a client or an agent.
pub const HEADER_LENGTH: u32 = 116;
/// Bytes before the payload length in a message of the service, which has no payload type.
pub const SERVICE_HEADER_LENGTH: u32 = 112;
/// Both header flags together mark a message outside the sequence space.
pub const OUTSIDE_SEQUENCE: u64 = 3;

const TYPE_AT: usize = 4;
const SCHEMA_AT: usize = 36;
const CREATED_AT: usize = 40;
const SEQUENCE_AT: usize = 48;
const FLAGS_AT: usize = 56;
const ID_AT: usize = 64;
const DIGEST_AT: usize = 80;
const PAYLOAD_TYPE_AT: usize = 112;
const FIXED_PART: usize = 120;

/// The message type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Client to agent; has a sequence number and is acknowledged.
    InputStreamData,
    /// Agent to client; has a sequence number and is acknowledged.
    OutputStreamData,
    /// Both ways; acknowledges one stream message.
    Acknowledge,
    /// Service to client and agent: the session has ended.
    ChannelClosed,
    /// Service to client and agent: sending is allowed.
    StartPublication,
    /// Service to client and agent: stop sending.
    PausePublication,
    /// Agent to service: the state of the session.
    AgentSessionState,
    /// Any other type; receivers ignore it.
    Other(String),
}

impl MessageKind {
    /// Returns the name on the wire, without padding.
    pub fn as_str(&self) -> &str {
        match self {
            Self::InputStreamData => "input_stream_data",
            Self::OutputStreamData => "output_stream_data",
            Self::Acknowledge => "acknowledge",
            Self::ChannelClosed => "channel_closed",
            Self::StartPublication => "start_publication",
            Self::PausePublication => "pause_publication",
            Self::AgentSessionState => "agent_session_state",
            Self::Other(name) => name,
        }
    }

    fn named(name: &str) -> Self {
        match name {
            "input_stream_data" => Self::InputStreamData,
            "output_stream_data" => Self::OutputStreamData,
            "acknowledge" => Self::Acknowledge,
            "channel_closed" => Self::ChannelClosed,
            "start_publication" => Self::StartPublication,
            "pause_publication" => Self::PausePublication,
            "agent_session_state" => Self::AgentSessionState,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Payload types by their wire numbers; a message keeps the number, since receivers accept any.
pub mod payload_type {
    /// Acknowledgements and session states.
    pub const NONE: u32 = 0;
    /// Raw bytes.
    pub const OUTPUT: u32 = 1;
    /// A terminal's size; ignored in Port sessions.
    pub const SIZE: u32 = 3;
    /// The agent's handshake request.
    pub const HANDSHAKE_REQUEST: u32 = 5;
    /// The client's handshake response.
    pub const HANDSHAKE_RESPONSE: u32 = 6;
    /// The agent's HandshakeComplete.
    pub const HANDSHAKE_COMPLETE: u32 = 7;
    /// The client's response to an encryption challenge.
    pub const ENC_CHALLENGE_RESPONSE: u32 = 9;
    /// A 32-bit big-endian flag.
    pub const FLAG: u32 = 10;
}

/// Values of a flag payload.
pub mod flag {
    /// Client to agent: the local connection is closed.
    pub const DISCONNECT_TO_PORT: u32 = 1;
    /// Client to agent: end the session.
    pub const TERMINATE_SESSION: u32 = 2;
    /// Agent to client: a multiplexed dial failed.
    pub const CONNECT_TO_PORT_ERROR: u32 = 3;
}

/// One AgentMessage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentMessage {
    /// The message type.
    pub message_type: MessageKind,
    /// Unix milliseconds.
    pub created: u64,
    /// The sequence number of the direction; 0 for messages outside the sequence.
    pub sequence: i64,
    /// SYN 1, FIN 2.
    pub flags: u64,
    /// The identifier, in text order.
    pub id: Uuid,
    /// The payload type; 0 where the message has none.
    pub payload_type: u32,
    /// The digest as received; the encoders compute it.
    pub digest: [u8; 32],
    /// The payload.
    pub payload: Bytes,
}

impl AgentMessage {
    /// Makes a message with a correct digest.
    pub fn new(message_type: MessageKind, created: u64, id: Uuid, payload: Bytes) -> Self {
        let digest = sha256(&payload);
        Self {
            message_type,
            created,
            sequence: 0,
            flags: 0,
            id,
            payload_type: payload_type::NONE,
            digest,
            payload,
        }
    }

    /// Parses a message as the agent does.
    ///
    /// # Errors
    /// A message that the agent logs and drops.
    pub fn parse(raw: &[u8]) -> Result<Self, Malformed> {
        if raw.len() < FIXED_PART {
            return Err(Malformed::Short(raw.len()));
        }
        let header_length = u32_at(raw, 0) as usize;
        if header_length == 0 {
            return Err(Malformed::NoHeader);
        }
        let payload = raw.get(header_length + 4..).ok_or(Malformed::HeaderTooLong(header_length))?;
        let name = String::from_utf8_lossy(&raw[TYPE_AT..SCHEMA_AT]);
        let name = name.trim_matches(|c: char| c == '\0' || c.is_whitespace());
        if name.is_empty() {
            return Err(Malformed::NoType);
        }
        let created = u64_at(raw, CREATED_AT);
        if created == 0 {
            return Err(Malformed::NoDate);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&raw[DIGEST_AT..PAYLOAD_TYPE_AT]);
        Ok(Self {
            message_type: MessageKind::named(name),
            created,
            sequence: u64_at(raw, SEQUENCE_AT).cast_signed(),
            flags: u64_at(raw, FLAGS_AT),
            id: id_at(raw),
            payload_type: u32_at(raw, PAYLOAD_TYPE_AT),
            digest,
            payload: Bytes::copy_from_slice(payload),
        })
    }

    /// Returns whether the digest is that of the payload.
    pub fn digest_matches(&self) -> bool {
        self.digest == sha256(&self.payload)
    }

    /// Encodes the form of clients and agents: header length 116, the type padded with spaces.
    pub fn encode(&self) -> Bytes {
        let mut out = self.head(HEADER_LENGTH, b' ');
        out.put_u32(self.payload_type);
        self.finish(out)
    }

    /// Encodes the form of the service: header length 112, the type padded with NULs, no payload type.
    pub fn encode_service(&self) -> Bytes {
        let out = self.head(SERVICE_HEADER_LENGTH, 0);
        self.finish(out)
    }

    fn head(&self, header_length: u32, padding: u8) -> BytesMut {
        let mut out = BytesMut::with_capacity(FIXED_PART + self.payload.len());
        out.put_u32(header_length);
        let name = self.message_type.as_str().as_bytes();
        let name = &name[..name.len().min(32)];
        out.put_slice(name);
        out.put_bytes(padding, 32 - name.len());
        out.put_u32(1);
        out.put_u64(self.created);
        out.put_i64(self.sequence);
        out.put_u64(self.flags);
        let (first, second) = self.id.as_u64_pair();
        out.put_u64(second);
        out.put_u64(first);
        out.put_slice(&sha256(&self.payload));
        out
    }

    fn finish(&self, mut out: BytesMut) -> Bytes {
        out.put_u32(self.payload.len() as u32);
        out.put_slice(&self.payload);
        out.freeze()
    }
}

/// Why the agent drops a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than the fixed part.
    #[error("{0} bytes are less than a header")]
    Short(usize),
    /// A header length of zero.
    #[error("the header length is zero")]
    NoHeader,
    /// A header length past the end of the message, which crashes the real agent.
    #[error("the header length {0} is past the end of the message")]
    HeaderTooLong(usize),
    /// An empty message type.
    #[error("the message type is empty")]
    NoType,
    /// A creation date of zero.
    #[error("the creation date is zero")]
    NoDate,
}

/// Returns the trimmed message type of a raw message.
pub fn type_of(raw: &[u8]) -> &str {
    let name = raw.get(TYPE_AT..SCHEMA_AT).unwrap_or_default();
    let name = std::str::from_utf8(name).unwrap_or_default();
    name.trim_matches(|c: char| c == '\0' || c.is_whitespace())
}

/// Returns the SHA-256 digest of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn u32_at(raw: &[u8], at: usize) -> u32 {
    raw.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn u64_at(raw: &[u8], at: usize) -> u64 {
    raw.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
}

fn id_at(raw: &[u8]) -> Uuid {
    Uuid::from_u64_pair(u64_at(raw, ID_AT + 8), u64_at(raw, ID_AT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: u64 = 1_700_000_000_000;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
    }

    fn frame(message_type: MessageKind, id: &str, payload: &'static [u8]) -> AgentMessage {
        AgentMessage::new(message_type, DATE, id.parse().unwrap(), Bytes::from_static(payload))
    }

    #[test]
    fn vector_1_input_stream_data() {
        let wire = hex("00 00 00 74 69 6e 70 75 74 5f 73 74 72 65 61 6d
            5f 64 61 74 61 20 20 20 20 20 20 20 20 20 20 20
            20 20 20 20 00 00 00 01 00 00 01 8b cf e5 68 00
            00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
            88 99 aa bb cc dd ee ff 00 11 22 33 44 55 66 77
            2c f2 4d ba 5f b0 a3 0e 26 e8 3b 2a c5 b9 e2 9e
            1b 16 1e 5c 1f a7 42 5e 73 04 33 62 93 8b 98 24
            00 00 00 01 00 00 00 05 68 65 6c 6c 6f");
        let mut hello = frame(MessageKind::InputStreamData, "00112233-4455-6677-8899-aabbccddeeff", b"hello");
        hello.payload_type = payload_type::OUTPUT;
        assert_eq!(hello.encode().as_ref(), wire);
        assert_eq!(AgentMessage::parse(&wire), Ok(hello));
    }

    #[test]
    fn vector_2_acknowledge() {
        let json: &[u8] = br#"{"AcknowledgedMessageType":"output_stream_data","AcknowledgedMessageId":"01234567-89ab-4cde-8f01-23456789abcd","AcknowledgedMessageSequenceNumber":7,"IsSequentialMessage":true}"#;
        let mut wire = hex("00 00 00 74 61 63 6b 6e 6f 77 6c 65 64 67 65 20
            20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20
            20 20 20 20 00 00 00 01 00 00 01 8b cf e5 68 00
            00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 03
            8f ed cb a9 87 65 43 21 fe dc ba 98 76 54 43 21
            d1 25 03 35 0c e3 33 2a 3d bd 52 08 ab 82 78 ec
            a4 3a 82 48 cc a6 12 24 fd 1f a7 6c fd 7a 2f 51
            00 00 00 00 00 00 00 b0");
        wire.extend_from_slice(json);
        let mut ack = frame(MessageKind::Acknowledge, "fedcba98-7654-4321-8fed-cba987654321", json);
        ack.flags = OUTSIDE_SEQUENCE;
        assert_eq!(ack.encode().as_ref(), wire);
        assert_eq!(AgentMessage::parse(&wire), Ok(ack));
    }

    #[test]
    fn vector_3_terminate_flag() {
        let wire = hex("00 00 00 74 69 6e 70 75 74 5f 73 74 72 65 61 6d
            5f 64 61 74 61 20 20 20 20 20 20 20 20 20 20 20
            20 20 20 20 00 00 00 01 00 00 01 8b cf e5 68 00
            00 00 00 00 00 00 00 05 00 00 00 00 00 00 00 00
            87 96 a5 b4 c3 d2 e1 f0 0f 1e 2d 3c 4b 5a 49 68
            43 3e bf 5b c0 3d ff a3 85 36 67 32 07 a2 12 81
            61 2c ef 5f aa 9b c7 a4 d5 b9 be 2f db 12 cf 1a
            00 00 00 0a 00 00 00 04 00 00 00 02");
        let mut flag =
            frame(MessageKind::InputStreamData, "0f1e2d3c-4b5a-4968-8796-a5b4c3d2e1f0", &[0, 0, 0, 2]);
        flag.payload_type = payload_type::FLAG;
        flag.sequence = 5;
        assert_eq!(flag.encode().as_ref(), wire);
    }

    #[test]
    fn vector_4_service_made_channel_closed() {
        let json: &[u8] = br#"{"MessageId":"11111111-2222-4333-8444-555555555555","CreatedDate":"2023-11-14T22:13:20.000Z","DestinationId":"i-0123456789abcdef0","SessionId":"alice-0bf03c6795a5347df","MessageType":"channel_closed","SchemaVersion":1,"Output":""}"#;
        let mut wire = hex("00 00 00 70 63 68 61 6e 6e 65 6c 5f 63 6c 6f 73
            65 64 00 00 00 00 00 00 00 00 00 00 00 00 00 00
            00 00 00 00 00 00 00 01 00 00 01 8b cf e5 68 00
            00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
            84 44 55 55 55 55 55 55 11 11 11 11 22 22 43 33
            8b d8 a8 de c6 8c 71 db 36 87 a2 6a 0a 6d da 27
            32 4a 1b ce ee 83 ce 0d 7f 49 f3 3b 52 d2 fb 41
            00 00 00 e6");
        wire.extend_from_slice(json);
        let closed = frame(MessageKind::ChannelClosed, "11111111-2222-4333-8444-555555555555", json);
        assert_eq!(closed.encode_service().as_ref(), wire);
        let parsed = AgentMessage::parse(&wire).unwrap();
        assert_eq!(parsed.payload, json);
        assert!(parsed.digest_matches());
    }

    #[test]
    fn messages_that_the_agent_drops_are_errors() {
        let good =
            frame(MessageKind::Acknowledge, "11111111-2222-4333-8444-555555555555", b"{}").encode().to_vec();
        let patched = |at: usize, bytes: &[u8]| {
            let mut raw = good.clone();
            raw[at..at + bytes.len()].copy_from_slice(bytes);
            AgentMessage::parse(&raw)
        };
        assert_eq!(AgentMessage::parse(&good[..119]), Err(Malformed::Short(119)));
        assert_eq!(patched(0, &[0; 4]), Err(Malformed::NoHeader));
        assert_eq!(patched(0, &200u32.to_be_bytes()), Err(Malformed::HeaderTooLong(200)));
        assert_eq!(patched(4, &[0; 32]), Err(Malformed::NoType));
        assert_eq!(patched(40, &[0; 8]), Err(Malformed::NoDate));
        assert!(!patched(80, &[9; 32]).unwrap().digest_matches());
    }

    #[test]
    fn the_type_is_read_with_either_padding() {
        let closed = frame(MessageKind::ChannelClosed, "11111111-2222-4333-8444-555555555555", b"{}");
        assert_eq!(type_of(&closed.encode()), "channel_closed");
        assert_eq!(type_of(&closed.encode_service()), "channel_closed");
        assert_eq!(type_of(b"short"), "");
    }
}
