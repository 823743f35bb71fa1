//! The agent's half of the data channel: a value without clock, socket or randomness.
//!
//! Mutate it with `(now, input)`, then drain [`Agent::poll_transmit`] and after it [`Agent::poll_action`] to empty, then
//! wait for the next message, the destination or [`Agent::poll_timeout`]. A multiplexed session has a connection for each
//! stream in place of the single destination: drain [`Agent::poll_stream_action`], too. The behaviour, faults included,
//! is that of the real agent (docs/protocol.md); [`AgentConfig`] makes it older, slower or hostile. A [`Record`] lists
//! what it received. It shares no code with the client's side of the protocol.

pub mod config;
mod destination;
mod handshake;
pub mod message;
mod mux;
pub mod port;
mod read_pace;
mod reader;
pub mod record;
mod rtt;
mod send_buffer;
mod sender;
pub mod smux;
mod version;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use self::config::{AgentConfig, Injection, KeepAlivePolicy, Moment, MuxConfig};
use self::message::{AgentMessage, payload_type};
use self::mux::Multiplexed;
use self::port::{ForwardTarget, PortMode};
use self::read_pace::ReadPace;
use self::reader::Reader;
pub use self::record::{Fate, Received, Record, StreamRecord};
use self::send_buffer::SendBuffer;
pub use self::smux::StreamAction;
use crate::sim::rng::Rng;

/// How long an agent that ends waits for the last acknowledgements.
const FLUSH: Duration = Duration::from_secs(2);

/// The agent's side of one session.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    start: Instant,
    unix_ms: u64,
    ids: Rng,
    phase: Phase,
    attached: bool,
    outbound: SendBuffer,
    expected: i64,
    early: BTreeMap<i64, AgentMessage>,
    reader: Reader,
    inbox: VecDeque<Bytes>,
    transmits: VecDeque<Bytes>,
    actions: VecDeque<Action>,
    stream_actions: VecDeque<StreamAction>,
    /// The driver's socket is full.
    congested: bool,
    record: Record,
}

/// A request to the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to the destination, then call one of `destination_connected` and `destination_failed`.
    Dial {
        /// The remote host; `None` is the target.
        host: Option<String>,
        /// The TCP port.
        port: u16,
    },
    /// Write to the destination, then call `destination_wrote`.
    Write(Bytes),
    /// Close the connection to the destination, both ways.
    CloseDestination,
    /// The agent has ended the session.
    Ended {
        /// The status for the service.
        status: Status,
        /// The text for the client, sent in channel_closed.
        output: String,
    },
}

/// The status of an ended session, as the agent reports it to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The destination or the client ended it.
    Success,
    /// It failed; the output may have the reason.
    Failed,
    /// It was cancelled before data could flow.
    Cancelled,
}

#[derive(Debug)]
enum Phase {
    /// The handshake request is sent; the response is awaited.
    Handshaking { deadline: Instant },
    /// HandshakeComplete is sent; data is still discarded.
    Settling { until: Instant, client_version: String },
    /// The handshake is complete; the dial has not begun.
    Starting { until: Instant, client_version: String },
    /// A multiplexed session waits for its host to be resolved.
    Resolving { target: ForwardTarget, client_version: String },
    /// The dial is in progress; `basic` is the destination that a basic session dials again.
    Dialing { basic: Option<ForwardTarget> },
    /// Data flows.
    Connected { pace: ReadPace, basic: Option<ForwardTarget> },
    /// The destination of a basic session is closed; the client's next data dials again.
    Disconnected { target: ForwardTarget },
    /// The payload waits for the second dial.
    Redialing { target: ForwardTarget, payload: Bytes },
    /// Streams are open or can be opened.
    Multiplexed(Box<Multiplexed>),
    /// The session has ended; the last messages may still be acknowledged.
    Flushing { until: Instant, status: Status, output: String },
    /// The worker has crashed; this is not yet reported to the service.
    Dead { report_at: Instant, output: String },
    /// Ended; nothing is sent or read.
    Ended,
}

impl Agent {
    /// Starts an agent on an open data channel; it sends its session state and the handshake request.
    pub fn new(now: Instant, unix_ms: u64, config: AgentConfig, seed: u64) -> Self {
        let mut agent = Self {
            start: now,
            unix_ms,
            ids: Rng::new(seed),
            phase: Phase::Handshaking { deadline: now + config.handshake_timeout },
            attached: true,
            outbound: SendBuffer::new(now, &config),
            expected: 0,
            early: BTreeMap::new(),
            reader: Reader::Free,
            inbox: VecDeque::new(),
            transmits: VecDeque::new(),
            actions: VecDeque::new(),
            stream_actions: VecDeque::new(),
            congested: false,
            record: Record::default(),
            config,
        };
        agent.send_state(now);
        agent.reach(Moment::Opened);
        let request = handshake::request(&agent.config.agent_version, &agent.config.properties);
        agent.send_stream(now, payload_type::HANDSHAKE_REQUEST, request);
        agent.reach(Moment::Requested);
        agent
    }

    /// Returns the record of the session.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Returns how many messages wait for a write to the destination; a driver applies back-pressure by it.
    pub fn backlog(&self) -> usize {
        self.inbox.len()
    }

    /// Returns whether the agent has ended.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Handles a message from the service.
    pub fn handle_message(&mut self, now: Instant, message: &[u8]) {
        if !matches!(self.phase, Phase::Dead { .. } | Phase::Ended) {
            self.inbox.push_back(Bytes::copy_from_slice(message));
            self.read_inbox(now);
            self.settle_streams(now);
        }
    }

    /// Handles expired timers.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        if !matches!(self.phase, Phase::Dead { .. } | Phase::Ended) {
            for message in self.outbound.scan(now) {
                self.record.resent += 1;
                self.send(message);
            }
        }
        self.read_inbox(now);
        self.settle_streams(now);
    }

    /// Stops the agent without notice, as if its process had crashed.
    pub fn crash(&mut self) {
        self.phase = Phase::Ended;
        self.inbox.clear();
        self.transmits.clear();
        self.actions.clear();
        self.stream_actions.clear();
    }

    /// Ends the session at the service's request, as after TerminateSession or a timeout.
    pub fn channel_closed(&mut self, now: Instant) {
        self.record.channel_closed = true;
        match self.phase {
            Phase::Flushing { .. } | Phase::Dead { .. } | Phase::Ended => {}
            Phase::Connected { .. }
            | Phase::Disconnected { .. }
            | Phase::Redialing { .. }
            | Phase::Multiplexed(_) => self.finish(now, Status::Success, String::new()),
            Phase::Handshaking { .. }
            | Phase::Settling { .. }
            | Phase::Starting { .. }
            | Phase::Resolving { .. }
            | Phase::Dialing { .. } => self.finish(now, Status::Cancelled, String::new()),
        }
    }

    /// Reports that the agent's socket is connected again.
    pub fn attach(&mut self, _now: Instant) {
        self.attached = true;
        self.outbound.set_paused(false);
    }

    /// Reports that the agent's socket is lost, with the messages in transit.
    pub fn detach(&mut self, _now: Instant) {
        self.attached = false;
        self.transmits.clear();
    }

    /// Returns the next message for the service, in its binary form.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmits.pop_front()
    }

    /// Returns the next action for the driver.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns when `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Handshaking { deadline: at }
            | Phase::Settling { until: at, .. }
            | Phase::Starting { until: at, .. }
            | Phase::Flushing { until: at, .. } => Some(*at),
            Phase::Connected { pace, .. } => pace.poll_timeout(),
            Phase::Multiplexed(multiplexed) => {
                multiplexed.pace.poll_timeout().into_iter().chain(multiplexed.session.poll_timeout()).min()
            }
            Phase::Dead { report_at, .. } => return Some(*report_at),
            Phase::Resolving { .. }
            | Phase::Dialing { .. }
            | Phase::Disconnected { .. }
            | Phase::Redialing { .. } => None,
            Phase::Ended => return None,
        };
        phase.into_iter().chain(self.outbound.next_scan()).min()
    }

    fn advance(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Handshaking { deadline } if now >= *deadline => self.handshake_failed(
                now,
                "Handshake timed out. Please ensure that you have the latest version of the session manager plugin.",
            ),
            Phase::Settling { until, client_version } if now >= *until => {
                let client_version = std::mem::take(client_version);
                self.phase = Phase::Starting { until: now + self.config.not_ready_for, client_version };
                self.advance(now);
            }
            Phase::Starting { until, client_version } if now >= *until => {
                let client_version = std::mem::take(client_version);
                self.open_port(now, client_version);
            }
            Phase::Connected { pace, .. } => pace.handle_timeout(now),
            Phase::Multiplexed(_) => self.advance_streams(now),
            Phase::Flushing { until, status, output } if now >= *until || self.outbound.is_empty() => {
                let (status, output) = (*status, std::mem::take(output));
                self.end(status, output);
            }
            Phase::Dead { report_at, output } if now >= *report_at => {
                let output = std::mem::take(output);
                self.end(Status::Failed, output);
            }
            Phase::Handshaking { .. }
            | Phase::Settling { .. }
            | Phase::Starting { .. }
            | Phase::Resolving { .. }
            | Phase::Dialing { .. }
            | Phase::Disconnected { .. }
            | Phase::Redialing { .. }
            | Phase::Flushing { .. }
            | Phase::Dead { .. }
            | Phase::Ended => {}
        }
    }

    fn open_port(&mut self, now: Instant, client_version: String) {
        match port::select(&self.config, &client_version) {
            Ok(PortMode::Plain(target)) => {
                self.dial(target);
                self.phase = Phase::Dialing { basic: None };
            }
            Ok(PortMode::Basic(target)) => {
                self.dial(target.clone());
                self.phase = Phase::Dialing { basic: Some(target) };
            }
            Ok(PortMode::Multiplexed(target)) => self.open_multiplexed(now, target, client_version),
            Err(output) => self.finish(now, Status::Failed, output),
        }
    }

    fn handle_response(&mut self, now: Instant, answer: handshake::ClientResponse) {
        match answer {
            handshake::ClientResponse::Agreed(client_version) => {
                let took = now.saturating_duration_since(self.start);
                self.send_stream(now, payload_type::HANDSHAKE_COMPLETE, handshake::complete(took));
                self.reach(Moment::Completed);
                self.record.client_version = Some(client_version.clone());
                self.phase = Phase::Settling { until: now + self.config.complete_window, client_version };
                self.advance(now);
            }
            handshake::ClientResponse::Refused(why) => self.handshake_failed(now, &why),
        }
    }

    fn handshake_failed(&mut self, now: Instant, why: &str) {
        let output = format!("\n----------ERROR-------\nEncountered error while initiating handshake. {why}");
        self.finish(now, Status::Failed, output);
    }

    /// Closes the destination and waits for the last acknowledgements.
    fn finish(&mut self, now: Instant, status: Status, output: String) {
        if matches!(self.phase, Phase::Dialing { .. } | Phase::Connected { .. } | Phase::Redialing { .. }) {
            self.actions.push_back(Action::CloseDestination);
        }
        self.close_streams();
        self.phase = Phase::Flushing { until: now + FLUSH, status, output };
        self.abort_write(now);
        self.advance(now);
    }

    fn end(&mut self, status: Status, output: String) {
        self.phase = Phase::Ended;
        self.inbox.clear();
        self.actions.push_back(Action::Ended { status, output });
    }
}

#[cfg(test)]
mod tests;
