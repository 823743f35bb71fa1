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
mod event;
mod frame;
mod handshake;
mod inbound;
mod message;
mod outbound;
mod pacer;
mod receive;
mod rtt;
mod timer;
mod transmit;
mod version;
mod window;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use self::discovery::Discovery;
use self::inbound::Inbound;
use self::message::{Flag, OpenDataChannelInput, PayloadType};
use self::outbound::Outbound;
use self::pacer::Pacer;
use self::rtt::Rtt;
use self::timer::TimerTable;
use self::window::Window;

pub use self::crypto::{DecryptError, SessionCipher};
pub use self::discovery::{LARGEST_PAYLOAD, PathKnowledge, SAFE_PAYLOAD};
pub use self::event::{Dropped, Event, Failure, Now, Random, Settings, Transmit};
pub use self::frame::FrameError;
pub use self::handshake::{Mode, Refusal};
pub use self::pacer::Pace;
pub use self::timer::Timer;
pub use self::version::{AgentVersion, CLIENT_VERSION};

/// Frames for tests that play the agent.
#[cfg(test)]
pub(crate) mod wire {
    pub(crate) use super::frame::{Frame, Header};
    pub(crate) use super::message::{MessageType, PayloadType};
}

/// What `write` keeps at most before it makes the writer wait.
const BUFFER: usize = 256 << 10;
/// How long the agent may take to speak first, and then to complete the handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// The agent says that the handshake is complete a moment before it stops throwing input away.
const HOLD_INPUT: Duration = Duration::from_millis(10);
/// A first input that is unacknowledged for so long means that the port may not be listening.
const FIRST_INPUT_TIMEOUT: Duration = Duration::from_secs(3);
/// A missing message that has not come for so long, on a working link, will not come.
const GAP_TIMEOUT: Duration = Duration::from_secs(120);

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
    agent: Option<(AgentVersion, Mode)>,
    for_remote_host: bool,
    receipts: VecDeque<Receipt>,
    recent: VecDeque<Receipt>,
    /// Messages that do not wait: handshake response, flags.
    urgent: VecDeque<(PayloadType, Bytes)>,
    buffer: BytesMut,
    /// Bytes that the caller will write as soon as there is room.
    backlog: usize,
    /// Bytes that have left, the messages they are in by number and end, and how many of the first have arrived.
    flow: Flow,
    first_input: Option<i64>,
    terminate: Option<i64>,
    inbound: Inbound,
    outbound: Outbound,
    rtt: Rtt,
    window: Window,
    pacer: Pacer,
    discovery: Discovery,
    paused_until: Option<Instant>,
    /// False while the caller does not read: silence is the caller's own then.
    reading: bool,
    reading_since: Option<Instant>,
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
            for_remote_host: settings.for_remote_host,
            receipts: VecDeque::new(),
            recent: VecDeque::new(),
            urgent: VecDeque::new(),
            buffer: BytesMut::new(),
            backlog: 0,
            flow: Flow::default(),
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

    /// The caller stops or goes on reading: while it does not, nothing is concluded from what does not arrive.
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

    /// How many bytes the path can use now: what is written beyond them only waits here, in front of what comes later.
    pub fn appetite(&self) -> usize {
        self.capacity().min((2 * self.payload_limit()).saturating_sub(self.buffer.len()))
    }

    /// Tells how much the caller holds back for want of [`Self::appetite`]: bulk data makes larger messages worth it.
    pub fn set_backlog(&mut self, bytes: usize) {
        self.backlog = bytes;
    }

    /// How many of all the bytes that were written have arrived, without a gap.
    pub fn arrived(&self) -> u64 {
        self.flow.arrived
    }

    /// Since when something is unacknowledged and nothing has been acknowledged, though we read.
    pub fn stalled_since(&self) -> Option<Instant> {
        let since = self.outbound.stalled_since().filter(|_| self.attached && self.reading)?;
        Some(self.reading_since.map_or(since, |reading| reading.max(since)))
    }

    /// Sends a message that means nothing to the agent but is input for the service's idle time-out.
    pub fn keep_open(&mut self) {
        if matches!(self.phase, Phase::Open) {
            self.urgent.push_back((PayloadType::Size, transmit::padded_size(0).into()));
        }
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
        let understood = self.agent.as_ref().is_some_and(|(agent, _)| agent.understands_terminate());
        let connected = matches!(self.phase, Phase::Holding | Phase::Open);
        self.phase = Phase::Ending;
        self.buffer.clear();
        if !(understood && connected && self.attached) {
            return false;
        }
        self.urgent.clear();
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

    /// How far both directions have come: grows with every message that is delivered or newly acknowledged.
    pub fn progress(&self) -> u64 {
        self.inbound.expected().unsigned_abs() + self.outbound.acknowledged()
    }

    /// The size in bytes of the largest message that is unacknowledged, if it is larger than every path carries.
    pub fn oversized(&self) -> Option<usize> {
        self.outbound.largest().filter(|size| *size > SAFE_PAYLOAD + frame::OVERHEAD)
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
        self.arm_for_arrivals(now);
    }

    /// Starts what waits for something to arrive.
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

    /// Follows what the other parts want to wait for.
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

/// How far the user's bytes have come.
#[derive(Debug, Default)]
struct Flow {
    left: u64,
    /// The messages that carry them, by number, and where each ends.
    messages: VecDeque<(i64, u64)>,
    arrived: u64,
}

impl Flow {
    fn leaves(&mut self, number: i64, bytes: usize) {
        self.left += bytes as u64;
        self.messages.push_back((number, self.left));
    }

    /// Everything before `number` has been acknowledged.
    fn arrives_before(&mut self, number: i64) {
        while let Some((_, end)) = self.messages.pop_front_if(|(message, _)| *message < number) {
            self.arrived = end;
        }
    }
}

fn uuid4(random: &mut Random) -> Uuid {
    let mut bytes = [0; 16];
    random(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

#[cfg(test)]
pub(crate) mod tests;
