//! The agent's half of the data channel: a value without clock, socket or randomness.
//!
//! Mutate it with `(now, input)`, then drain [`Agent::poll_transmit`] and after it [`Agent::poll_action`] to empty, then
//! wait for the next message, the destination or [`Agent::poll_timeout`]. It behaves as the real agent was read and seen
//! to behave, faults included (docs/protocol.md); [`AgentConfig`] makes it an older, slower or hostile one. It also keeps
//! a [`Record`] of what it saw. It shares no code with the client's side of the protocol.

pub mod config;
pub mod frame;
mod handshake;
mod outbound;
pub mod port;
mod reader;
pub mod record;
mod rtt;
mod sender;
mod version;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use self::config::{AgentConfig, Injection, Moment};
use self::frame::{Frame, payload_type};
use self::outbound::Outbound;
use self::port::{Mode, Target};
use self::reader::Reader;
pub use self::record::{Fate, Received, Record};
use crate::sim::dice::Dice;

/// How long an ending agent waits for its last messages to be acknowledged.
const FLUSH: Duration = Duration::from_secs(2);

/// The agent's side of one session.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    start: Instant,
    unix_ms: u64,
    ids: Dice,
    phase: Phase,
    attached: bool,
    outbound: Outbound,
    expected: i64,
    early: BTreeMap<i64, Frame>,
    reader: Reader,
    inbox: VecDeque<Bytes>,
    transmits: VecDeque<Bytes>,
    actions: VecDeque<Action>,
    record: Record,
}

/// What the agent asks of its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to the destination, then call one of `destination_connected` and `destination_failed`.
    Dial {
        /// The remote host, or the target itself.
        host: Option<String>,
        /// The TCP port.
        port: u16,
    },
    /// Write to the destination and report it by `destination_wrote`.
    Write(Bytes),
    /// Close the connection to the destination, both ways.
    CloseDestination,
    /// The agent has left its socket and tells the service so.
    Ended {
        /// How the service shall list it.
        status: Status,
        /// The text for the client's channel_closed.
        output: String,
    },
}

/// How a session ended, as the agent reports it to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The destination or the client ended it.
    Success,
    /// Something went wrong; the output may say what.
    Failed,
    /// It was called off.
    Cancelled,
}

#[derive(Debug)]
enum Phase {
    /// The request is out, the answer is not in.
    Handshaking { deadline: Instant },
    /// HandshakeComplete is out, and the agent does not know yet that it is complete.
    Settling { until: Instant, client_version: String },
    /// Complete, and not dialling yet.
    Starting { until: Instant, client_version: String },
    /// The dial is under way.
    Dialing,
    /// Data flows; `readable` says whether the pause since the last read is over.
    Connected { next_read: Instant, readable: bool },
    /// The work is done; the last messages may still be acknowledged.
    Flushing { until: Instant, status: Status, output: String },
    /// The worker has died, and the service does not know yet.
    Dead { report_at: Instant, output: String },
    /// Nothing happens any more.
    Ended,
}

impl Agent {
    /// Starts an agent whose data channel has just been opened; it sends its session state and the handshake request.
    pub fn new(now: Instant, unix_ms: u64, config: AgentConfig, seed: u64) -> Self {
        let mut agent = Self {
            start: now,
            unix_ms,
            ids: Dice::new(seed),
            phase: Phase::Handshaking { deadline: now + config.handshake_timeout },
            attached: true,
            outbound: Outbound::new(now, &config),
            expected: 0,
            early: BTreeMap::new(),
            reader: Reader::Free,
            inbox: VecDeque::new(),
            transmits: VecDeque::new(),
            actions: VecDeque::new(),
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

    /// Returns what was seen and done so far.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Says whether the driver may read the destination now, at most [`Agent::payload_size`] bytes.
    pub fn ready_for_data(&self) -> bool {
        matches!(self.phase, Phase::Connected { readable: true, .. }) && !self.outbound.is_paused()
    }

    /// Returns the size of one read of the destination.
    pub fn payload_size(&self) -> usize {
        self.config.payload_size
    }

    /// Returns how many messages wait behind a write to the destination; a driver stops feeding when they are many.
    pub fn backlog(&self) -> usize {
        self.inbox.len()
    }

    /// Returns how many sent messages are not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.outbound.len()
    }

    /// Says whether the session is over on the agent's side.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Takes a message from the service.
    pub fn handle_message(&mut self, now: Instant, message: &[u8]) {
        if !matches!(self.phase, Phase::Dead { .. } | Phase::Ended) {
            self.inbox.push_back(Bytes::copy_from_slice(message));
            self.read_inbox(now);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        if !matches!(self.phase, Phase::Dead { .. } | Phase::Ended) {
            for message in self.outbound.scan(now) {
                self.record.resent += 1;
                self.send(message);
            }
        }
        self.read_inbox(now);
    }

    /// Takes the news that the dialled connection stands.
    pub fn destination_connected(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Dialing) {
            self.phase = Phase::Connected { next_read: now, readable: true };
            self.reach(Moment::Connected);
        }
    }

    /// Takes the news that the dial failed; `why` reads like `dial tcp 127.0.0.1:22: connect: connection refused`.
    pub fn destination_failed(&mut self, now: Instant, why: &str) {
        if matches!(self.phase, Phase::Dialing) {
            // The real worker crashes here, which is why nothing is flushed and the service takes a minute to notice.
            self.phase = Phase::Dead {
                report_at: now + self.config.refusal_delay,
                output: port::unreachable_port(why),
            };
            self.advance(now);
        }
    }

    /// Takes bytes read from the destination.
    pub fn destination_data(&mut self, now: Instant, data: &[u8]) {
        let interval = self.config.read_interval;
        let Phase::Connected { next_read, readable } = &mut self.phase else { return };
        // A read that a coarse timer made late does not delay the next one: the mean speed is kept, as long as the
        // destination has data.
        let on_schedule = now.saturating_duration_since(*next_read) < 2 * interval;
        *next_read = if on_schedule { *next_read + interval } else { now + interval };
        *readable = *next_read <= now;
        for chunk in data.chunks(self.config.payload_size.max(1)) {
            self.record.bytes_sent += chunk.len() as u64;
            self.send_stream(now, payload_type::OUTPUT, Bytes::copy_from_slice(chunk));
        }
        self.reach(Moment::Sent(self.record.bytes_sent));
    }

    /// Takes the end of the destination's data.
    pub fn destination_eof(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Connected { .. }) {
            self.finish(now, Status::Success, String::new());
        }
    }

    /// Takes the news that the connection to the destination broke, in reading or in writing.
    pub fn destination_reset(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Connected { .. }) {
            self.finish(now, Status::Failed, String::new());
        }
    }

    /// Takes the news that `count` more bytes of the pending write are done.
    pub fn destination_wrote(&mut self, now: Instant, count: usize) {
        self.wrote(now, count);
        self.read_inbox(now);
    }

    /// Takes the service's order to end, as an API call or a timeout causes it.
    pub fn channel_closed(&mut self, now: Instant) {
        self.record.channel_closed = true;
        match self.phase {
            Phase::Flushing { .. } | Phase::Dead { .. } | Phase::Ended => {}
            Phase::Connected { .. } => self.finish(now, Status::Success, String::new()),
            Phase::Handshaking { .. } | Phase::Settling { .. } | Phase::Starting { .. } | Phase::Dialing => {
                self.finish(now, Status::Cancelled, String::new());
            }
        }
    }

    /// The agent's own socket is back; it resumes sending.
    pub fn attach(&mut self, _now: Instant) {
        self.attached = true;
        self.outbound.set_paused(false);
    }

    /// The agent's own socket is lost, with what was on its way.
    pub fn detach(&mut self, _now: Instant) {
        self.attached = false;
        self.transmits.clear();
    }

    /// Sends raw bytes as if they were a message of the agent's.
    pub fn inject(&mut self, message: Bytes) {
        self.send(message);
    }

    /// Returns the next message for the service, in its binary form.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmits.pop_front()
    }

    /// Returns the next request to the driver.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns when `handle_timeout` has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Handshaking { deadline: at }
            | Phase::Settling { until: at, .. }
            | Phase::Starting { until: at, .. }
            | Phase::Connected { next_read: at, readable: false }
            | Phase::Flushing { until: at, .. } => Some(*at),
            Phase::Dead { report_at, .. } => return Some(*report_at),
            Phase::Dialing | Phase::Connected { readable: true, .. } => None,
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
                self.open_port(now, &client_version);
            }
            Phase::Connected { next_read, readable } if now >= *next_read => *readable = true,
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
            | Phase::Dialing
            | Phase::Connected { .. }
            | Phase::Flushing { .. }
            | Phase::Dead { .. }
            | Phase::Ended => {}
        }
    }

    fn open_port(&mut self, now: Instant, client_version: &str) {
        match port::select(&self.config.properties, client_version, &self.config.denied_hosts) {
            Ok(Mode::Plain(Target { host, port })) => {
                self.actions.push_back(Action::Dial { host, port });
                self.phase = Phase::Dialing;
            }
            Ok(Mode::Basic(_) | Mode::Multiplexed(_)) => {
                let output =
                    "fumidai-sim does not simulate sessions of type LocalPortForwarding yet".to_owned();
                self.finish(now, Status::Failed, output);
            }
            Err(output) => self.finish(now, Status::Failed, output),
        }
    }

    fn handshake_answered(&mut self, now: Instant, answer: handshake::Answer) {
        match answer {
            handshake::Answer::Agreed(client_version) => {
                let took = now.saturating_duration_since(self.start);
                self.send_stream(now, payload_type::HANDSHAKE_COMPLETE, handshake::complete(took));
                self.reach(Moment::Completed);
                self.record.client_version = Some(client_version.clone());
                self.phase = Phase::Settling { until: now + self.config.complete_window, client_version };
                self.advance(now);
            }
            handshake::Answer::Refused(why) => self.handshake_failed(now, &why),
        }
    }

    fn handshake_failed(&mut self, now: Instant, why: &str) {
        let output = format!("\n----------ERROR-------\nEncountered error while initiating handshake. {why}");
        self.finish(now, Status::Failed, output);
    }

    /// Closes the destination and waits for the last acknowledgements.
    fn finish(&mut self, now: Instant, status: Status, output: String) {
        if matches!(self.phase, Phase::Dialing | Phase::Connected { .. }) {
            self.actions.push_back(Action::CloseDestination);
        }
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
