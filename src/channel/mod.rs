//! The data channel's protocol, client side, as a value: no clock, socket, randomness, environment or `async`.
//!
//! A [`Channel`] is mutated by `handle_*`, `write`, `terminate`, `attach` and `detach`, all with the caller's
//! [`Now`], and drained with `poll_transmit`, `poll_event` and `poll_timeout` until they give nothing more. It owns
//! the numbers, acknowledgements, resends, order, window, pace and handshake of one session, over any number of
//! websockets one after another: `detach` when one is lost, `attach` with the new token when the next one is open,
//! and the same numbers go on. It never drops a byte that `write` has taken, and never delivers one twice.
//! Wire facts and their sources are in docs/protocol.md.

mod crypto;
mod discovery;
mod frame;
mod handshake;
mod inbound;
mod message;
mod outbound;
mod pacer;
mod rtt;
mod timer;
mod version;
mod window;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use self::discovery::Discovery;
use self::frame::{Frame, Header};
use self::inbound::{Inbound, Verdict};
use self::message::{Acknowledge, ChannelClosed, Flag, MessageType, OpenDataChannelInput, PayloadType};
use self::outbound::Outbound;
use self::pacer::Pacer;
use self::rtt::Rtt;
use self::timer::TimerTable;
use self::window::Window;

pub use self::crypto::{DecryptError, SessionCipher};
pub use self::discovery::{LARGEST_PAYLOAD, PathKnowledge, SAFE_PAYLOAD};
pub use self::frame::FrameError;
pub use self::handshake::Refusal;
pub use self::pacer::Pace;
pub use self::timer::Timer;
pub use self::version::{AgentVersion, CLIENT_VERSION};

/// What `write` keeps at most before it makes the writer wait.
const BUFFER: usize = 256 << 10;
/// How long the agent may take to speak first, and then to complete the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// The agent says that the handshake is complete a moment before it stops throwing input away.
const HOLD_INPUT: Duration = Duration::from_millis(10);
/// A first input that is unacknowledged for so long means that the port may not be listening.
const FIRST_INPUT_TIMEOUT: Duration = Duration::from_secs(3);
/// A missing message that has not come for so long, on a working link, will not come.
const GAP_TIMEOUT: Duration = Duration::from_secs(120);
/// How long new data is held back after a `pause_publication` that nothing takes back.
const PAUSE: Duration = Duration::from_secs(10);
/// Acknowledgements repeated on a new connection: those in flight on the old one are lost, and the agent resends
/// only ten messages a second.
const REPEATED_ACKNOWLEDGEMENTS: usize = 128;

/// The caller's clocks: one that only goes forward, and the wall's for CreatedDate.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic time.
    pub instant: Instant,
    /// Unix time in milliseconds.
    pub unix_ms: u64,
}

/// Where UUIDs come from: fills the slice with random bytes.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// What a session starts with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Cap on the payload of a message, in bytes.
    pub max_payload: usize,
    /// Cap on messages a second.
    pub pace: Pace,
    /// What earlier sessions learned about the path.
    pub path: PathKnowledge,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_payload: LARGEST_PAYLOAD, pace: Pace::default(), path: PathKnowledge::default() }
    }
}

/// One websocket message to send.
#[derive(Clone, PartialEq, Eq)]
pub enum Transmit {
    /// The opening message, with the token in it: never log it.
    Text(String),
    /// A frame.
    Binary(Bytes),
}

impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::Binary(frame) => write!(f, "Binary({} bytes)", frame.len()),
        }
    }
}

/// What the caller must know or do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is complete: data can flow.
    Connected {
        /// The agent's version.
        agent: AgentVersion,
        /// The administrator's message, untrusted text; often empty.
        customer_message: String,
    },
    /// Bytes for the user, in order.
    Data(Bytes),
    /// The first input has not been acknowledged for three seconds: the port may not be listening.
    FirstInputUnanswered,
    /// Messages of this size, in bytes, were proven to pass.
    SizeProven(usize),
    /// Messages of this size, in bytes, were refused for good: keep it for later sessions.
    SizeRefused(usize),
    /// A message that cannot be used was dropped; worth a line in a debug log.
    Dropped(Dropped),
    /// The service's last word.
    Closed {
        /// Why, in the agent's or the service's words, untrusted; empty for a normal end.
        output: String,
    },
    /// The session cannot go on: terminate it.
    Failed(Failure),
}

/// Why a received message was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It is not a frame.
    Malformed(FrameError),
    /// Its payload is not what was digested.
    Digest {
        /// Its number.
        sequence_number: i64,
    },
    /// Its number is garbage or too far ahead.
    SequenceNumber(i64),
    /// Its type is unknown, or not for clients.
    Type,
    /// The body does not read as what its type says.
    Body(&'static str),
}

/// Why a session cannot go on, although the link works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The agent did not speak within 30 s.
    HandshakeRequestTimeout,
    /// The agent did not complete the handshake within 30 s.
    HandshakeCompleteTimeout,
    /// We refused what the agent wants.
    Refused(Refusal),
    /// The agent sends output without a handshake: it is a shell, not a port.
    NotAPort,
    /// A message is missing for 120 s, so nothing behind it can be delivered.
    Gap {
        /// The number that never came.
        missing: i64,
    },
}

/// Where the session stands; each phase owns what only it needs.
#[derive(Debug)]
enum Phase {
    AwaitingRequest,
    AwaitingComplete,
    /// Complete, but the first input waits for the first output or a moment.
    Holding,
    Open,
    /// Terminated by us, failed or closed: only acknowledgements and the terminate flag go out.
    Ending,
}

/// A message to acknowledge.
#[derive(Clone, Copy, Debug)]
struct Receipt {
    message_id: Uuid,
    sequence_number: i64,
}

/// The client's half of one session.
pub struct Channel {
    random: Random,
    client_id: Uuid,
    phase: Phase,
    /// The opening message of the attached websocket, until it is sent.
    opening: Option<String>,
    attached: bool,
    agent: Option<AgentVersion>,
    receipts: VecDeque<Receipt>,
    recent: VecDeque<Receipt>,
    /// Messages that do not wait: handshake response, flags.
    urgent: VecDeque<(PayloadType, Bytes)>,
    buffer: BytesMut,
    first_input: Option<i64>,
    terminate: Option<i64>,
    inbound: Inbound,
    outbound: Outbound,
    rtt: Rtt,
    window: Window,
    pacer: Pacer,
    discovery: Discovery,
    paused_until: Option<Instant>,
    timers: TimerTable,
    events: VecDeque<Event>,
}

impl Channel {
    /// Starts a session's state; nothing is sent before [`Self::attach`].
    pub fn new(now: Now, settings: Settings, mut random: Random) -> Self {
        Self {
            client_id: uuid4(&mut random),
            random,
            phase: Phase::AwaitingRequest,
            opening: None,
            attached: false,
            agent: None,
            receipts: VecDeque::new(),
            recent: VecDeque::new(),
            urgent: VecDeque::new(),
            buffer: BytesMut::new(),
            first_input: None,
            terminate: None,
            inbound: Inbound::default(),
            outbound: Outbound::new(now.instant),
            rtt: Rtt::new(),
            window: Window::default(),
            pacer: Pacer::new(now.instant, settings.pace),
            discovery: Discovery::new(settings.path, settings.max_payload),
            paused_until: None,
            timers: TimerTable::default(),
            events: VecDeque::new(),
        }
    }

    /// A websocket is open: opens the data channel on it with `token`, and replays what is unacknowledged.
    pub fn attach(&mut self, now: Now, token: &str) {
        let opening = OpenDataChannelInput {
            message_schema_version: "1.0",
            request_id: uuid4(&mut self.random).hyphenated().to_string(),
            token_value: token,
            client_id: self.client_id.hyphenated().to_string(),
            client_version: CLIENT_VERSION,
        };
        self.opening = Some(message::json(&opening));
        self.attached = true;
        self.repeat_receipts();
        self.outbound.attach();
        self.rtt.forgive();
        self.window.restart();
        self.arm_after_attach(now.instant);
    }

    /// The websocket is gone: everything stays, nothing is sent, no timer runs.
    pub fn detach(&mut self, now: Now) {
        self.attached = false;
        self.opening = None;
        self.paused_until = None;
        self.probe_failed(now);
        self.outbound.detach();
        self.timers.stop_all();
    }

    /// Takes one websocket message, text or binary: both official ends treat them alike.
    pub fn handle_frame(&mut self, now: Now, message: &Bytes) {
        let frame = match Frame::parse(message) {
            Ok(frame) => frame,
            Err(error) => return self.dropped(Dropped::Malformed(error)),
        };
        match frame.message_type {
            MessageType::OutputStreamData | MessageType::Acknowledge if !frame.digest_is_right() => {
                self.dropped(Dropped::Digest { sequence_number: frame.sequence_number });
            }
            MessageType::OutputStreamData => self.handle_stream_data(now, frame),
            MessageType::Acknowledge => self.handle_acknowledge(now, &frame),
            MessageType::ChannelClosed => self.handle_closed(&frame),
            MessageType::StartPublication => self.paused_until = None,
            MessageType::PausePublication => self.paused_until = Some(now.instant + PAUSE),
            MessageType::InputStreamData | MessageType::Unknown => self.dropped(Dropped::Type),
        }
        self.rearm(now.instant);
    }

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.timers.expire(now.instant) {
            match timer {
                Timer::HandshakeRequest => self.fail(Failure::HandshakeRequestTimeout),
                Timer::HandshakeComplete => self.fail(Failure::HandshakeCompleteTimeout),
                Timer::HoldInput => self.open(),
                Timer::Resend => {
                    if self.outbound.handle_timeout(now.instant) {
                        self.rtt.back_off();
                    }
                }
                Timer::Pace => {}
                Timer::Probe => self.probe_failed(now),
                Timer::FirstInput => self.events.push_back(Event::FirstInputUnanswered),
                Timer::Gap => self.fail(Failure::Gap { missing: self.inbound.expected() }),
            }
        }
        self.rearm(now.instant);
    }

    /// Takes bytes from the user, as many as fit; the rest waits until [`Self::capacity`] is more than 0.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.capacity());
        self.buffer.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// How many bytes [`Self::write`] would take.
    pub fn capacity(&self) -> usize {
        match self.phase {
            Phase::Ending => 0,
            Phase::AwaitingRequest | Phase::AwaitingComplete | Phase::Holding | Phase::Open => {
                BUFFER - self.buffer.len()
            }
        }
    }

    /// Asks the agent to end the session, forgetting what has not been sent; false if it would not hear it, so
    /// that only the API can end the session.
    pub fn terminate(&mut self) -> bool {
        let understood = self.agent.as_ref().is_some_and(AgentVersion::understands_terminate);
        let connected = matches!(self.phase, Phase::Holding | Phase::Open);
        self.phase = Phase::Ending;
        self.buffer.clear();
        if !(understood && connected && self.attached) {
            return false;
        }
        self.urgent.push_back((PayloadType::Flag, Bytes::copy_from_slice(&Flag::TerminateSession.payload())));
        self.terminate = Some(self.outbound.next_number());
        true
    }

    /// Tells whether the agent has acknowledged the terminate flag.
    pub fn is_termination_acknowledged(&self) -> bool {
        self.terminate.is_some_and(|number| self.outbound.is_acknowledged(number))
    }

    /// Tells whether the terminate flag waits behind data that the agent has not acknowledged.
    pub fn is_termination_queued_behind_data(&self) -> bool {
        self.terminate.is_some_and(|number| self.outbound.is_pending_before(number))
    }

    /// Tells whether every byte that was written has been acknowledged.
    pub fn is_flushed(&self) -> bool {
        self.buffer.is_empty() && self.urgent.is_empty() && self.outbound.is_clear()
    }

    /// Tells whether the agent has sent its handshake request.
    pub fn has_agent_spoken(&self) -> bool {
        self.agent.is_some()
    }

    /// Tells whether an answer of the agent is due, so that silence means something.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::AwaitingRequest | Phase::AwaitingComplete) || !self.outbound.is_clear()
    }

    /// Tells whether messages were received that cannot be delivered since one before them is missing.
    pub fn has_gap(&self) -> bool {
        self.inbound.has_gap()
    }

    /// The smoothed round-trip time.
    pub fn round_trip_time(&self) -> Duration {
        self.rtt.smoothed()
    }

    /// The size of message, in bytes, that is to blame if the far side has just ended the session.
    pub fn suspected_size(&self, now: Now) -> Option<usize> {
        self.discovery.to_blame(now.instant)
    }

    /// The next deadline and what it is for.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }

    /// The next thing that the caller must know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next message to send: opening, acknowledgements, urgent, resends, new data.
    pub fn poll_transmit(&mut self, now: Now) -> Option<Transmit> {
        if !self.attached {
            return None;
        }
        if let Some(opening) = self.opening.take() {
            return Some(Transmit::Text(opening));
        }
        let frame = self
            .next_receipt(now)
            .or_else(|| self.next_urgent(now))
            .or_else(|| self.next_resend(now))
            .or_else(|| self.next_data(now));
        self.rearm(now.instant);
        frame.map(Transmit::Binary)
    }

    fn next_receipt(&mut self, now: Now) -> Option<Bytes> {
        let Receipt { message_id, sequence_number } = self.receipts.pop_front()?;
        self.pacer.charge(now.instant);
        let body = message::json(&Acknowledge::of_output(message_id, sequence_number));
        let header = Header {
            message_type: MessageType::Acknowledge,
            sequence_number: 0,
            flags: 3,
            created_date: now.unix_ms,
            message_id: uuid4(&mut self.random),
            payload_type: PayloadType::None,
        };
        Some(header.encode(body.as_bytes()))
    }

    fn next_urgent(&mut self, now: Now) -> Option<Bytes> {
        let (payload_type, payload) = self.urgent.pop_front()?;
        self.pacer.charge(now.instant);
        Some(self.enter(now, payload_type, &payload, Some(self.rtt.timeout())))
    }

    fn next_resend(&mut self, now: Now) -> Option<Bytes> {
        if !self.outbound.has_due() || !self.take_token(now.instant) {
            return None;
        }
        let reacknowledges = self.agent.as_ref().is_none_or(AgentVersion::acknowledges_duplicates);
        self.outbound.resend(now.instant, self.rtt.timeout(), reacknowledges)
    }

    fn next_data(&mut self, now: Now) -> Option<Bytes> {
        let paused = self.paused_until.is_some_and(|until| now.instant < until);
        if !matches!(self.phase, Phase::Open) || self.buffer.is_empty() || paused {
            return None;
        }
        let payload = self.buffer.len().min(self.payload_limit());
        let wire = payload + frame::OVERHEAD;
        let in_flight = self.outbound.in_flight();
        if in_flight > 0 && in_flight + wire > self.window.size(wire) {
            return None;
        }
        if !self.take_token(now.instant) {
            return None;
        }
        if let Some(probe) = self.next_probe(now) {
            return Some(probe);
        }
        let payload = self.buffer.split_to(payload);
        let first = self.first_input.is_none();
        let timeout = if first { self.rtt.eager_timeout() } else { self.rtt.timeout() };
        if first {
            self.first_input = Some(self.outbound.next_number());
            self.timers.set(Timer::FirstInput, now.instant + FIRST_INPUT_TIMEOUT);
        }
        Some(self.enter(now, PayloadType::Output, &payload, Some(timeout)))
    }

    /// A probe of the next size, if bulk data waits and the path is fast enough for it.
    fn next_probe(&mut self, now: Now) -> Option<Bytes> {
        if self.buffer.len() < 4 * self.discovery.payload_limit() {
            return None;
        }
        let size = self.discovery.next(now.instant, self.window.message_size())?;
        let number = self.outbound.next_number();
        let lost_at = self.discovery.sent(now.instant, number, size, self.rtt.timeout());
        self.timers.set(Timer::Probe, lost_at);
        Some(self.enter(now, PayloadType::Size, &padded_size(size - frame::OVERHEAD), None))
    }

    /// The payload that a message may carry now: what is proven, and what the path carries in 20 ms.
    fn payload_limit(&self) -> usize {
        let affordable = self.window.message_size().saturating_sub(frame::OVERHEAD).max(SAFE_PAYLOAD);
        self.discovery.payload_limit().min(affordable)
    }

    fn enter(
        &mut self,
        now: Now,
        payload_type: PayloadType,
        payload: &[u8],
        timeout: Option<Duration>,
    ) -> Bytes {
        let frame = self.stream_data(now, self.outbound.next_number(), payload_type, payload);
        self.outbound.enter(now.instant, frame.clone(), timeout);
        frame
    }

    fn stream_data(
        &mut self,
        now: Now,
        sequence_number: i64,
        payload_type: PayloadType,
        payload: &[u8],
    ) -> Bytes {
        let header = Header {
            message_type: MessageType::InputStreamData,
            sequence_number,
            flags: 0,
            created_date: now.unix_ms,
            message_id: uuid4(&mut self.random),
            payload_type,
        };
        header.encode(payload)
    }

    fn take_token(&mut self, now: Instant) -> bool {
        match self.pacer.take(now) {
            Ok(()) => true,
            Err(at) => {
                self.timers.set(Timer::Pace, at);
                false
            }
        }
    }

    fn probe_failed(&mut self, now: Now) {
        self.timers.stop(Timer::Probe);
        let Some(discovery::Failure { number, refused }) = self.discovery.failed(now.instant) else { return };
        let minimal = self.stream_data(now, number, PayloadType::Size, &padded_size(0));
        self.outbound.replace(number, minimal);
        self.events.extend(refused.map(Event::SizeRefused));
    }

    fn handle_stream_data(&mut self, now: Now, frame: Frame) {
        let receipt = Receipt { message_id: frame.message_id, sequence_number: frame.sequence_number };
        self.paused_until = None;
        match self.inbound.accept(frame) {
            Verdict::Dropped => return self.dropped(Dropped::SequenceNumber(receipt.sequence_number)),
            Verdict::Duplicate => self.receipts.push_back(receipt),
            Verdict::Kept => self.acknowledge(receipt),
            Verdict::Deliver(frames) => {
                self.acknowledge(receipt);
                self.timers.stop(Timer::Gap);
                for frame in frames {
                    self.deliver(now, frame);
                }
            }
        }
        if self.inbound.has_gap() && !self.timers.is_set(Timer::Gap) {
            self.timers.set(Timer::Gap, now.instant + GAP_TIMEOUT);
        }
    }

    fn acknowledge(&mut self, receipt: Receipt) {
        self.receipts.push_back(receipt);
        if self.recent.len() == REPEATED_ACKNOWLEDGEMENTS {
            self.recent.pop_front();
        }
        self.recent.push_back(receipt);
    }

    /// Queues the latest acknowledgements again, in case the last websocket lost them.
    fn repeat_receipts(&mut self) {
        let first_pending = self.receipts.front().map_or(i64::MAX, |receipt| receipt.sequence_number);
        let lost = self.recent.iter().filter(|receipt| receipt.sequence_number < first_pending);
        let lost: Vec<Receipt> = lost.copied().collect();
        self.receipts.extend(lost);
    }

    fn deliver(&mut self, now: Now, frame: Frame) {
        match frame.payload_type.unwrap_or(PayloadType::None) {
            PayloadType::HandshakeRequest => self.handle_handshake_request(now, &frame.payload),
            PayloadType::HandshakeComplete => self.handle_handshake_complete(now, &frame.payload),
            PayloadType::Output => self.handle_output(frame.payload),
            PayloadType::Flag => self.handle_flag(&frame.payload),
            PayloadType::None
            | PayloadType::Size
            | PayloadType::HandshakeResponse
            | PayloadType::Other(_) => {
                self.dropped(Dropped::Type);
            }
        }
    }

    fn handle_handshake_request(&mut self, now: Now, payload: &[u8]) {
        if !matches!(self.phase, Phase::AwaitingRequest) {
            return self.dropped(Dropped::Type);
        }
        let Ok(answer) = handshake::answer(payload) else {
            return self.dropped(Dropped::Body("HandshakeRequest"));
        };
        self.agent = Some(answer.agent_version);
        self.urgent.push_back((PayloadType::HandshakeResponse, answer.response.into()));
        self.timers.stop(Timer::HandshakeRequest);
        self.timers.set(Timer::HandshakeComplete, now.instant + HANDSHAKE_TIMEOUT);
        self.phase = Phase::AwaitingComplete;
        if let Some(refusal) = answer.refusal {
            self.fail(Failure::Refused(refusal));
        }
    }

    fn handle_handshake_complete(&mut self, now: Now, payload: &[u8]) {
        let (Phase::AwaitingComplete, Some(agent)) = (&self.phase, &self.agent) else {
            return self.dropped(Dropped::Type);
        };
        let customer_message = handshake::customer_message(payload);
        self.events.push_back(Event::Connected { agent: agent.clone(), customer_message });
        self.phase = Phase::Holding;
        self.timers.stop(Timer::HandshakeComplete);
        self.timers.set(Timer::HoldInput, now.instant + HOLD_INPUT);
    }

    fn handle_output(&mut self, payload: Bytes) {
        match self.phase {
            Phase::AwaitingRequest => self.fail(Failure::NotAPort),
            Phase::AwaitingComplete => self.dropped(Dropped::Type),
            Phase::Holding | Phase::Open | Phase::Ending => {
                self.open();
                self.events.push_back(Event::Data(payload));
            }
        }
    }

    fn handle_flag(&mut self, payload: &[u8]) {
        match Flag::from_payload(payload) {
            // A plain session has one connection, whose refusal closes the channel: the flag adds nothing.
            Some(Flag::ConnectToPortError) => {}
            Some(Flag::TerminateSession) | None => self.dropped(Dropped::Body("Flag")),
        }
    }

    fn handle_acknowledge(&mut self, now: Now, frame: &Frame) {
        self.paused_until = None;
        let Ok(body) = serde_json::from_slice::<Acknowledge>(&frame.payload) else {
            return self.dropped(Dropped::Body("acknowledge"));
        };
        let number = body.acknowledged_message_sequence_number;
        let shortest = self.window.shortest_round_trip();
        let Some(sample) = self.outbound.acknowledge(now.instant, number, shortest) else { return };
        if let Some(rtt) = sample.rtt {
            self.rtt.sample(rtt);
        }
        let wire = self.payload_limit() + frame::OVERHEAD;
        self.window.sample(now.instant, sample, self.outbound.in_flight(), wire);
        if self.outbound.in_flight() == 0 && self.buffer.is_empty() {
            self.window.idle();
        }
        if let Some(size) = self.discovery.acknowledged(number) {
            self.timers.stop(Timer::Probe);
            self.events.push_back(Event::SizeProven(size));
        }
        if self.first_input == Some(number) {
            self.timers.stop(Timer::FirstInput);
        }
    }

    fn handle_closed(&mut self, frame: &Frame) {
        let output = serde_json::from_slice::<ChannelClosed>(&frame.payload).map(|closed| closed.output);
        self.phase = Phase::Ending;
        self.events.push_back(Event::Closed { output: output.unwrap_or_default() });
    }

    fn open(&mut self) {
        if matches!(self.phase, Phase::Holding) {
            self.timers.stop(Timer::HoldInput);
            self.phase = Phase::Open;
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.timers.stop(Timer::HandshakeRequest);
        self.timers.stop(Timer::HandshakeComplete);
        self.phase = Phase::Ending;
        self.events.push_back(Event::Failed(failure));
    }

    fn dropped(&mut self, dropped: Dropped) {
        self.events.push_back(Event::Dropped(dropped));
    }

    fn arm_after_attach(&mut self, now: Instant) {
        match self.phase {
            Phase::AwaitingRequest => self.timers.set(Timer::HandshakeRequest, now + HANDSHAKE_TIMEOUT),
            Phase::AwaitingComplete => self.timers.set(Timer::HandshakeComplete, now + HANDSHAKE_TIMEOUT),
            Phase::Holding => self.timers.set(Timer::HoldInput, now + HOLD_INPUT),
            Phase::Open | Phase::Ending => {}
        }
        if self.inbound.has_gap() {
            self.timers.set(Timer::Gap, now + GAP_TIMEOUT);
        }
    }

    /// Follows what the other parts want to wait for.
    fn rearm(&mut self, now: Instant) {
        match self.outbound.next_deadline() {
            Some(at) => self.timers.set(Timer::Resend, at),
            None => self.timers.stop(Timer::Resend),
        }
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            self.timers.set(Timer::Pace, until);
        }
    }
}

/// A `Size` body of `length` bytes, or the shortest: JSON may be padded with white space.
fn padded_size(length: usize) -> Vec<u8> {
    let mut body = br#"{"cols":80,"rows":24}"#.to_vec();
    body.resize(body.len().max(length), b' ');
    body
}

fn uuid4(random: &mut Random) -> Uuid {
    let mut bytes = [0; 16];
    random(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

#[cfg(test)]
pub(crate) mod tests;
