//! The agent on virtual time, against messages written by hand.

#![allow(clippy::disallowed_methods, reason = "a starting point for virtual time")]

use serde_json::{Value, json};

use super::message::{AgentMessage, MessageKind, flag};
use super::*;

mod basic;
mod mux;

const UNIX_MS: u64 = 1_700_000_000_000;

struct Bench {
    agent: Agent,
    now: Instant,
    ids: Rng,
}

impl Bench {
    fn new(config: AgentConfig) -> Self {
        let now = Instant::now();
        let mut bench = Self { agent: Agent::new(now, UNIX_MS, config, 1), now, ids: Rng::new(99) };
        let state = bench.next().expect("a state");
        assert_eq!(state.message_type, MessageKind::AgentSessionState);
        bench
    }

    /// An agent whose handshake is complete and whose destination is connected.
    fn connected(config: AgentConfig) -> Self {
        let mut bench = Self::new(config);
        bench.handshake();
        assert_eq!(bench.agent.poll_action(), Some(Action::Dial { host: None, port: 22 }));
        bench.agent.destination_connected(bench.now);
        bench
    }

    fn handshake(&mut self) {
        self.handshake_with("1.2.764.0");
    }

    fn handshake_with(&mut self, client_version: &str) {
        let request = self.next().expect("a request");
        assert_eq!(
            (request.sequence, request.flags, request.payload_type),
            (0, 1, payload_type::HANDSHAKE_REQUEST)
        );
        self.acknowledge(0);
        self.respond(client_version, 1);
        assert_eq!(self.next_ack(), 0);
        assert_eq!(self.next().expect("an end").payload_type, payload_type::HANDSHAKE_COMPLETE);
        self.acknowledge(1);
    }

    fn next(&mut self) -> Option<AgentMessage> {
        self.agent
            .poll_transmit()
            .map(|message| AgentMessage::parse(&message).expect("the agent's own frames parse"))
    }

    fn next_ack(&mut self) -> i64 {
        let frame = self.next().expect("an acknowledgement");
        assert_eq!((&frame.message_type, frame.flags), (&MessageKind::Acknowledge, 3));
        let json: Value = serde_json::from_slice(&frame.payload).unwrap();
        json["AcknowledgedMessageSequenceNumber"].as_i64().unwrap()
    }

    fn stream(&mut self, sequence: i64, payload_type: u32, payload: &[u8]) {
        let mut frame = AgentMessage::new(
            MessageKind::InputStreamData,
            UNIX_MS,
            self.ids.uuid(),
            Bytes::copy_from_slice(payload),
        );
        frame.sequence = sequence;
        frame.payload_type = payload_type;
        self.agent.handle_message(self.now, &frame.encode());
    }

    fn data(&mut self, sequence: i64, payload: &[u8]) {
        self.stream(sequence, payload_type::OUTPUT, payload);
    }

    fn flag(&mut self, sequence: i64, value: u32) {
        self.stream(sequence, payload_type::FLAG, &value.to_be_bytes());
    }

    fn respond(&mut self, version: &str, status: i64) {
        let action =
            json!({ "ActionType": "SessionType", "ActionStatus": status, "ActionResult": null, "Error": "" });
        let response =
            json!({ "ClientVersion": version, "ProcessedClientActions": [action], "Errors": null });
        self.stream(0, payload_type::HANDSHAKE_RESPONSE, response.to_string().as_bytes());
    }

    fn acknowledge(&mut self, sequence: i64) {
        let json = json!({ "AcknowledgedMessageType": "output_stream_data", "AcknowledgedMessageId": "",
            "AcknowledgedMessageSequenceNumber": sequence, "IsSequentialMessage": true });
        self.control(MessageKind::Acknowledge, json.to_string());
    }

    fn control(&mut self, message_type: MessageKind, payload: String) {
        let frame = AgentMessage::new(message_type, UNIX_MS, self.ids.uuid(), payload.into());
        self.agent.handle_message(self.now, &frame.encode());
    }

    fn wait(&mut self, milliseconds: u64) {
        let end = self.now + Duration::from_millis(milliseconds);
        while let Some(at) = self.agent.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.agent.handle_timeout(self.now);
        }
        self.now = end;
        self.agent.handle_timeout(end);
    }

    fn ended(&mut self) -> Option<(Status, String)> {
        std::iter::from_fn(|| self.agent.poll_action()).find_map(|action| match action {
            Action::Ended { status, output } => Some((status, output)),
            Action::Dial { .. } | Action::Write(_) | Action::CloseDestination => None,
        })
    }
}

#[test]
fn the_request_is_resent_until_acknowledged_and_times_out_after_15_s() {
    let mut bench = Bench::new(AgentConfig::default());
    let first = bench.agent.poll_transmit().unwrap();
    bench.wait(299);
    assert_eq!(bench.agent.poll_transmit(), None);
    bench.wait(2);
    assert_eq!(bench.agent.poll_transmit(), Some(first), "a resend is byte-identical");
    bench.wait(14_700);
    let output = bench.ended();
    assert_eq!(output, None, "it flushes first");
    bench.wait(2_000);
    let (status, output) = bench.ended().unwrap();
    assert_eq!(status, Status::Failed);
    assert!(output.starts_with(
        "\n----------ERROR-------\nEncountered error while initiating handshake. Handshake timed out."
    ));
}

#[test]
fn a_refused_action_fails_the_session() {
    let mut bench = Bench::new(AgentConfig::default());
    bench.acknowledge(0);
    bench.respond("1.2.764.0", 3);
    let (status, output) = bench.ended().unwrap();
    assert_eq!(status, Status::Failed);
    assert!(output.ends_with("SessionType failed on client with status 3 error: "), "{output}");
}

#[test]
fn data_before_the_handshake_is_complete_is_acknowledged_and_lost() {
    let mut bench =
        Bench::new(AgentConfig { complete_window: Duration::from_millis(1), ..AgentConfig::default() });
    bench.handshake();
    bench.data(1, b"lost");
    assert_eq!(bench.next_ack(), 1);
    assert_eq!(bench.agent.record().count(Fate::Discarded), 1);
    bench.wait(1);
    assert!(matches!(bench.agent.poll_action(), Some(Action::Dial { .. })));
}

#[test]
fn data_before_the_destination_is_connected_gets_no_answer_until_it_is_resent() {
    let mut bench = Bench::new(AgentConfig::default());
    bench.handshake();
    bench.data(1, b"early");
    bench.data(2, b"later");
    assert_eq!(bench.next_ack(), 2, "what comes after is buffered and acknowledged");
    assert!(bench.agent.poll_action().is_some());
    bench.agent.destination_connected(bench.now);
    assert_eq!(bench.next(), None);
    bench.data(1, b"early");
    assert_eq!(bench.agent.poll_action(), Some(Action::Write(Bytes::from_static(b"early"))));
    bench.agent.destination_wrote(bench.now, 5);
    assert_eq!(bench.next_ack(), 1);
    assert_eq!(bench.agent.poll_action(), Some(Action::Write(Bytes::from_static(b"later"))));
    bench.agent.destination_wrote(bench.now, 5);
    assert_eq!(bench.next(), None, "it was acknowledged when it came");
    assert_eq!(bench.agent.record().bytes_written, 10);
}

#[test]
fn an_acknowledgement_means_written_and_a_blocked_write_blocks_the_reader() {
    let mut bench = Bench::connected(AgentConfig::default());
    bench.data(1, b"abcd");
    bench.flag(2, flag::TERMINATE_SESSION);
    bench.agent.destination_wrote(bench.now, 3);
    assert_eq!(bench.next(), None);
    assert_eq!(bench.agent.backlog(), 1);
    bench.agent.destination_wrote(bench.now, 1);
    assert_eq!((bench.next_ack(), bench.next_ack()), (1, 2));
    assert_eq!(bench.ended(), Some((Status::Success, String::new())));
}

#[test]
fn duplicates_are_acknowledged_again_and_not_written_again() {
    for (acks_duplicates, acks) in [(true, 2), (false, 1)] {
        let mut bench = Bench::connected(AgentConfig { acks_duplicates, ..AgentConfig::default() });
        bench.data(1, b"x");
        bench.agent.destination_wrote(bench.now, 1);
        bench.data(1, b"x");
        assert_eq!(std::iter::from_fn(|| bench.next()).count(), acks);
        assert_eq!((bench.agent.record().duplicates, bench.agent.record().bytes_written), (1, 1));
    }
}

#[test]
fn early_messages_beyond_the_capacity_are_dropped() {
    let mut bench = Bench::connected(AgentConfig { incoming_capacity: 1, ..AgentConfig::default() });
    bench.data(3, b"kept");
    bench.data(4, b"dropped");
    assert_eq!(bench.next_ack(), 3);
    assert_eq!(bench.next(), None);
    assert_eq!(bench.agent.record().count(Fate::Dropped), 1);
}

#[test]
fn reads_are_paced_and_cut_to_the_payload_size() {
    let mut bench = Bench::connected(AgentConfig::default());
    assert!(bench.agent.ready_for_data());
    bench.agent.destination_data(bench.now, &[7; 1500]);
    assert!(!bench.agent.ready_for_data());
    assert_eq!(bench.next().unwrap().payload.len(), 1024);
    let second = bench.next().unwrap();
    assert_eq!((second.sequence, second.flags, second.payload.len()), (3, 0, 476));
    bench.wait(1);
    assert!(!bench.agent.ready_for_data());
    bench.wait(1);
    assert!(bench.agent.ready_for_data());
}

#[test]
fn a_pause_stops_data_until_any_input() {
    let mut bench = Bench::connected(AgentConfig::default());
    bench.control(MessageKind::PausePublication, String::new());
    assert!(!bench.agent.ready_for_data());
    bench.agent.destination_data(bench.now, b"held");
    bench.wait(500);
    assert_eq!(bench.next(), None);
    bench.acknowledge(1);
    assert!(bench.agent.ready_for_data());
    bench.wait(100);
    assert_eq!(bench.next().unwrap().payload, "held");
}

#[test]
fn the_end_of_the_destination_is_flushed_for_at_most_2_s() {
    let mut bench = Bench::connected(AgentConfig::default());
    bench.agent.destination_data(bench.now, b"tail");
    bench.agent.destination_eof(bench.now);
    assert_eq!(bench.agent.poll_action(), Some(Action::CloseDestination));
    bench.wait(1_000);
    assert_eq!(bench.agent.poll_action(), None);
    bench.acknowledge(2);
    assert_eq!(bench.ended(), Some((Status::Success, String::new())));

    let mut bench = Bench::connected(AgentConfig::default());
    bench.agent.destination_data(bench.now, b"tail");
    bench.agent.destination_reset(bench.now);
    bench.wait(2_000);
    assert_eq!(bench.ended(), Some((Status::Failed, String::new())));
}

#[test]
fn a_refused_port_is_reported_at_once_or_as_late_as_the_real_service_does() {
    for delay in [0, 60_000] {
        let refusal_delay = Duration::from_millis(delay);
        let mut bench = Bench::new(AgentConfig { refusal_delay, ..AgentConfig::default() });
        bench.handshake();
        bench.agent.destination_failed(bench.now, "dial tcp 127.0.0.1:22: connect: connection refused");
        if delay > 0 {
            assert_eq!(bench.ended(), None);
            bench.data(1, b"into the void");
            assert_eq!(bench.next(), None);
            bench.wait(delay);
        }
        let output =
            "Unable to connect to specified port: dial tcp 127.0.0.1:22: connect: connection refused";
        assert_eq!(bench.ended(), Some((Status::Failed, output.to_owned())));
    }
}

#[test]
fn sizes_are_acknowledged_and_ignored() {
    let mut bench = Bench::connected(AgentConfig::default());
    bench.stream(1, payload_type::SIZE, br#"{"cols":80,"rows":24}          "#);
    assert_eq!(bench.next_ack(), 1);
    assert_eq!(bench.agent.poll_action(), None);
}

#[test]
fn disconnect_to_port_fails_a_plain_session() {
    let mut bench = Bench::connected(AgentConfig::default());
    bench.flag(1, flag::DISCONNECT_TO_PORT);
    assert_eq!(bench.next_ack(), 1);
    assert_eq!(bench.agent.poll_action(), Some(Action::CloseDestination));
    assert_eq!(bench.ended(), Some((Status::Failed, String::new())));
}

#[test]
fn a_second_handshake_response_blocks_the_reader_for_good() {
    let mut bench = Bench::connected(AgentConfig::default());
    let response = br#"{"ClientVersion":"1.2.764.0","ProcessedClientActions":[]}"#;
    bench.stream(1, payload_type::HANDSHAKE_RESPONSE, response);
    bench.data(2, b"x");
    assert_eq!(bench.next(), None);
    assert_eq!(bench.agent.record().count(Fate::BlockedReader), 1);
}

#[test]
fn a_message_whose_write_outlives_the_socket_is_written_twice() {
    let mut bench = Bench::connected(AgentConfig::default());
    bench.data(1, b"x");
    bench.agent.detach(bench.now);
    bench.agent.destination_wrote(bench.now, 1);
    bench.agent.attach(bench.now);
    bench.data(1, b"x");
    bench.agent.destination_wrote(bench.now, 1);
    assert_eq!(bench.next_ack(), 1);
    assert_eq!(bench.agent.record().bytes_written, 2);
}

#[test]
fn hostile_frames_are_sent_at_their_moments() {
    let injections = vec![
        Injection { when: Moment::Connected, message: Bytes::from_static(b"one") },
        Injection { when: Moment::Sent(3), message: Bytes::from_static(b"two") },
    ];
    let mut bench = Bench::connected(AgentConfig { injections, ..AgentConfig::default() });
    assert_eq!(bench.agent.poll_transmit(), Some(Bytes::from_static(b"one")));
    bench.agent.destination_data(bench.now, b"abc");
    assert_eq!(bench.next().unwrap().payload, "abc");
    assert_eq!(bench.agent.poll_transmit(), Some(Bytes::from_static(b"two")));
}

#[test]
fn what_it_receives_is_on_record() {
    let mut bench = Bench::connected(AgentConfig { records_payloads: true, ..AgentConfig::default() });
    let mut frame = AgentMessage::new(
        MessageKind::InputStreamData,
        UNIX_MS,
        bench.ids.uuid(),
        Bytes::from_static(b"bad"),
    );
    frame.sequence = 1;
    frame.payload_type = payload_type::OUTPUT;
    let mut raw = frame.encode().to_vec();
    raw[80] ^= 1;
    bench.agent.handle_message(bench.now, &raw);
    bench.agent.handle_message(bench.now, b"short");
    bench.agent.destination_wrote(bench.now, 3);
    let record = bench.agent.record();
    assert_eq!((record.digest_mismatches, record.malformed), (1, 1));
    let last = record.received.last().unwrap();
    assert_eq!(
        (last.fate, last.digest_ok, last.payload.as_deref()),
        (Fate::Writing, false, Some(&b"bad"[..]))
    );
    assert_eq!(record.client_version.as_deref(), Some("1.2.764.0"));
}

#[test]
fn channel_closed_ends_it() {
    let mut bench = Bench::connected(AgentConfig::default());
    bench.control(MessageKind::ChannelClosed, "{}".to_owned());
    assert_eq!(bench.ended(), Some((Status::Success, String::new())));
    assert!(bench.agent.is_ended() && bench.agent.poll_timeout().is_none());
}
