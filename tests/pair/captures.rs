//! Sessions that were recorded with the real agent (tests/captures): the channel gets the agent's messages, and the simulated
//! agent the client's.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fumidai::channel::{Channel, ChannelEvent, ChannelSettings, Transmit};
use fumidai::sim::agent::message::{AgentMessage, MessageKind, payload_type};
use fumidai::sim::agent::{Action, Agent, AgentConfig};
use serde_json::{Value, json};

use crate::pair::{later, start};

const RECORDED: [&str; 6] =
    ["agent-close", "forward-mux", "half-close", "swapped", "terminate-api", "terminate-flag"];

/// A recorded message.
struct Line {
    at: Duration,
    from_client: bool,
    data: Bytes,
    message: AgentMessage,
}

/// A recorded session: its header, and its messages in the order of their arrival.
struct Recording {
    header: Value,
    lines: Vec<Line>,
}

impl Recording {
    fn read(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
        let text = fs::read_to_string(folder.join(name).with_extension("jsonl")).expect("a recording");
        let values: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let late = |number: &Value| values.iter().any(|one| one["event"] == "late" && one["n"] == *number);
        let mut lines: Vec<Line> = Vec::new();
        let mut waiting: Vec<Line> = Vec::new();
        for value in values.iter().filter(|value| value["data"].is_string()) {
            let line = Line::read(value);
            if late(&value["n"]) {
                waiting.push(line);
                continue;
            }
            let from_client = line.from_client;
            lines.push(line);
            let (overtaken, others) = waiting.drain(..).partition(|one| one.from_client == from_client);
            lines.extend::<Vec<Line>>(overtaken);
            waiting = others;
        }
        lines.extend(waiting);
        Self { header: values[0].clone(), lines }
    }

    /// The payloads of one side's stream messages of a type, in the order of their numbers.
    fn payloads(&self, from_client: bool, payload_type: u32) -> Vec<Bytes> {
        let of_side = self.lines.iter().filter(|line| line.from_client == from_client && line.is_stream());
        let mut wanted: Vec<_> = of_side
            .filter(|line| line.message.payload_type == payload_type)
            .map(|line| &line.message)
            .collect();
        wanted.sort_by_key(|message| message.sequence);
        wanted.dedup_by_key(|message| message.sequence);
        wanted.into_iter().map(|message| message.payload.clone()).collect()
    }
}

impl Line {
    fn read(value: &Value) -> Self {
        let data = STANDARD.decode(value["data"].as_str().expect("base64")).expect("base64");
        let message = AgentMessage::parse(&data).expect("a message");
        let at = Duration::from_secs_f64(value["t_ms"].as_f64().expect("a time") / 1000.0);
        Self { at, from_client: value["from"] == "client", data: data.into(), message }
    }

    fn is_stream(&self) -> bool {
        matches!(self.message.message_type, MessageKind::InputStreamData | MessageKind::OutputStreamData)
    }
}

/// What the channel sends, parsed by the simulator's own code.
fn sent(channel: &mut Channel, now: fumidai::channel::Now) -> Vec<AgentMessage> {
    let all = std::iter::from_fn(|| channel.poll_transmit(now));
    all.filter_map(|transmit| match transmit {
        Transmit::Text(_) => None,
        Transmit::Binary(frame) => Some(AgentMessage::parse(&frame).expect("a message")),
    })
    .collect()
}

#[test]
fn the_channel_takes_what_the_real_agent_sent() {
    for name in RECORDED {
        let recording = Recording::read(name);
        let begin = start();
        let mut channel = Channel::new(begin, ChannelSettings::default(), Box::new(|bytes| bytes.fill(5)));
        channel.attach(begin, "token");
        let (mut output, mut events) = (Vec::new(), Vec::new());
        for line in &recording.lines {
            let now = later(begin, line.at);
            channel.handle_timeout(now);
            if !line.from_client {
                channel.handle_frame(now, &line.data);
            } else if line.message.payload_type == payload_type::OUTPUT {
                channel.write(&line.message.payload);
            }
            output.extend(sent(&mut channel, now));
            events.extend(std::iter::from_fn(|| channel.poll_event()));
        }
        let data = events.iter().filter_map(|event| {
            let ChannelEvent::Data(bytes) = event else { return None };
            Some(bytes.clone())
        });
        assert_eq!(
            data.collect::<Vec<_>>().concat(),
            recording.payloads(false, payload_type::OUTPUT).concat(),
            "{name}"
        );
        assert!(!events.iter().any(|event| matches!(event, ChannelEvent::Failed(_))), "{name}: {events:?}");
        let closed =
            recording.lines.iter().any(|line| line.message.message_type == MessageKind::ChannelClosed);
        assert_eq!(events.iter().any(|event| matches!(event, ChannelEvent::Closed { .. })), closed, "{name}");
        let acks = output.iter().filter(|message| message.message_type == MessageKind::Acknowledge).count();
        let messages = recording.lines.iter().filter(|line| !line.from_client && line.is_stream()).count();
        assert_eq!(acks, messages, "{name}: one acknowledgement a message");
        let response = output.iter().find(|message| message.payload_type == payload_type::HANDSHAKE_RESPONSE);
        let recorded = &recording.payloads(true, payload_type::HANDSHAKE_RESPONSE)[0];
        assert_eq!(&response.expect("a response").payload, recorded, "{name}");
    }
}

#[test]
fn the_simulated_agent_takes_what_the_client_sent_to_the_real_one() {
    for name in RECORDED.into_iter().filter(|name| *name != "forward-mux") {
        let recording = Recording::read(name);
        let begin = start();
        let port = recording.header["parameters"]["portNumber"][0].clone();
        let agent = AgentConfig { properties: json!({ "portNumber": port }), ..AgentConfig::default() };
        let mut agent = Agent::new(begin.instant, begin.unix_ms, agent, 1);
        let mut written = Vec::new();
        for line in recording.lines.iter().filter(|line| line.from_client) {
            let now = begin.instant + line.at;
            agent.handle_timeout(now);
            agent.handle_message(now, &line.data);
            while let Some(action) = agent.poll_action() {
                match action {
                    Action::Dial { .. } => agent.destination_connected(now),
                    Action::Write(bytes) => {
                        written.extend_from_slice(&bytes);
                        agent.destination_wrote(now, bytes.len());
                    }
                    Action::CloseDestination | Action::Ended { .. } => {}
                }
            }
        }
        assert_eq!(written, recording.payloads(true, payload_type::OUTPUT).concat(), "{name}");
        let record = agent.record();
        assert_eq!((record.malformed, record.digest_mismatches), (0, 0), "{name}");
        assert_eq!(record.terminated, !recording.payloads(true, payload_type::FLAG).is_empty(), "{name}");
    }
}
