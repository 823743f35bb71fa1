//! The binary AgentMessage: one websocket message is one frame, a header and a payload.
//!
//! Owns the layout only: [`super::message`] defines types and payloads, [`super::inbound`] the use of sequence numbers.
//! Parsing never panics, whatever the bytes; a frame that cannot be parsed is an error that the caller logs and drops.
//! Source: the official client's and the agent's `clientmessage.go`, `messageparser.go` and `agentmessage.go`,
//! summarised in docs/protocol.md.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::message::{MessageType, PayloadType};

/// Bytes before the payload in a frame that we send: the 116-byte header and PayloadLength.
pub(crate) const OVERHEAD: usize = HEADER_LENGTH as usize + 4;

/// The HeaderLength that clients and agents send. It counts everything before PayloadLength.
const HEADER_LENGTH: u32 = 116;
/// The HeaderLength of the service's own messages, which have no PayloadType.
const SERVICE_HEADER_LENGTH: usize = 112;
const TYPE: std::ops::Range<usize> = 4..36;
const SCHEMA_VERSION: u32 = 1;

/// A received frame; its digest has not been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub message_type: MessageType,
    /// Position in the sender's stream; used for stream data only.
    pub sequence_number: i64,
    /// SYN and FIN bits. Receivers ignore them.
    pub flags: u64,
    /// Unix time in milliseconds at the sender.
    pub created_date: u64,
    /// The sender's id of this message, repeated in the acknowledgement.
    pub message_id: Uuid,
    /// SHA-256 of the payload as claimed by the sender.
    pub payload_digest: [u8; 32],
    /// `None` in the service's own messages.
    pub payload_type: Option<PayloadType>,
    pub payload: Bytes,
}

/// Why bytes are not a frame. The connection stays open: log the error and drop the message without acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The message of this many bytes is shorter than the fixed part of a header.
    Short(usize),
    /// HeaderLength (the first number) does not fit a message of this many bytes (the second).
    HeaderLength(u32, usize),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(length) => write!(f, "message of {length} bytes is shorter than its header"),
            Self::HeaderLength(header, length) => {
                write!(f, "header length {header} does not fit a message of {length} bytes")
            }
        }
    }
}

impl std::error::Error for FrameError {}

impl Frame {
    /// Parses one websocket message.
    ///
    /// # Errors
    /// [`FrameError`] if the header is cut off or its length is impossible.
    pub(crate) fn parse(message: &Bytes) -> Result<Self, FrameError> {
        let short = || FrameError::Short(message.len());
        let header_length = u32_at(message, 0).ok_or_else(short)?;
        let end = header_length as usize;
        if end < SERVICE_HEADER_LENGTH || end.checked_add(4).is_none_or(|start| start > message.len()) {
            return Err(FrameError::HeaderLength(header_length, message.len()));
        }
        let has_payload_type = end >= HEADER_LENGTH as usize;
        Ok(Self {
            message_type: MessageType::from_name(message.get(TYPE).ok_or_else(short)?),
            created_date: u64_at(message, 40).ok_or_else(short)?,
            sequence_number: u64_at(message, 48).ok_or_else(short)?.cast_signed(),
            flags: u64_at(message, 56).ok_or_else(short)?,
            message_id: uuid_at(message, 64).ok_or_else(short)?,
            payload_digest: array_at(message, 80).ok_or_else(short)?,
            payload_type: if has_payload_type { u32_at(message, 112).map(PayloadType::from) } else { None },
            payload: message.slice(end + 4..),
        })
    }

    /// Returns true if the digest matches the payload.
    pub(crate) fn has_valid_digest(&self) -> bool {
        digest(&self.payload) == self.payload_digest
    }
}

/// The header of a frame to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// `input_stream_data` or `acknowledge`.
    pub message_type: MessageType,
    /// Position in our stream; 0 in acknowledgements.
    pub sequence_number: i64,
    /// 0 in stream data, 3 in acknowledgements, as the official client sends them.
    pub flags: u64,
    /// Unix time in milliseconds.
    pub created_date: u64,
    /// A new version 4 UUID.
    pub message_id: Uuid,
    pub payload_type: PayloadType,
}

impl Header {
    /// Encodes the frame with this header and `payload`.
    pub(crate) fn encode(&self, payload: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(OVERHEAD + payload.len());
        out.put_u32(HEADER_LENGTH);
        let name = self.message_type.name().as_bytes();
        out.put_slice(name);
        out.put_bytes(b' ', TYPE.len().saturating_sub(name.len()));
        out.put_u32(SCHEMA_VERSION);
        out.put_u64(self.created_date);
        out.put_i64(self.sequence_number);
        out.put_u64(self.flags);
        let (first, second) = self.message_id.as_bytes().split_at(8);
        out.put_slice(second);
        out.put_slice(first);
        out.put_slice(&digest(payload));
        out.put_u32(self.payload_type.into());
        out.put_u32(u32::try_from(payload.len()).expect("payloads are cut to at most 32 KiB"));
        out.put_slice(payload);
        out.freeze()
    }
}

/// Returns the SHA-256 digest of the payload as it is on the wire.
pub(crate) fn digest(payload: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, payload).as_ref());
    out
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_be_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_be_bytes)
}

/// Reads a UUID whose halves are swapped: bytes 8–15 are first on the wire.
fn uuid_at(bytes: &[u8], at: usize) -> Option<Uuid> {
    let wire: [u8; 16] = array_at(bytes, at)?;
    Some(Uuid::from_u128(u128::from_be_bytes(wire).rotate_left(64)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATE: u64 = 1_700_000_000_000;

    fn hex(text: &str) -> Bytes {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn header(message_type: MessageType, sequence_number: i64, flags: u64, id: &str) -> Header {
        Header {
            message_type,
            sequence_number,
            flags,
            created_date: DATE,
            message_id: id.parse().unwrap(),
            payload_type: PayloadType::None,
        }
    }

    /// docs/protocol.md, vector 1.
    fn stream_data() -> (Header, Bytes) {
        let wire = hex("00 00 00 74 69 6e 70 75 74 5f 73 74 72 65 61 6d
             5f 64 61 74 61 20 20 20 20 20 20 20 20 20 20 20
             20 20 20 20 00 00 00 01 00 00 01 8b cf e5 68 00
             00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
             88 99 aa bb cc dd ee ff 00 11 22 33 44 55 66 77
             2c f2 4d ba 5f b0 a3 0e 26 e8 3b 2a c5 b9 e2 9e
             1b 16 1e 5c 1f a7 42 5e 73 04 33 62 93 8b 98 24
             00 00 00 01 00 00 00 05 68 65 6c 6c 6f");
        let id = "00112233-4455-6677-8899-aabbccddeeff";
        let header =
            Header { payload_type: PayloadType::Output, ..header(MessageType::InputStreamData, 0, 0, id) };
        (header, wire)
    }

    #[test]
    fn stream_data_has_the_golden_bytes() {
        let (header, wire) = stream_data();
        assert_eq!(header.encode(b"hello"), wire);
        let frame = Frame::parse(&wire).unwrap();
        assert_eq!(frame.message_type, MessageType::InputStreamData);
        assert_eq!(frame.message_id, header.message_id);
        assert_eq!(frame.created_date, DATE);
        assert_eq!(frame.payload_type, Some(PayloadType::Output));
        assert_eq!(&frame.payload[..], b"hello");
        assert!(frame.has_valid_digest());
    }

    #[test]
    fn an_acknowledgement_has_the_golden_bytes() {
        let json = br#"{"AcknowledgedMessageType":"output_stream_data","AcknowledgedMessageId":"01234567-89ab-4cde-8f01-23456789abcd","AcknowledgedMessageSequenceNumber":7,"IsSequentialMessage":true}"#;
        let mut wire = hex("00 00 00 74 61 63 6b 6e 6f 77 6c 65 64 67 65 20
             20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20
             20 20 20 20 00 00 00 01 00 00 01 8b cf e5 68 00
             00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 03
             8f ed cb a9 87 65 43 21 fe dc ba 98 76 54 43 21
             d1 25 03 35 0c e3 33 2a 3d bd 52 08 ab 82 78 ec
             a4 3a 82 48 cc a6 12 24 fd 1f a7 6c fd 7a 2f 51
             00 00 00 00 00 00 00 b0")
        .to_vec();
        wire.extend_from_slice(json);
        let header = header(MessageType::Acknowledge, 0, 3, "fedcba98-7654-4321-8fed-cba987654321");
        assert_eq!(header.encode(json), wire);
    }

    #[test]
    fn a_terminate_flag_has_the_golden_bytes() {
        let wire = hex("00 00 00 74 69 6e 70 75 74 5f 73 74 72 65 61 6d
             5f 64 61 74 61 20 20 20 20 20 20 20 20 20 20 20
             20 20 20 20 00 00 00 01 00 00 01 8b cf e5 68 00
             00 00 00 00 00 00 00 05 00 00 00 00 00 00 00 00
             87 96 a5 b4 c3 d2 e1 f0 0f 1e 2d 3c 4b 5a 49 68
             43 3e bf 5b c0 3d ff a3 85 36 67 32 07 a2 12 81
             61 2c ef 5f aa 9b c7 a4 d5 b9 be 2f db 12 cf 1a
             00 00 00 0a 00 00 00 04 00 00 00 02");
        let id = "0f1e2d3c-4b5a-4968-8796-a5b4c3d2e1f0";
        let header =
            Header { payload_type: PayloadType::Flag, ..header(MessageType::InputStreamData, 5, 0, id) };
        assert_eq!(header.encode(&2u32.to_be_bytes()), wire);
    }

    #[test]
    fn the_services_short_header_and_nul_padding_are_parsed() {
        let json = br#"{"MessageId":"11111111-2222-4333-8444-555555555555","CreatedDate":"2023-11-14T22:13:20.000Z","DestinationId":"i-0123456789abcdef0","SessionId":"alice-0bf03c6795a5347df","MessageType":"channel_closed","SchemaVersion":1,"Output":""}"#;
        let mut wire = hex("00 00 00 70 63 68 61 6e 6e 65 6c 5f 63 6c 6f 73
             65 64 00 00 00 00 00 00 00 00 00 00 00 00 00 00
             00 00 00 00 00 00 00 01 00 00 01 8b cf e5 68 00
             00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
             84 44 55 55 55 55 55 55 11 11 11 11 22 22 43 33
             8b d8 a8 de c6 8c 71 db 36 87 a2 6a 0a 6d da 27
             32 4a 1b ce ee 83 ce 0d 7f 49 f3 3b 52 d2 fb 41
             00 00 00 e6")
        .to_vec();
        wire.extend_from_slice(json);
        let frame = Frame::parse(&wire.into()).unwrap();
        assert_eq!(frame.message_type, MessageType::ChannelClosed);
        let id: Uuid = "11111111-2222-4333-8444-555555555555".parse().unwrap();
        assert_eq!(frame.message_id, id);
        assert_eq!(frame.payload_type, None);
        assert_eq!(&frame.payload[..], json);
        assert!(frame.has_valid_digest());
    }

    #[test]
    fn impossible_header_lengths_are_refused() {
        let (_, wire) = stream_data();
        for bad in [0u32, 1, 111, 122, 125, 4096, u32::MAX] {
            let mut message = wire.to_vec();
            message[..4].copy_from_slice(&bad.to_be_bytes());
            let length = message.len();
            assert_eq!(Frame::parse(&message.into()), Err(FrameError::HeaderLength(bad, length)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Frame::parse(&bytes.into());
        }

        #[test]
        fn every_cut_of_a_frame_parses_or_is_refused(cut in 0usize..125) {
            let (_, wire) = stream_data();
            let _ = Frame::parse(&wire.slice(..cut));
        }

        #[test]
        fn an_encoded_frame_parses_to_the_same_fields(
            sequence_number in 0i64..,
            id in any::<u128>(),
            payload in proptest::collection::vec(any::<u8>(), 1..2048),
        ) {
            let header = Header {
                message_id: Uuid::from_u128(id),
                payload_type: PayloadType::Output,
                ..header(MessageType::InputStreamData, sequence_number, 0, "00112233-4455-6677-8899-aabbccddeeff")
            };
            let frame = Frame::parse(&header.encode(&payload)).unwrap();
            prop_assert_eq!(frame.sequence_number, sequence_number);
            prop_assert_eq!(frame.message_id, Uuid::from_u128(id));
            prop_assert_eq!(&frame.payload[..], &payload[..]);
            prop_assert!(frame.has_valid_digest());
        }
    }
}
