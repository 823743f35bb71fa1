//! The state of a session's streams: which waits, is open, or lingers, and what each has received and not read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::ReadBuf;
use tokio::sync::watch;

use crate::channel::{AgentVersion, Channel, Mode};

use super::super::SessionError;
use super::super::end::LinkState;
use super::carrier::{Carrier, CarrierEvent};
use super::slot::{Input, Phase, Slot};
use super::{Released, Request, SessionStatus, StreamError, StreamOptions};

/// Agents that may end a silent session want a sign of life every 10 s.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(9);

/// What one stream may have unsent.
pub(super) const CREDIT: usize = 64 << 10;
/// A writer that has used its credit up is woken when it has so much again.
const CREDIT_PIECE: usize = 16 << 10;
/// Received and unread bytes of all streams of a session beyond which the websocket is not read.
const UNREAD_BY_ALL_LIMIT: usize = 8 << 20;

/// Everything that the driver and the streams of a session share.
pub(super) struct State {
    pub(super) options: StreamOptions,
    pub(super) status: watch::Sender<SessionStatus>,
    pub(super) carrier: Carrier,
    pub(super) slots: BTreeMap<u64, Slot>,
    next_number: u64,
    /// Openings that the session does not carry yet, the earliest request in front.
    pub(super) waiting: VecDeque<u64>,
    /// Streams in [`Phase::Trial`].
    pub(super) trials: BTreeSet<u64>,
    /// Carried streams that the agent is not known to have.
    pub(super) opening: BTreeSet<u64>,
    /// Carried streams whose input has ended.
    pub(super) half_closed: BTreeSet<u64>,
    /// Streams whose writer waits for credit.
    blocked: BTreeSet<u64>,
    /// Unread bytes of all streams, and how many streams are at their limit.
    unread: usize,
    full: usize,
    /// How far the session had come, and when it last came further.
    pub(super) alive: (u64, Instant),
    /// How long a stream on trial may stay unacknowledged.
    pub(super) move_on: Duration,
    /// The last moment at which nothing could be received, though an opening waited for the agent.
    pub(super) deaf_until: Option<Instant>,
    /// It has just become known that the session can carry more, or no more.
    pub(super) is_fresh: bool,
    pub(super) next_sign: Option<Instant>,
    pub(super) next_hold: Option<Instant>,
    /// Something waits to be sent, or to be acknowledged.
    pub(super) is_busy: bool,
    /// Since when the session has made no progress.
    pub(super) stalled_since: Option<Instant>,
    pub(super) idle_since: Option<Instant>,
    pub(super) wake_at: Option<Instant>,
    /// The peer, or silence, has ended a stream.
    has_ended_one: bool,
    is_over: bool,
}

impl State {
    pub(super) fn new(now: Instant, options: StreamOptions, status: watch::Sender<SessionStatus>) -> Self {
        Self {
            options,
            status,
            carrier: Carrier::Unknown,
            slots: BTreeMap::new(),
            next_number: 0,
            waiting: VecDeque::new(),
            trials: BTreeSet::new(),
            opening: BTreeSet::new(),
            half_closed: BTreeSet::new(),
            blocked: BTreeSet::new(),
            unread: 0,
            full: 0,
            alive: (0, now),
            move_on: Duration::ZERO,
            deaf_until: None,
            is_fresh: false,
            next_sign: None,
            next_hold: None,
            is_busy: false,
            stalled_since: None,
            idle_since: None,
            wake_at: None,
            has_ended_one: false,
            is_over: false,
        }
    }
}

/// What the users of streams do.
impl State {
    /// Adds a stream that waits to be opened, and returns its number.
    pub(super) fn add(&mut self, request: Request) -> u64 {
        self.next_number += 1;
        let (number, asked) = (self.next_number, request.asked);
        let phase = if self.is_over { Phase::Closed(Err(StreamError::Lost)) } else { Phase::Waiting };
        self.slots.insert(number, Slot::new(request, phase));
        if !self.is_over {
            self.queue(number, asked);
            let live = self.live() + self.waiting.len();
            self.status.send_modify(|status| status.live = live);
        }
        number
    }

    pub(super) fn poll_open(&mut self, number: u64, cx: &Context<'_>) -> Poll<Result<(), StreamError>> {
        let Some(slot) = self.slots.get_mut(&number) else { return Poll::Ready(Err(StreamError::Lost)) };
        match slot.phase {
            Phase::Waiting | Phase::Trial(_) => {
                slot.opener = Some(cx.waker().clone());
                Poll::Pending
            }
            Phase::Open | Phase::Closed(Ok(())) => Poll::Ready(Ok(())),
            // What was received before the failure is the reader's.
            Phase::Closed(Err(_)) if slot.unread > 0 => Poll::Ready(Ok(())),
            Phase::Closed(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    /// Fills a buffer with what was received. Returns whether the driver has to know.
    pub(super) fn poll_read(
        &mut self,
        number: u64,
        cx: &Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> (Poll<io::Result<()>>, bool) {
        let Some(slot) = self.slots.get_mut(&number) else { return (lost(), false) };
        let taken = slot.take(buf);
        if taken > 0 {
            let was_closed = !self.takes_more();
            self.took(number, taken);
            return (Poll::Ready(Ok(())), was_closed && self.takes_more());
        }
        match slot.phase {
            Phase::Closed(end) => (Poll::Ready(end.map_err(io::Error::from)), false),
            Phase::Waiting | Phase::Trial(_) | Phase::Open => {
                let begins = slot.reader.replace(cx.waker().clone()).is_none();
                (Poll::Pending, begins && slot.has_ended_input())
            }
        }
    }

    /// Takes bytes to be sent, as far as the stream has credit.
    pub(super) fn poll_write(
        &mut self,
        number: u64,
        cx: &Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(slot) = self.slots.get_mut(&number) else { return lost() };
        let is_open = match slot.phase {
            Phase::Waiting | Phase::Trial(_) => false,
            Phase::Open => true,
            Phase::Closed(_) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
        if slot.has_ended_input() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let credit = CREDIT.saturating_sub(self.carrier.queued(number));
        if !is_open || credit == 0 {
            slot.writer = Some(cx.waker().clone());
            self.blocked.insert(number);
            return Poll::Pending;
        }
        let taken = bytes.len().min(credit);
        self.carrier.write(number, &bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    /// The user sends nothing more; what it has sent is still delivered.
    pub(super) fn end_input(&mut self, number: u64) {
        let Some(slot) = self.slots.get_mut(&number).filter(|slot| slot.input == Input::Open) else { return };
        slot.input = Input::Ended { last_byte: None, quiet_since: None };
        if slot.is_carried() {
            self.half_closed.insert(number);
        }
    }

    /// Sets how long a stream's peer may be silent after the end of its input.
    pub(super) fn set_linger(&mut self, number: u64, linger: Duration) {
        if let Some(slot) = self.slots.get_mut(&number) {
            slot.linger = Some(linger);
        }
    }

    /// Forgets a stream that nothing uses any more: it is closed behind what was sent if its input had ended, and at
    /// once if not.
    pub(super) fn remove(&mut self, number: u64) {
        let Some(slot) = self.slots.get(&number) else { return };
        let (is_carried, input, unread) = (slot.is_carried(), slot.input, slot.unread);
        self.took(number, unread);
        if is_carried && input == Input::Open {
            self.carrier.abandon(number);
        } else if is_carried {
            self.carrier.finish(number);
        }
        self.forget_in_sets(number);
        self.waiting.retain(|other| *other != number);
        self.slots.remove(&number);
    }

    fn took(&mut self, number: u64, length: usize) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        let was_full = slot.unread >= self.options.unread_limit;
        slot.unread -= length;
        self.unread -= length;
        self.full -= usize::from(was_full && slot.unread < self.options.unread_limit);
    }

    fn forget_in_sets(&mut self, number: u64) {
        for set in [&mut self.trials, &mut self.opening, &mut self.half_closed, &mut self.blocked] {
            set.remove(&number);
        }
    }
}

/// What the driver does.
impl State {
    pub(super) fn connected(&mut self, now: Instant, mode: Mode, agent: &AgentVersion) {
        self.carrier = Carrier::of(mode);
        self.is_fresh = true;
        self.alive.1 = now;
        let multiplexed = mode == Mode::Multiplexed;
        // The agent has dialled already: a client that comes later may find a connection that is closed.
        let is_stale = !multiplexed && self.waiting.is_empty();
        self.next_sign = (multiplexed && agent.wants_keepalive()).then(|| now + KEEP_ALIVE);
        self.status.send_modify(|status| {
            status.is_retired |= is_stale;
            status.was_up = true;
        });
        // At once: what the destination sends may arrive together with the end of the session.
        self.open_waiting(now);
    }

    pub(super) fn receive(&mut self, bytes: Bytes) -> Result<(), SessionError> {
        self.carrier.receive(bytes);
        while let Some(event) = self.carrier.poll_event() {
            match event {
                CarrierEvent::Data(number, bytes) => self.data(number, bytes),
                CarrierEvent::Closed(number) => self.closed(number),
                CarrierEvent::Refused(number) => self.turned_away(number),
                CarrierEvent::Broken(error) => return Err(SessionError::Mux(error)),
            }
        }
        Ok(())
    }

    pub(super) fn refused(&mut self) {
        self.carrier.handle_refusal();
    }

    pub(super) fn data(&mut self, number: u64, bytes: Bytes) {
        self.accept(number);
        let Some(slot) = self.slots.get_mut(&number) else { return };
        if let Input::Ended { quiet_since, .. } = &mut slot.input {
            *quiet_since = None;
        }
        let was_full = slot.unread >= self.options.unread_limit;
        slot.unread += bytes.len();
        self.unread += bytes.len();
        self.full += usize::from(!was_full && slot.unread >= self.options.unread_limit);
        slot.received.push_back(bytes);
        if let Some(reader) = slot.reader.take() {
            reader.wake();
        }
    }

    /// The peer is done with the stream, or has been silent for long enough.
    pub(super) fn closed(&mut self, number: u64) {
        self.accept(number);
        self.close(number, Ok(()));
        self.has_ended_one = true;
    }

    /// Nothing more is sent or received for a stream.
    pub(super) fn close(&mut self, number: u64, end: Result<(), StreamError>) {
        self.forget_in_sets(number);
        let Some(slot) = self.slots.get_mut(&number) else { return };
        slot.phase = Phase::Closed(end);
        slot.wake_all();
    }

    pub(super) fn feed(&mut self, now: Instant, channel: &mut Channel, link: LinkState) -> bool {
        let works = link.connected && link.is_up;
        let progress = channel.progress();
        if progress != self.alive.0 {
            self.alive = (progress, now);
        }
        if works {
            self.open_waiting(now);
        }
        let receives = link.is_up && self.takes_more();
        if !receives && !self.opening.is_empty() {
            self.deaf_until = Some(now);
        }
        self.watch_silence(now, channel, link);
        self.end_lingering(now, link);
        self.watch_openings(now, channel);
        self.move_trials(now, channel.round_trip_time());
        let live = self.live();
        self.keep_up(now, channel, live, works);
        let fed = works && self.carrier.feed(channel);
        self.wake_writers();
        self.is_busy = self.carrier.backlog() > 0 || !channel.is_flushed();
        self.watch_stall(now, channel);
        self.publish(now, live, link);
        self.turn_excess_away();
        self.wake_at = self.next_wake(now, link);
        fed
    }

    fn wake_writers(&mut self) {
        let (slots, carrier) = (&mut self.slots, &self.carrier);
        self.blocked.retain(|number| {
            let Some(slot) = slots.get_mut(number) else { return false };
            if slot.phase != Phase::Open || carrier.queued(*number) + CREDIT_PIECE > CREDIT {
                return true;
            }
            if let Some(writer) = slot.writer.take() {
                writer.wake();
            }
            false
        });
    }

    pub(super) fn is_finished(&self, now: Instant, channel: &Channel, link: LinkState) -> bool {
        let is_busy = self.carrier.backlog() > 0 || !channel.is_flushed();
        let is_idle = self.live() == 0 && !is_busy && self.waiting.is_empty();
        let idled = self.idle_since.zip(self.options.idle_limit);
        let has_idled = idled.is_some_and(|(since, limit)| now >= since + limit);
        let is_retired = self.status.borrow().is_retired;
        let has_ended_only_one = self.options.is_single && self.has_ended_one;
        let is_over = self.carrier.is_over() && channel.is_flushed();
        is_over || has_ended_only_one || (link.connected && is_idle && (is_retired || has_idled))
    }

    pub(super) fn ending(&mut self) {
        self.status.send_modify(|status| status.is_ending = true);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.wake_at
    }

    pub(super) fn takes_more(&self) -> bool {
        self.full == 0 && self.unread + self.carrier.early() < UNREAD_BY_ALL_LIMIT
    }

    pub(super) fn may_send(&self) -> bool {
        self.slots.values().any(|slot| slot.is_carried() && slot.input == Input::Open)
    }

    pub(super) fn ack_timeout(&self) -> Option<Duration> {
        self.options.ack_timeout
    }

    pub(super) fn live(&self) -> usize {
        self.slots.values().filter(|slot| slot.is_carried()).count()
    }

    /// Ends or fails every stream, since the session is over. The first call decides.
    pub(super) fn release(&mut self, in_order: bool, is_wanted: impl Fn(Instant) -> bool) -> Released {
        let mut released = Released::default();
        if std::mem::replace(&mut self.is_over, true) {
            return released;
        }
        self.ending();
        let ends_in_order = in_order && matches!(self.carrier, Carrier::Single(_));
        let all: Vec<u64> = self.slots.keys().copied().collect();
        for number in all {
            let Some(slot) = self.slots.get(&number) else { continue };
            let end = match slot.phase {
                Phase::Closed(_) => continue,
                Phase::Waiting | Phase::Trial(_) if is_wanted(slot.asked) => Err(StreamError::Elsewhere),
                Phase::Open if ends_in_order => Ok(()),
                Phase::Waiting | Phase::Trial(_) | Phase::Open => Err(StreamError::Lost),
            };
            released.count(slot.phase, end);
            self.close(number, end);
        }
        self.waiting.clear();
        // The watchers of the status learn that the session is over, though streams are still read.
        let last = *self.status.borrow();
        self.status = watch::Sender::new(last);
        released
    }
}

fn lost<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(StreamError::Lost.into()))
}
