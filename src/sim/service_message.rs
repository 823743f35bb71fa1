//! The messages that the service builds, and the session steps of client and agent messages.

use bytes::Bytes;
use uuid::Uuid;

use crate::sim::agent::message::{AgentMessage, MessageKind, payload_type, type_of};
use crate::sim::clock;
use crate::sim::faults::{ClosedForm, SessionStep};

/// Builds a publication message as observed: header length 112, NUL padding, no digest, padded to 120 bytes.
pub(super) fn publication(message_type: MessageKind) -> Bytes {
    let frame = AgentMessage::new(message_type, clock::unix_ms(), Uuid::nil(), Bytes::from_static(&[0; 4]));
    let mut raw = frame.encode_service().to_vec();
    raw[80..112].fill(0);
    raw.into()
}

/// Builds the message that ends a session for its client.
pub(super) fn channel_closed(id: Uuid, session: &str, target: &str, output: &str, form: ClosedForm) -> Bytes {
    let created = clock::unix_ms();
    let json = serde_json::json!({
        "MessageId": id.to_string(),
        "CreatedDate": clock::date(created),
        "DestinationId": target,
        "SessionId": session,
        "MessageType": "channel_closed",
        "SchemaVersion": 1,
        "Output": output,
    });
    let frame = AgentMessage::new(MessageKind::ChannelClosed, created, id, json.to_string().into());
    match form {
        ClosedForm::Service => frame.encode_service(),
        ClosedForm::Agent => frame.encode(),
    }
}

/// Returns the step of a message from a client.
pub(super) fn client_step(message: &[u8]) -> Option<SessionStep> {
    match stream_payload(message, MessageKind::InputStreamData.as_str())? {
        payload_type::HANDSHAKE_RESPONSE => Some(SessionStep::HandshakeResponse),
        payload_type::OUTPUT => Some(SessionStep::ClientOutput),
        payload_type::FLAG => Some(SessionStep::ClientFlag),
        _ => None,
    }
}

/// Returns the step of a message from an agent.
pub(super) fn agent_step(message: &[u8]) -> Option<SessionStep> {
    match stream_payload(message, MessageKind::OutputStreamData.as_str())? {
        payload_type::HANDSHAKE_REQUEST => Some(SessionStep::HandshakeRequest),
        payload_type::HANDSHAKE_COMPLETE => Some(SessionStep::HandshakeComplete),
        payload_type::OUTPUT => Some(SessionStep::AgentOutput),
        _ => None,
    }
}

fn stream_payload(message: &[u8], message_type: &str) -> Option<u32> {
    let payload_type = message.get(112..116)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    payload_type.filter(|_| type_of(message) == message_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_steps() {
        let message = |message_type, payload_type| {
            let mut frame = AgentMessage::new(message_type, 1, Uuid::nil(), Bytes::from_static(b"x"));
            frame.payload_type = payload_type;
            frame.encode()
        };
        assert_eq!(
            client_step(&message(MessageKind::InputStreamData, 6)),
            Some(SessionStep::HandshakeResponse)
        );
        assert_eq!(client_step(&message(MessageKind::Acknowledge, 1)), None);
        assert_eq!(
            agent_step(&message(MessageKind::OutputStreamData, 7)),
            Some(SessionStep::HandshakeComplete)
        );
        assert_eq!(agent_step(b"short"), None);
    }

    #[test]
    fn channel_closed_comes_in_both_header_forms() {
        for (form, header_length) in [(ClosedForm::Service, 112), (ClosedForm::Agent, 116)] {
            let message = channel_closed(Uuid::nil(), "alice-1", "i-1", "over", form);
            assert_eq!(message[..4], u32::to_be_bytes(header_length));
            let frame = AgentMessage::parse(&message).unwrap();
            assert!(frame.digest_matches());
            let json: serde_json::Value = serde_json::from_slice(&frame.payload).unwrap();
            assert_eq!((&json["Output"], &json["DestinationId"]), (&"over".into(), &"i-1".into()));
        }
    }

    #[test]
    fn a_publication_message_is_120_bytes_without_a_digest() {
        let message = publication(MessageKind::StartPublication);
        assert_eq!((message.len(), &message[..4]), (120, &[0, 0, 0, 112][..]));
        assert_eq!(message[80..112], [0; 32]);
    }
}
