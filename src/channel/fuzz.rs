//! Any bytes as the messages of an agent.

use std::time::{Duration, Instant};

use bytes::Bytes;
use uuid::Uuid;

use super::frame::{Frame, Header};
use super::message::{MessageType, PayloadType};
use super::{Channel, ChannelSettings, Now, Transmit, handshake};

/// The input is a list of messages: a byte that says what a message is, a number, a length, and its bytes. Raw ones are
/// mostly dropped; the others have a valid header and digest.
pub(crate) fn frames(start: Instant, data: &[u8]) {
    let mut now = Now { instant: start, unix_ms: 1_700_000_000_000 };
    let mut channel = Channel::new(now, ChannelSettings::default(), Box::new(|bytes| bytes.fill(7)));
    channel.attach(now, "token");
    let mut rest = data;
    while let [kind, number, length, tail @ ..] = rest {
        let (body, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = tail;
        step(&mut channel, now, *kind, i64::from(*number), body);
        now.instant += Duration::from_millis(u64::from(kind >> 4) * 50);
        channel.handle_timeout(now);
        drain(&mut channel, now);
    }
}

fn step(channel: &mut Channel, now: Now, kind: u8, number: i64, body: &[u8]) {
    let send = |channel: &mut Channel, message_type, payload_type| {
        let header = Header {
            message_type,
            sequence_number: number,
            flags: 0,
            created_date: 1,
            message_id: Uuid::nil(),
            payload_type,
        };
        channel.handle_frame(now, &header.encode(body));
    };
    match kind & 15 {
        0 => channel.handle_frame(now, &Bytes::copy_from_slice(body)),
        1 => send(channel, MessageType::OutputStreamData, PayloadType::HandshakeRequest),
        2 => send(channel, MessageType::OutputStreamData, PayloadType::HandshakeComplete),
        3 | 4 => send(channel, MessageType::OutputStreamData, PayloadType::Output),
        5 => send(channel, MessageType::OutputStreamData, PayloadType::Flag),
        6 => send(channel, MessageType::OutputStreamData, PayloadType::from(u32::from(kind))),
        7 | 8 => acknowledge(channel, now, number),
        9 => send(channel, MessageType::Acknowledge, PayloadType::None),
        10 => send(channel, MessageType::ChannelClosed, PayloadType::None),
        11 => send(channel, MessageType::PausePublication, PayloadType::None),
        12 => drop(channel.write(body)),
        13 => channel.detach(now),
        14 => channel.attach(now, "token"),
        _ => channel.set_reading(now, number % 2 == 0),
    }
}

fn acknowledge(channel: &mut Channel, now: Now, number: i64) {
    let body = format!(
        r#"{{"AcknowledgedMessageType":"","AcknowledgedMessageId":"","AcknowledgedMessageSequenceNumber":{number},"IsSequentialMessage":true}}"#
    );
    let header = Header {
        message_type: MessageType::Acknowledge,
        sequence_number: 0,
        flags: 3,
        created_date: 1,
        message_id: Uuid::nil(),
        payload_type: PayloadType::None,
    };
    channel.handle_frame(now, &header.encode(body.as_bytes()));
}

/// What the channel sends is always a frame, and at one moment it sends no more than its window, pace and debts allow.
fn drain(channel: &mut Channel, now: Now) {
    let mut sent = 0;
    while let Some(transmit) = channel.poll_transmit(now) {
        sent += 1;
        assert!(sent < 2000, "it sends without end");
        if let Transmit::Binary(message) = transmit {
            let frame = Frame::parse(&message).expect("a frame");
            assert!(frame.has_valid_digest());
        }
    }
    while channel.poll_event().is_some() {}
    let next: Option<Instant> = channel.poll_timeout().map(|(at, _)| at);
    assert!(next.is_none_or(|at| at > now.instant), "a deadline has passed and was not acted on");
}

/// A request is answered with JSON of bounded length, or is not a request.
pub(crate) fn handshake(data: &[u8]) {
    for for_remote_host in [false, true] {
        let Ok(answer) = handshake::answer(data, for_remote_host) else { continue };
        assert!(answer.response.len() < 32_768, "{}", answer.response.len());
        serde_json::from_str::<serde_json::Value>(&answer.response).expect("JSON");
    }
    assert!(handshake::customer_message(data).len() <= 4 * 2501);
}
