//! The data channel's protocol, client side, as a value: no clock, socket, randomness, environment or `async`.
//!
//! A [`Channel`] is mutated by `handle_*`, `write`, `terminate`, `attach` and `detach`, with the caller's [`Now`].
//! The caller then drains `poll_transmit`, `poll_event` and `poll_timeout` until they return nothing new. The channel
//! owns the sequence numbers, acknowledgements, resends, order, window, pace and handshake of one session. A session
//! uses several websockets, one after another: call `detach` when one is lost and `attach` with the new token when the
//! next one is open. Sequence numbers continue. The channel never drops a byte that `write` accepted, and never
//! delivers a byte twice. Wire facts and their sources are in docs/protocol.md.

#[allow(dead_code, reason = "for shell sessions, which may be encrypted; the tests check its vectors")]
mod crypto;
mod discovery;
mod event;
mod frame;
#[cfg(feature = "sim")]
pub(crate) mod fuzz;
mod handshake;
mod inbound;
mod message;
mod outbound;
mod pacer;
mod receive;
mod rtt;
mod timer;
mod transmit;
mod unacknowledged;
mod version;
mod window;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use self::discovery::{Discovery, SAFE_PAYLOAD};
use self::inbound::Inbound;
use self::message::{Flag, OpenDataChannelInput, PayloadType};
use self::outbound::Outbound;
use self::pacer::Pacer;
use self::rtt::Rtt;
use self::timer::TimerTable;
use self::version::CLIENT_VERSION;
use self::window::Window;

pub use self::discovery::{LARGEST_PAYLOAD, PathKnowledge};
pub use self::event::{ChannelError, ChannelEvent, ChannelSettings, DropReason, Now, Random, Transmit};
pub use self::frame::FrameError;
pub use self::handshake::{Mode, Refusal};
pub use self::pacer::Pace;
pub use self::timer::Timer;
pub use self::version::AgentVersion;

/// The most bytes that `write` buffers; then the writer waits.
const BUFFER: usize = 256 << 10;
/// How long the agent may take to send its handshake request, and then to complete the handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// The agent discards input until shortly after it has sent HandshakeComplete.
const HOLD_INPUT: Duration = Duration::from_millis(10);
/// The port may not be listening if the first input is unacknowledged for this long.
const FIRST_INPUT_TIMEOUT: Duration = Duration::from_secs(3);
/// A message that is missing for this long on a working link will not be resent.
const GAP_TIMEOUT: Duration = Duration::from_secs(120);

/// With so many unsent acknowledgements the caller must not read on: the peer floods us and does not read.
const OWED: usize = 16_384;

/// The state of the session.
#[derive(Debug)]
enum Phase {
    AwaitingRequest,
    AwaitingComplete,
    /// The handshake is complete; the first input waits for the first output or [`HOLD_INPUT`].
    Holding,
    Open,
    /// Terminated by us, failed or closed: only acknowledgements and the terminate flag are sent.
    Ending,
}

/// A message to acknowledge.
#[derive(Clone, Copy, Debug)]
struct Ack {
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
    agent: Option<(AgentVersion, Mode)>,
    for_remote_host: bool,
    acks: VecDeque<Ack>,
    recent_acks: VecDeque<Ack>,
    /// Messages that are sent without waiting for the pacer: handshake response, flags.
    urgent: VecDeque<(PayloadType, Bytes)>,
    buffer: BytesMut,
    /// All bytes that the caller has written.
    written: u64,
    /// Bytes that the caller holds until there is room.
    backlog: usize,
    first_input: Option<i64>,
    terminate: Option<i64>,
    inbound: Inbound,
    outbound: Outbound,
    rtt: Rtt,
    window: Window,
    pacer: Pacer,
    discovery: Discovery,
    paused_until: Option<Instant>,
    /// False while the caller does not read the websocket. Timers for arrivals are stopped then.
    reading: bool,
    reading_since: Option<Instant>,
    timers: TimerTable,
    events: VecDeque<ChannelEvent>,
}

impl Channel {
    /// Creates the state of a session; nothing is sent before [`Self::attach`].
    pub fn new(now: Now, settings: ChannelSettings, mut random: Random) -> Self {
        Self {
            client_id: uuid4(&mut random),
            random,
            phase: Phase::AwaitingRequest,
            opening: None,
            attached: false,
            agent: None,
            for_remote_host: settings.for_remote_host,
            acks: VecDeque::new(),
            recent_acks: VecDeque::new(),
            urgent: VecDeque::new(),
            buffer: BytesMut::new(),
            written: 0,
            backlog: 0,
            first_input: None,
            terminate: None,
            inbound: Inbound::default(),
            outbound: Outbound::new(now.instant),
            rtt: Rtt::new(),
            window: Window::default(),
            pacer: Pacer::new(now.instant, settings.pace),
            discovery: Discovery::new(settings.path, settings.max_payload),
            paused_until: None,
            reading: true,
            reading_since: None,
            timers: TimerTable::default(),
            events: VecDeque::new(),
        }
    }

    /// Opens the data channel with `token` on a new websocket and resends what is unacknowledged.
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
        self.repeat_acks();
        self.outbound.attach(now.instant);
        self.rtt.reset_backoff();
        self.window.forget_path();
        self.arm_after_attach(now.instant);
    }

    /// Stops sending and all timers after the websocket is lost; keeps all other state.
    pub fn detach(&mut self, now: Now) {
        self.attached = false;
        self.opening = None;
        self.paused_until = None;
        self.probe_failed(now);
        self.outbound.detach();
        self.timers.stop_all();
    }

    /// Records whether the caller reads the websocket. While it does not, missing messages have no effect.
    pub fn set_reading(&mut self, now: Now, reading: bool) {
        if reading == self.reading {
            return;
        }
        self.reading = reading;
        if reading {
            self.reading_since = Some(now.instant);
            self.arm_for_arrivals(now.instant);
        } else {
            for timer in [Timer::Gap, Timer::Probe, Timer::Resend, Timer::FirstInput] {
                self.timers.stop(timer);
            }
        }
        self.rearm(now.instant);
    }

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.timers.expire(now.instant) {
            match timer {
                Timer::HandshakeRequest => self.fail(ChannelError::HandshakeRequestTimeout),
                Timer::HandshakeComplete => self.fail(ChannelError::HandshakeCompleteTimeout),
                Timer::HoldInput => self.open(),
                Timer::Resend => {
                    if self.outbound.handle_timeout(now.instant) {
                        self.rtt.back_off();
                    }
                }
                Timer::Pace => {}
                Timer::Probe => self.probe_failed(now),
                Timer::FirstInput => self.events.push_back(ChannelEvent::FirstInputUnanswered),
                Timer::Gap => self.fail(ChannelError::Gap { missing: self.inbound.expected() }),
            }
        }
        self.rearm(now.instant);
    }

    /// Buffers as many of the user's bytes as fit and returns their number. See [`Self::capacity`].
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.capacity());
        self.buffer.extend_from_slice(&bytes[..taken]);
        self.written = self.written.saturating_add(taken.try_into().unwrap_or(u64::MAX));
        taken
    }

    /// Returns how many bytes the path can use soon. Bytes written beyond that only wait in the buffer.
    pub fn send_room(&self) -> usize {
        self.capacity().min((2 * self.payload_limit()).saturating_sub(self.buffer.len()))
    }

    /// Records how many bytes the caller holds until there is [`Self::send_room`]. Bulk data starts payload discovery.
    pub fn set_backlog(&mut self, bytes: usize) {
        self.backlog = bytes;
    }

    /// Returns how many bytes were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Returns how many of the written bytes have arrived without a gap.
    pub fn arrived(&self) -> u64 {
        self.outbound.arrived()
    }

    /// Returns since when messages are unacknowledged without any new acknowledgement, although the caller reads.
    pub fn stalled_since(&self) -> Option<Instant> {
        let since = self.outbound.stalled_since().filter(|_| self.attached && self.reading)?;
        Some(self.reading_since.map_or(since, |reading| reading.max(since)))
    }

    /// Sends a message that the agent ignores, but that restarts the service's idle time-out.
    pub fn keep_open(&mut self) {
        if matches!(self.phase, Phase::Open) {
            self.urgent.push_back((PayloadType::Size, transmit::padded_size(0).into()));
        }
    }

    /// Returns how many bytes [`Self::write`] would accept.
    pub fn capacity(&self) -> usize {
        match self.phase {
            Phase::Ending => 0,
            Phase::AwaitingRequest | Phase::AwaitingComplete | Phase::Holding | Phase::Open => {
                BUFFER - self.buffer.len()
            }
        }
    }

    /// Asks the agent to end the session and discards what has not been sent. Returns false if the agent cannot
    /// receive the request; then only the API can end the session.
    pub fn terminate(&mut self) -> bool {
        let is_supported = self.agent.as_ref().is_some_and(|(agent, _)| agent.supports_terminate_flag());
        let connected = matches!(self.phase, Phase::Holding | Phase::Open);
        self.phase = Phase::Ending;
        self.buffer.clear();
        if !(is_supported && connected && self.attached) {
            return false;
        }
        self.urgent.clear();
        self.urgent.push_back((PayloadType::Flag, Bytes::copy_from_slice(&Flag::TerminateSession.payload())));
        self.terminate = Some(self.outbound.next_number());
        true
    }

    /// Returns true if the agent has acknowledged the terminate flag.
    pub fn is_termination_acknowledged(&self) -> bool {
        self.terminate.is_some_and(|number| self.outbound.is_acknowledged(number))
    }

    /// Returns true if the terminate flag waits behind data that the agent has not acknowledged.
    pub fn is_termination_queued_behind_data(&self) -> bool {
        self.terminate.is_some_and(|number| self.outbound.is_pending_before(number))
    }

    /// Returns true if every written byte has been acknowledged.
    pub fn is_flushed(&self) -> bool {
        self.buffer.is_empty() && self.urgent.is_empty() && self.outbound.is_clear()
    }

    /// Returns true if the agent has sent its handshake request.
    pub fn has_handshake_request(&self) -> bool {
        self.agent.is_some()
    }

    /// Returns true if the agent must send a handshake message or an acknowledgement.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::AwaitingRequest | Phase::AwaitingComplete) || !self.outbound.is_clear()
    }

    /// Returns true if received messages cannot be delivered because an earlier one is missing.
    pub fn has_gap(&self) -> bool {
        self.inbound.has_gap()
    }

    /// Returns true if so many acknowledgements are unsent that no more messages must be read.
    pub fn owes_too_much(&self) -> bool {
        self.acks.len() >= OWED
    }

    /// Returns a counter that grows with every message that is delivered or newly acknowledged.
    pub fn progress(&self) -> u64 {
        self.inbound.expected().unsigned_abs() + self.outbound.acknowledged()
    }

    /// Returns the size in bytes of the largest unacknowledged message, if some paths may not carry it.
    pub fn oversized(&self) -> Option<usize> {
        self.outbound.largest().filter(|size| *size > SAFE_PAYLOAD + frame::OVERHEAD)
    }

    /// Returns the smoothed round-trip time.
    pub fn round_trip_time(&self) -> Duration {
        self.rtt.smoothed()
    }

    /// Returns the size in bytes of the largest message that is sent.
    pub fn message_size(&self) -> usize {
        self.payload_limit() + frame::OVERHEAD
    }

    /// Returns the size in bytes of a recent probe that may be the reason if the far side has just ended the session.
    pub fn suspected_size(&self, now: Now) -> Option<usize> {
        self.discovery.suspected_size(now.instant)
    }

    /// Returns the next deadline and what it is for.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<ChannelEvent> {
        self.events.pop_front()
    }

    fn open(&mut self) {
        if matches!(self.phase, Phase::Holding) {
            self.timers.stop(Timer::HoldInput);
            self.phase = Phase::Open;
        }
    }

    fn fail(&mut self, failure: ChannelError) {
        self.timers.stop(Timer::HandshakeRequest);
        self.timers.stop(Timer::HandshakeComplete);
        self.phase = Phase::Ending;
        self.events.push_back(ChannelEvent::Failed(failure));
    }

    fn dropped(&mut self, reason: DropReason) {
        self.events.push_back(ChannelEvent::Dropped(reason));
    }

    fn arm_after_attach(&mut self, now: Instant) {
        match self.phase {
            Phase::AwaitingRequest => self.timers.set(Timer::HandshakeRequest, now + HANDSHAKE_TIMEOUT),
            Phase::AwaitingComplete => self.timers.set(Timer::HandshakeComplete, now + HANDSHAKE_TIMEOUT),
            Phase::Holding => self.timers.set(Timer::HoldInput, now + HOLD_INPUT),
            Phase::Open | Phase::Ending => {}
        }
        self.arm_for_arrivals(now);
    }

    /// Starts the timers that wait for messages to arrive.
    fn arm_for_arrivals(&mut self, now: Instant) {
        if self.inbound.has_gap() {
            self.timers.set(Timer::Gap, now + GAP_TIMEOUT);
        }
        if let Some(lost_at) = self.discovery.lost_at(now, self.rtt.timeout()) {
            self.timers.set(Timer::Probe, lost_at);
        }
        if self.first_input.is_some_and(|number| !self.outbound.is_acknowledged(number)) {
            self.timers.set(Timer::FirstInput, now + FIRST_INPUT_TIMEOUT);
        }
    }

    /// Sets the timers that follow from the state of the parts.
    fn rearm(&mut self, now: Instant) {
        match self.outbound.next_deadline().filter(|_| self.reading) {
            Some(at) => self.timers.set(Timer::Resend, at),
            None => self.timers.stop(Timer::Resend),
        }
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            self.timers.set(Timer::Pace, until);
        }
    }
}

fn uuid4(random: &mut Random) -> Uuid {
    let mut bytes = [0; 16];
    random(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// Frames for tests that play the agent.
#[cfg(test)]
pub(crate) mod wire {
    pub(crate) use super::discovery::SAFE_PAYLOAD;
    pub(crate) use super::frame::{Frame, Header};
    pub(crate) use super::message::{MessageType, PayloadType};
}

#[cfg(test)]
pub(crate) mod tests;
