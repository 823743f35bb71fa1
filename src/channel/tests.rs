//! The channel with hand-made frames. `tests/pair` tests it with a simulated agent over a bad link.

use serde_json::{Value, json};

use super::frame::{Frame, Header};
use super::message::MessageType;
use super::*;

/// Where virtual time starts.
#[expect(
    clippy::disallowed_methods,
    reason = "virtual time has to start somewhere, and std has no other instant"
)]
pub(crate) fn start() -> Now {
    Now { instant: Instant::now(), unix_ms: 1_700_000_000_000 }
}

/// A channel, the time, and the agent's next sequence number.
pub(crate) struct Bench {
    pub(crate) channel: Channel,
    pub(crate) now: Now,
    next: i64,
}

impl Bench {
    fn new() -> Self {
        let now = start();
        let mut seed = 0u8;
        let random = move |bytes: &mut [u8]| {
            seed = seed.wrapping_add(1);
            bytes.fill(seed);
        };
        let mut channel = Channel::new(now, ChannelSettings::default(), Box::new(random));
        channel.attach(now, "first token");
        Self { channel, now, next: 0 }
    }

    /// Returns a channel whose handshake is complete and whose output so far is discarded.
    pub(crate) fn open() -> Self {
        let mut bench = Self::new();
        bench.agent_sends(PayloadType::HandshakeRequest, REQUEST);
        bench.agent_sends(PayloadType::HandshakeComplete, b"{}");
        bench.agent_sends(PayloadType::Output, b"banner");
        bench.transmits();
        bench.acknowledge(0);
        bench.events();
        bench
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.channel.handle_timeout(self.now);
    }

    fn agent_sends(&mut self, payload_type: PayloadType, payload: &[u8]) {
        let number = self.next;
        self.next += 1;
        self.agent_sends_as(number, payload_type, payload);
    }

    fn agent_sends_as(&mut self, sequence_number: i64, payload_type: PayloadType, payload: &[u8]) {
        self.deliver(MessageType::OutputStreamData, sequence_number, payload_type, payload);
    }

    fn acknowledge(&mut self, number: i64) {
        let body = json!({ "AcknowledgedMessageType": "input_stream_data", "AcknowledgedMessageId": "x",
            "AcknowledgedMessageSequenceNumber": number, "IsSequentialMessage": true });
        self.deliver(MessageType::Acknowledge, 0, PayloadType::None, body.to_string().as_bytes());
    }

    fn deliver(
        &mut self,
        message_type: MessageType,
        sequence_number: i64,
        payload_type: PayloadType,
        payload: &[u8],
    ) {
        let message_id = Uuid::from_u128(sequence_number.cast_unsigned().into());
        let header =
            Header { message_type, sequence_number, flags: 0, created_date: 1, message_id, payload_type };
        self.channel.handle_frame(self.now, &header.encode(payload));
    }

    fn transmits(&mut self) -> Vec<Frame> {
        let (channel, now) = (&mut self.channel, self.now);
        std::iter::from_fn(|| channel.poll_transmit(now))
            .filter_map(|transmit| match transmit {
                Transmit::Text(_) => None,
                Transmit::Binary(frame) => Some(Frame::parse(&frame).unwrap()),
            })
            .collect()
    }

    /// Returns the stream messages that are sent now, with their payload types, and acknowledges each.
    pub(crate) fn arrivals(&mut self) -> Vec<(String, Bytes)> {
        let stream = |frame: &Frame| frame.message_type == MessageType::InputStreamData;
        let sent: Vec<Frame> = self.transmits().into_iter().filter(stream).collect();
        sent.iter().for_each(|frame| self.acknowledge(frame.sequence_number));
        sent.into_iter()
            .map(|frame| {
                (frame.payload_type.map(|name| format!("{name:?}")).unwrap_or_default(), frame.payload)
            })
            .collect()
    }

    /// Returns the payloads of the stream data that is sent now.
    fn sent(&mut self) -> Vec<Bytes> {
        let stream = |frame: &Frame| frame.message_type == MessageType::InputStreamData;
        self.transmits().into_iter().filter(stream).map(|frame| frame.payload).collect()
    }

    /// Returns the sequence numbers that are acknowledged now.
    fn acknowledged(&mut self) -> Vec<i64> {
        let number = |frame: &Frame| {
            let body: Value = serde_json::from_slice(&frame.payload).ok()?;
            body["AcknowledgedMessageSequenceNumber"].as_i64()
        };
        self.transmits()
            .iter()
            .filter(|frame| frame.message_type == MessageType::Acknowledge)
            .filter_map(number)
            .collect()
    }

    fn events(&mut self) -> Vec<ChannelEvent> {
        std::iter::from_fn(|| self.channel.poll_event()).collect()
    }
}

const REQUEST: &[u8] = br#"{"AgentVersion":"3.3.987.0","RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Port","Properties":{"portNumber":"22"}}}]}"#;

fn data(bytes: &'static [u8]) -> ChannelEvent {
    ChannelEvent::Data(Bytes::from_static(bytes))
}

#[test]
fn every_websocket_is_opened_with_its_token_and_the_same_client_id() {
    let mut bench = Bench::new();
    let open = |bench: &mut Bench| match bench.channel.poll_transmit(bench.now) {
        Some(Transmit::Text(text)) => serde_json::from_str::<Value>(&text).unwrap(),
        other => panic!("{other:?}"),
    };
    let first = open(&mut bench);
    bench.channel.detach(bench.now);
    assert_eq!(bench.channel.poll_transmit(bench.now), None);
    bench.channel.attach(bench.now, "second token");
    let second = open(&mut bench);
    assert_eq!(
        (&first["TokenValue"], &second["TokenValue"]),
        (&json!("first token"), &json!("second token"))
    );
    assert_eq!(first["ClientId"], second["ClientId"]);
    assert_ne!(first["RequestId"], second["RequestId"]);
    assert_eq!(
        (&first["MessageSchemaVersion"], &first["ClientVersion"]),
        (&json!("1.0"), &json!("1.2.764.0"))
    );
    assert_eq!(first.as_object().unwrap().len(), 5);
}

#[test]
fn input_waits_for_the_first_output_or_ten_milliseconds_after_the_handshake() {
    for sends_first in [true, false] {
        let mut bench = Bench::new();
        assert_eq!(bench.channel.write(b"input"), 5);
        bench.agent_sends(PayloadType::HandshakeRequest, REQUEST);
        assert_eq!(bench.sent().len(), 1, "the handshake's response alone");
        bench.agent_sends(
            PayloadType::HandshakeComplete,
            br#"{"HandshakeTimeToComplete":1,"CustomerMessage":"hi"}"#,
        );
        let connected = ChannelEvent::Connected {
            agent: AgentVersion::parse("3.3.987.0"),
            mode: Mode::Single,
            customer_message: "hi".to_owned(),
        };
        assert_eq!(bench.events(), [connected]);
        assert!(bench.sent().is_empty());
        if sends_first {
            bench.agent_sends(PayloadType::Output, b"banner");
        } else {
            assert_eq!(bench.channel.poll_timeout().unwrap().1, Timer::HoldInput);
            bench.pass(Duration::from_millis(10));
        }
        assert_eq!(bench.sent(), [&b"input"[..]]);
    }
}

#[test]
fn each_stream_message_is_acknowledged_and_duplicates_again() {
    let mut bench = Bench::open();
    bench.agent_sends_as(5, PayloadType::Output, b"late");
    bench.agent_sends_as(4, PayloadType::Output, b"also");
    assert_eq!(bench.acknowledged(), [5, 4], "early ones are acknowledged when they are kept");
    assert!(bench.events().is_empty());
    bench.agent_sends_as(3, PayloadType::Output, b"first");
    assert_eq!(bench.acknowledged(), [3]);
    assert_eq!(bench.events(), [data(b"first"), data(b"also"), data(b"late")]);
    bench.agent_sends_as(4, PayloadType::Output, b"also");
    assert_eq!(
        bench.acknowledged(),
        [4],
        "without it, a lost acknowledgement would stop the agent's resends"
    );
    assert!(bench.events().is_empty());
}

#[test]
fn damaged_and_unknown_messages_are_dropped_without_acknowledgement() {
    let mut bench = Bench::open();
    let good = Header {
        message_type: MessageType::OutputStreamData,
        sequence_number: 3,
        flags: 0,
        created_date: 1,
        message_id: Uuid::nil(),
        payload_type: PayloadType::Output,
    };
    let mut damaged = good.encode(b"payload").to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    bench.channel.handle_frame(bench.now, &damaged.into());
    bench.channel.handle_frame(bench.now, &Bytes::from_static(b"short"));
    bench.agent_sends_as(-1, PayloadType::Output, b"negative");
    bench.deliver(MessageType::InputStreamData, 3, PayloadType::Output, b"an echo of our own");
    assert!(bench.transmits().is_empty());
    assert!(bench.events().iter().all(|event| matches!(event, ChannelEvent::Dropped(_))));
    bench.agent_sends_as(3, PayloadType::Other(4711), b"from the future");
    assert_eq!(bench.acknowledged(), [3], "an unknown payload type uses a sequence number too");
    bench.agent_sends_as(4, PayloadType::Output, b"goes on");
    assert!(bench.events().contains(&data(b"goes on")));
}

#[test]
fn a_single_newline_is_unchanged_in_both_directions() {
    let mut bench = Bench::open();
    bench.channel.write(b"\n");
    assert_eq!(bench.sent(), [&b"\n"[..]]);
    bench.agent_sends(PayloadType::Output, b"\n");
    assert_eq!(bench.events(), [data(b"\n")]);
}

#[test]
fn a_pause_delays_new_data_but_not_resends() {
    let mut bench = Bench::open();
    bench.channel.write(b"before");
    assert_eq!(bench.sent().len(), 1);
    bench.deliver(MessageType::PausePublication, 0, PayloadType::None, b"x");
    bench.channel.write(b"after");
    assert!(bench.sent().is_empty());
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.sent(), [&b"before"[..]], "a resend");
    bench.deliver(MessageType::StartPublication, 0, PayloadType::None, b"x");
    assert_eq!(bench.sent(), [&b"after"[..]]);
    bench.deliver(MessageType::PausePublication, 0, PayloadType::None, b"x");
    bench.channel.write(b"at last");
    bench.pass(Duration::from_secs(10));
    assert!(bench.sent().contains(&Bytes::from_static(b"at last")), "a pause without start_publication ends");
}

#[test]
fn a_new_websocket_repeats_acknowledgements_and_unacknowledged_messages() {
    let mut bench = Bench::open();
    bench.channel.write(b"unacknowledged");
    assert_eq!(bench.sent().len(), 1);
    bench.channel.detach(bench.now);
    assert_eq!(bench.channel.poll_timeout(), None, "no timer runs while the channel is detached");
    bench.pass(Duration::from_secs(300));
    bench.channel.attach(bench.now, "token");
    let frames = bench.transmits();
    let kinds: Vec<_> = frames.iter().map(|frame| frame.message_type).collect();
    use MessageType::{Acknowledge, InputStreamData};
    assert_eq!(kinds, [Acknowledge, Acknowledge, Acknowledge, InputStreamData]);
    assert_eq!((frames[3].sequence_number, &frames[3].payload[..]), (1, &b"unacknowledged"[..]));
}

#[test]
fn a_new_websocket_repeats_each_acknowledgement_once_however_often_it_was_cut() {
    let mut bench = Bench::open();
    for number in 3..103 {
        bench.agent_sends_as(number, PayloadType::Output, b"x");
    }
    bench.agent_sends_as(0, PayloadType::HandshakeRequest, REQUEST);
    for _ in 0..1000 {
        bench.channel.detach(bench.now);
        bench.channel.attach(bench.now, "token");
    }
    assert_eq!(bench.acknowledged(), (0..103).collect::<Vec<_>>());
}

#[test]
fn a_flood_of_duplicates_that_cannot_be_acknowledged_stops_the_reading() {
    let mut bench = Bench::open();
    for _ in 0..OWED {
        assert!(!bench.channel.owes_too_much());
        bench.agent_sends_as(2, PayloadType::Output, b"banner");
    }
    assert!(bench.channel.owes_too_much());
    assert_eq!(bench.acknowledged().len(), OWED);
    assert!(!bench.channel.owes_too_much());
}

#[test]
fn a_resend_has_the_same_bytes() {
    let mut bench = Bench::open();
    bench.channel.write(b"data");
    let first = bench.transmits();
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.transmits(), first);
}

#[test]
fn channel_closed_is_an_event_and_data_around_it_is_delivered() {
    let mut bench = Bench::open();
    bench.agent_sends(PayloadType::Output, b"tail");
    let body = br#"{"MessageType":"channel_closed","Output":"because"}"#;
    bench.deliver(MessageType::ChannelClosed, 0, PayloadType::None, body);
    assert_eq!(bench.events(), [data(b"tail"), ChannelEvent::Closed { output: "because".to_owned() }]);
    assert_eq!(bench.channel.capacity(), 0);
    bench.agent_sends(PayloadType::Output, b"overtaken");
    assert_eq!(bench.events(), [data(b"overtaken")], "channel_closed may overtake data");
}

#[test]
fn output_without_a_handshake_fails_as_a_shell() {
    let mut bench = Bench::new();
    bench.agent_sends(PayloadType::Output, b"sh-4.2$ ");
    assert_eq!(bench.events(), [ChannelEvent::Failed(ChannelError::NotAPort)]);
}

#[test]
fn write_accepts_what_fits_the_buffer() {
    let mut bench = Bench::open();
    let much = vec![7; BUFFER + 1];
    assert_eq!(bench.channel.write(&much), BUFFER);
    assert_eq!(bench.channel.write(&much), 0);
    let sent: usize = bench.sent().iter().map(Bytes::len).sum();
    assert_eq!(bench.channel.capacity(), sent);
    assert!(sent > 0 && !bench.channel.is_flushed());
}

#[test]
fn timers_for_arrivals_stop_while_the_caller_does_not_read() {
    let mut bench = Bench::open();
    bench.channel.write(b"unacknowledged");
    assert_eq!(bench.sent().len(), 1);
    bench.agent_sends_as(5, PayloadType::Output, b"after a gap");
    bench.channel.set_reading(bench.now, false);
    bench.pass(Duration::from_secs(500));
    assert!(bench.sent().is_empty() && bench.events().is_empty());
    bench.channel.set_reading(bench.now, true);
    bench.pass(Duration::from_secs(119));
    assert!(!bench.events().iter().any(|event| matches!(event, ChannelEvent::Failed(_))));
    bench.pass(Duration::from_secs(1));
    assert!(bench.events().contains(&ChannelEvent::Failed(ChannelError::Gap { missing: 3 })));
}

#[test]
fn arrived_bytes_are_counted_up_to_the_first_gap() {
    let mut bench = Bench::open();
    assert_eq!(bench.channel.write(&[7; 3000]), 3000);
    assert_eq!(bench.sent().len(), 3);
    assert_eq!(bench.channel.arrived(), 0);
    bench.acknowledge(2);
    assert_eq!(bench.channel.arrived(), 0, "the first message may be lost");
    bench.acknowledge(1);
    assert_eq!(bench.channel.arrived(), 2048);
    bench.acknowledge(3);
    assert_eq!(bench.channel.arrived(), 3000);
}

#[test]
fn send_room_is_what_can_be_sent_soon() {
    let mut bench = Bench::open();
    let send_room = bench.channel.send_room();
    assert_eq!(send_room, 2 * SAFE_PAYLOAD);
    bench.channel.write(&vec![7; send_room]);
    assert_eq!(bench.channel.send_room(), 0);
    bench.transmits();
    assert_eq!(bench.channel.send_room(), send_room, "sent bytes free room");
    while !bench.sent().is_empty() || bench.channel.send_room() > 0 {
        bench.channel.write(&vec![7; bench.channel.send_room()]);
    }
    assert!(
        bench.channel.capacity() > 0,
        "a full window leaves no send room although the buffer has capacity"
    );
}

#[test]
fn a_session_is_kept_open_by_a_minimal_size_message() {
    let mut bench = Bench::open();
    bench.channel.keep_open();
    assert_eq!(bench.sent(), [Bytes::from_static(br#"{"cols":80,"rows":24}"#)]);
    assert_eq!(bench.channel.arrived(), 0);
}

#[test]
fn a_stall_begins_with_the_last_acknowledgement_or_the_oldest_unacknowledged_message() {
    let mut bench = Bench::open();
    assert_eq!(bench.channel.stalled_since(), None);
    bench.pass(Duration::from_secs(5));
    bench.channel.write(&[7; 2000]);
    bench.sent();
    let sent_at = bench.now.instant;
    assert_eq!(bench.channel.stalled_since(), Some(sent_at));
    bench.pass(Duration::from_millis(100));
    bench.acknowledge(1);
    assert_eq!(bench.channel.stalled_since(), Some(sent_at + Duration::from_millis(100)));
    bench.channel.set_reading(bench.now, false);
    bench.pass(Duration::from_secs(100));
    assert_eq!(bench.channel.stalled_since(), None, "the caller does not read");
    bench.channel.set_reading(bench.now, true);
    assert_eq!(bench.channel.stalled_since(), Some(bench.now.instant));
    bench.channel.detach(bench.now);
    assert_eq!(bench.channel.stalled_since(), None, "an outage is not a stall");
}

#[test]
fn a_refused_connection_is_reported_in_order_with_the_data() {
    let mut bench = Bench::open();
    bench.agent_sends(PayloadType::Output, b"before");
    bench.agent_sends(PayloadType::Flag, &3u32.to_be_bytes());
    bench.agent_sends(PayloadType::Output, b"after");
    assert_eq!(bench.events(), [data(b"before"), ChannelEvent::PortRefused, data(b"after")]);
}
