//! Frames that no honest service sends: each is dropped, the session goes on, and the bytes are exact.

use bytes::Bytes;
use fumidai::sim::agent::message::{AgentMessage, MessageKind, flag, payload_type};
use fumidai::sim::agent::{Injection, Moment};
use fumidai::sim::rng::Rng;

use crate::bench::Bench;
use crate::services::{MIB, digest, echo, noise};

const ECHO: u16 = 7;
const HEADER_LENGTH: usize = 0;
const MESSAGE_TYPE: usize = 4;
const DIGEST: usize = 80;

/// Data that must never be seen.
fn evil(sequence: i64, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut frame = AgentMessage::new(
        MessageKind::OutputStreamData,
        1_700_000_000_000,
        Rng::new(u64::from_be_bytes(sequence.to_be_bytes())).uuid(),
        Bytes::from_static(b"evil"),
    );
    (frame.sequence, frame.payload_type) = (sequence, payload_type::OUTPUT);
    let mut raw = frame.encode().to_vec();
    change(&mut raw);
    raw.into()
}

fn put(raw: &mut [u8], at: usize, bytes: &[u8]) {
    raw[at..at + bytes.len()].copy_from_slice(bytes);
}

const EARLY: [Moment; 2] = [Moment::Opened, Moment::Requested];
const LATE: [Moment; 2] = [Moment::Connected, Moment::Sent(100_000)];

/// Talks to an echo while the agent injects messages at several moments of the session, the handshake included.
async fn survives(messages: Vec<Bytes>) {
    survives_at(&[EARLY, LATE].concat(), messages).await;
}

async fn survives_at(moments: &[Moment], messages: Vec<Bytes>) {
    let injections = moments
        .iter()
        .flat_map(|when| messages.iter().map(|message| Injection { when: *when, message: message.clone() }));
    let injections = injections.collect();
    let bench =
        Bench::new().port(ECHO, echo().await).agent(|agent| agent.injections = injections).start().await;
    let data = noise(1, MIB / 2);
    let mut connect = bench.connect(ECHO, &[]).start();
    for part in data.chunks(MIB / 16) {
        connect.round_trip(part).await;
    }
    // Nothing is left over, either.
    let finished = connect.close_and_finish().await.exits(0).silent();
    assert_eq!(finished.stdout, b"");
    bench.settle().await;
    assert_eq!(bench.simulator.journal().calls("ResumeSession"), 0);
}

#[tokio::test]
async fn header_lengths_that_cannot_be_are_dropped() {
    let lengths = [0_u32, 1, 111, 113, 117, 200, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
    let with_length = |length: u32| evil(3, |raw| put(raw, HEADER_LENGTH, &length.to_be_bytes()));
    survives(lengths.into_iter().map(with_length).collect()).await;
}

#[tokio::test]
async fn short_messages_are_dropped() {
    let lengths = [0, 1, 4, 36, 112, 116, 119, 120, 121];
    survives(lengths.into_iter().map(|length| evil(3, |raw| raw.truncate(length))).collect()).await;
}

#[tokio::test]
async fn payloads_that_do_not_fit_their_digest_are_dropped() {
    let changed = evil(3, |raw| *raw.last_mut().unwrap() ^= 1);
    let damaged = evil(4, |raw| raw[DIGEST] ^= 1);
    let empty = evil(5, |raw| raw[DIGEST..DIGEST + 32].fill(0));
    survives(vec![changed, damaged, empty]).await;
}

#[tokio::test]
async fn unknown_message_types_are_dropped() {
    let named = |name: &'static [u8; 32]| evil(3, |raw| put(raw, MESSAGE_TYPE, name));
    survives(vec![
        named(b"telepathy                       "),
        named(b"                                "),
        named(b"output_stream_datum\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        named(&[0xff; 32]),
        evil(3, |raw| raw[MESSAGE_TYPE..MESSAGE_TYPE + 32].fill(0)),
    ])
    .await;
}

#[tokio::test]
async fn sequence_numbers_out_of_range_are_dropped() {
    let numbers = [-1, i64::MIN, i64::MAX, 1 << 40];
    survives(numbers.into_iter().map(|number| evil(number, |_| {})).collect()).await;
}

#[tokio::test]
async fn duplicates_are_written_once() {
    survives_at(&LATE, vec![evil(0, |_| {}), evil(1, |_| {}), evil(1, |_| {})]).await;
}

#[tokio::test]
async fn words_for_messages_that_were_never_sent_are_ignored() {
    let acknowledge = |payload: &'static str| {
        let id = Rng::new(9).uuid();
        AgentMessage::new(MessageKind::Acknowledge, 1_700_000_000_000, id, payload.into()).encode()
    };
    let stray = r#"{"AcknowledgedMessageType":"input_stream_data","AcknowledgedMessageId":
        "00000000-0000-0000-0000-000000000000","AcknowledgedMessageSequenceNumber":-7,"IsSequentialMessage":true}"#;
    survives(vec![acknowledge(stray), acknowledge("{"), acknowledge(""), acknowledge("[1,2]")]).await;
}

#[tokio::test]
async fn other_payloads_under_used_numbers_do_not_reach_the_output() {
    let of_type = |payload_type: u32| {
        let payload = Bytes::copy_from_slice(&flag::CONNECT_TO_PORT_ERROR.to_be_bytes());
        let id = Rng::new(u64::from(payload_type)).uuid();
        let mut frame = AgentMessage::new(MessageKind::OutputStreamData, 1_700_000_000_000, id, payload);
        (frame.sequence, frame.payload_type) = (1, payload_type);
        frame.encode()
    };
    survives_at(&LATE, [payload_type::FLAG, 0, 77, u32::MAX].into_iter().map(of_type).collect()).await;
}

#[tokio::test]
async fn damaged_digests_and_lost_acknowledgements_cost_time_and_no_bytes() {
    let data = noise(2, MIB);
    let bench = Bench::new().port(ECHO, echo().await).faults(|faults| {
        for path in [&mut faults.to_agent, &mut faults.to_client] {
            (path.lost_acks, path.corrupt_digest) = (0.01, 0.01);
        }
    });
    let bench = bench.agent(|agent| agent.payload_size = 8 << 10).start().await;
    let finished =
        bench.connect(ECHO, &["--linger", "5"]).input(data.clone()).finish().await.exits(0).silent();
    assert_eq!(digest(&finished.stdout), digest(&data));
    bench.settle().await;
}
