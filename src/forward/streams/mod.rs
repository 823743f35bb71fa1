//! The connections of a forward as a session's local end.
//!
//! Owns which connection waits, is open, or lingers after its application's end of input, and how much each may have
//! under way: the carrier has no flow control, so what is read locally is bounded by credit, and what is received and
//! not taken stops the websocket. Nothing is dropped, and a slow reader is never reset.

mod openings;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::channel::{AgentVersion, Channel, Mode, Now};

use super::carrier::{self, Carrier};
use super::connection::{News, NewsOf, Order, Orders};
use super::incoming::{Answer, Incoming};
use super::{ForwardEvent, Status, Traffic, add};
use crate::session::{LinkState, LocalEnd, SIGN_OF_LIFE};
use crate::session::{Outcome, SessionError};

/// What one connection may have read and not sent.
const CREDIT: usize = 64 << 10;
/// Credit is given in pieces of at least so much.
const CREDIT_PIECE: usize = 16 << 10;
/// Received data that one connection's application has not taken; beyond it the websocket is not read.
const RECEIVED_LIMIT: usize = 4 << 20;
/// The same for all connections of the session.
const RECEIVED_BY_ALL_LIMIT: usize = 8 << 20;
/// An agent that acknowledges nothing for so long may be gone: the link is opened anew, and tells if it is.
const PATIENCE: Duration = Duration::from_secs(60);

/// How connections are treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    /// How long the peer may be silent after the application's end of input.
    pub linger: Duration,
    /// How long a connection may wait for the agent.
    pub connect_timeout: Duration,
    /// The session is kept from ending for want of input while a connection is open.
    pub hold: bool,
    /// A session without connections ends itself after so long.
    pub idle_limit: Option<Duration>,
}

/// What ties a session's end to those who have it.
pub(super) struct Ties {
    pub inbox: UnboundedReceiver<Incoming>,
    pub leave: CancellationToken,
    pub status: watch::Sender<Status>,
    pub tell: Box<dyn Fn(&ForwardEvent)>,
    /// Who finds another session for a connection.
    pub hand_back: Box<dyn Fn(Incoming)>,
    pub traffic: Rc<Traffic>,
}

/// The end.
pub(super) struct Streams {
    manners: Manners,
    ties: Ties,
    news_sender: UnboundedSender<NewsOf>,
    news: UnboundedReceiver<NewsOf>,
    waiting: VecDeque<Incoming>,
    connections: BTreeMap<u64, Connection>,
    /// Connections that have been opened, and nothing read of, since it is not known whether the agent is there.
    tentative: BTreeMap<u64, (Instant, Incoming)>,
    /// How long an opening on trial may stay unacknowledged.
    move_on: Duration,
    /// How far the session had come, and when it last came further.
    alive: (u64, Instant),
    /// Connections that the agent does not know of yet, that linger, and that may be read again.
    opening: BTreeSet<u64>,
    half_closed: BTreeSet<u64>,
    hungry: BTreeSet<u64>,
    next_number: u64,
    carrier: Carrier,
    /// Received bytes that wait for their applications, and how many of these are at their limit.
    unwritten: usize,
    full: usize,
    /// It has just become known that the session can carry more, or no more.
    is_fresh: bool,
    next_sign: Option<Instant>,
    next_hold: Option<Instant>,
    /// The last moment at which nothing could be heard, though a connection waited for the agent.
    deaf_until: Option<Instant>,
    /// Something waits to be sent, or to be acknowledged.
    is_busy: bool,
    /// Since when the session has stood still.
    stalled_since: Option<Instant>,
    idle_since: Option<Instant>,
    wake_at: Option<Instant>,
}

struct Connection {
    orders: Orders,
    from: String,
    asked: Instant,
    /// What the application is told once it is known whether it is connected.
    answer: Option<Answer>,
    /// The carrier has it.
    is_carried: bool,
    /// Bytes that it may read without asking.
    unspent: usize,
    unwritten: usize,
    /// The last thing heard from the far side, or the last moment at which nothing could be.
    heard: Instant,
    /// Where among all that is sent its last bytes are, once it has ended and they have left.
    last_words: Option<u64>,
}

/// What is left of a session's connections.
pub(super) struct Released {
    /// Those that nothing has been sent of.
    pub waiting: Vec<Incoming>,
    /// How many were open and are reset.
    pub broken: usize,
    news: UnboundedReceiver<NewsOf>,
}

impl Released {
    /// Waits until the last connection is gone.
    pub(super) async fn gone(mut self) {
        while self.news.recv().await.is_some() {}
    }
}

/// What happens at this end.
pub(super) enum Event {
    Leave,
    Incoming(Incoming),
    News(NewsOf),
}

impl Streams {
    pub(super) fn new(now: Instant, manners: Manners, ties: Ties) -> Self {
        let (news_sender, news) = unbounded_channel();
        Self {
            manners,
            ties,
            news_sender,
            news,
            waiting: VecDeque::new(),
            connections: BTreeMap::new(),
            tentative: BTreeMap::new(),
            move_on: Duration::ZERO,
            alive: (0, now),
            opening: BTreeSet::new(),
            half_closed: BTreeSet::new(),
            hungry: BTreeSet::new(),
            next_number: 0,
            carrier: Carrier::Unknown,
            unwritten: 0,
            full: 0,
            is_fresh: false,
            next_sign: None,
            next_hold: None,
            deaf_until: None,
            is_busy: false,
            stalled_since: None,
            idle_since: None,
            wake_at: None,
        }
    }

    /// Lets go of everything, since the session is over, in order or not: what was received is still written. Then
    /// connections are reset, since their streams have not ended; only one that was all of its session ends with it.
    pub(super) fn release(mut self, in_order: bool) -> Released {
        let ends_in_order = in_order && matches!(self.carrier, Carrier::Single(_));
        let carried = self.connections.values().filter(|connection| connection.is_carried);
        let mut broken = 0;
        for connection in carried {
            if ends_in_order {
                connection.order(Order::Close);
            } else {
                broken += 1;
            }
        }
        let traffic = &self.ties.traffic.connections;
        traffic.set(traffic.get() - self.connections.len());
        self.ties.inbox.close();
        let tentative = std::mem::take(&mut self.tentative);
        self.waiting.extend(tentative.into_values().map(|(_, incoming)| incoming));
        while let Ok(incoming) = self.ties.inbox.try_recv() {
            self.waiting.push_back(incoming);
        }
        Released { waiting: self.waiting.into(), broken, news: self.news }
    }

    fn take_news(&mut self, now: Instant, (number, news): NewsOf) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        match news {
            News::Read(bytes) => {
                connection.unspent -= bytes.len();
                self.hungry.insert(number);
                add(&self.ties.traffic.sent, bytes.len());
                self.carrier.write(number, bytes);
            }
            News::Eof => {
                connection.heard = now;
                if connection.is_carried {
                    self.half_closed.insert(number);
                }
            }
            News::Wrote(length) => self.wrote(number, length),
            News::Gone => {
                let unwritten = connection.unwritten;
                self.wrote(number, unwritten);
                // What an application said before it ended is delivered, though it hears no more.
                if self.half_closed.contains(&number) {
                    self.carrier.finish(number);
                } else if connection_is_carried(&self.connections, number) {
                    self.carrier.abandon(number);
                }
                self.connections.remove(&number);
                self.ties.traffic.connections.set(self.ties.traffic.connections.get() - 1);
                for set in [&mut self.opening, &mut self.half_closed, &mut self.hungry] {
                    set.remove(&number);
                }
            }
        }
    }

    fn wrote(&mut self, number: u64, length: usize) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let was_full = connection.unwritten >= RECEIVED_LIMIT;
        connection.unwritten -= length;
        self.unwritten -= length;
        self.full -= usize::from(was_full && connection.unwritten < RECEIVED_LIMIT);
    }

    fn take_carrier_events(&mut self, now: Instant) -> Result<(), SessionError> {
        while let Some(event) = self.carrier.poll_event() {
            match event {
                carrier::Event::Data(number, bytes) => self.data(now, number, bytes),
                carrier::Event::Closed(number) => self.closed(number),
                carrier::Event::Refused(number) => self.turned_away(number),
                carrier::Event::Broken(error) => return Err(SessionError::Mux(error)),
            }
        }
        Ok(())
    }

    fn data(&mut self, now: Instant, number: u64, bytes: Bytes) {
        self.accept(number);
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.heard = now;
        let was_full = connection.unwritten >= RECEIVED_LIMIT;
        connection.unwritten += bytes.len();
        self.unwritten += bytes.len();
        self.full += usize::from(!was_full && connection.unwritten >= RECEIVED_LIMIT);
        add(&self.ties.traffic.received, bytes.len());
        connection.order(Order::Write(bytes));
    }

    /// The far side is done with the connection.
    fn closed(&mut self, number: u64) {
        self.accept(number);
        if let Some(connection) = self.uncarry(number) {
            connection.order(Order::Close);
        }
    }

    fn uncarry(&mut self, number: u64) -> Option<&mut Connection> {
        self.half_closed.remove(&number);
        self.hungry.remove(&number);
        let connection = self.connections.get_mut(&number)?;
        connection.is_carried = false;
        Some(connection)
    }

    fn give_credit(&mut self) {
        let (connections, carrier) = (&mut self.connections, &self.carrier);
        self.hungry.retain(|number| {
            let Some(connection) = connections.get_mut(number) else { return false };
            let room = CREDIT.saturating_sub(connection.unspent + carrier.queued(*number));
            if room >= CREDIT_PIECE {
                connection.give(room);
            }
            room < CREDIT && connection.unspent + CREDIT_PIECE < CREDIT
        });
    }

    fn live(&self) -> usize {
        let carried = self.connections.values().filter(|connection| connection.is_carried).count();
        carried + self.tentative.len()
    }
}

fn connection_is_carried(connections: &BTreeMap<u64, Connection>, number: u64) -> bool {
    connections.get(&number).is_some_and(|connection| connection.is_carried)
}

impl Connection {
    fn give(&mut self, credit: usize) {
        self.unspent += credit;
        self.order(Order::Credit(credit));
    }

    /// A connection that is gone tells so by itself.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

impl LocalEnd for Streams {
    type Event = Event;

    async fn next(&mut self, _room: usize) -> Event {
        let Ties { inbox, leave, .. } = &mut self.ties;
        tokio::select! {
            () = leave.cancelled() => Event::Leave,
            Some(news) = self.news.recv() => Event::News(news),
            Some(incoming) = inbox.recv() => Event::Incoming(incoming),
        }
    }

    fn handle(
        &mut self,
        now: Now,
        event: Event,
        _channel: &mut Channel,
    ) -> Result<Option<Outcome>, SessionError> {
        match event {
            Event::Leave => return Ok(Some(Outcome::Done)),
            Event::Incoming(incoming) => self.queue(incoming),
            Event::News(news) => {
                self.take_news(now.instant, news);
                while let Ok(news) = self.news.try_recv() {
                    self.take_news(now.instant, news);
                }
            }
        }
        Ok(None)
    }

    fn connected(&mut self, now: Now, mode: Mode, agent: &AgentVersion) -> Result<(), SessionError> {
        self.carrier = Carrier::of(mode);
        self.is_fresh = true;
        if mode == Mode::Single && self.waiting.is_empty() && self.ties.inbox.is_empty() {
            // The agent has dialled already, for nobody: who comes later may find a connection that is closed.
            self.ties.status.send_modify(|status| status.is_retired = true);
        }
        let multiplexed = mode == Mode::Multiplexed;
        self.next_sign = (multiplexed && agent.wants_keepalive()).then(|| now.instant + SIGN_OF_LIFE);
        self.ties.status.send_modify(|status| status.was_up = true);
        Ok(())
    }

    fn receive(&mut self, now: Now, bytes: Bytes) -> Result<(), SessionError> {
        self.carrier.receive(bytes);
        self.take_carrier_events(now.instant)
    }

    fn refused(&mut self) {
        self.carrier.handle_refusal();
    }

    fn feed(&mut self, now: Now, channel: &mut Channel, link: LinkState) -> bool {
        let now = now.instant;
        let works = link.connected && link.is_up;
        let progress = channel.progress();
        if progress != self.alive.0 {
            self.alive = (progress, now);
        }
        if works {
            self.open_waiting(now);
        }
        let hears = link.is_up && self.takes_more();
        if !hears && !self.opening.is_empty() {
            self.deaf_until = Some(now);
        }
        self.watch_silence(now, channel, link);
        self.end_lingering(now);
        self.watch_openings(now, channel);
        self.move_tentative(now, channel.round_trip_time());
        let live = self.live();
        self.keep_up(now, channel, live, works);
        let fed = works && self.carrier.feed(channel);
        self.give_credit();
        self.is_busy = self.carrier.backlog() > 0 || !channel.is_flushed();
        self.watch_stall(now, channel);
        self.publish(now, live, link);
        self.hand_back_excess();
        self.wake_at = self.next_wake(now);
        fed
    }

    fn finished(
        &mut self,
        now: Now,
        channel: &Channel,
        link: LinkState,
    ) -> Result<Option<Outcome>, SessionError> {
        let live = self.live();
        let is_idle = live == 0 && !self.is_busy && self.waiting.is_empty() && self.ties.inbox.is_empty();
        let idled = self.idle_since.zip(self.manners.idle_limit);
        let has_idled = idled.is_some_and(|(since, limit)| now.instant >= since + limit);
        let is_retired = self.ties.status.borrow().is_retired;
        let is_over = self.carrier.is_over() && channel.is_flushed();
        let leaves = is_over || (link.connected && is_idle && (is_retired || has_idled));
        Ok(leaves.then_some(Outcome::Done))
    }

    fn ending(&mut self) {
        self.ties.status.send_modify(|status| status.is_ending = true);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.wake_at
    }

    fn takes_more(&self) -> bool {
        self.full == 0 && self.unwritten + self.carrier.early() < RECEIVED_BY_ALL_LIMIT
    }

    fn is_written_out(&self) -> bool {
        true
    }

    fn may_send(&self) -> bool {
        self.live() > 0
    }

    fn patience(&self) -> Option<Duration> {
        Some(PATIENCE)
    }

    fn forget(&mut self) {}

    async fn write(&mut self) {
        std::future::pending().await
    }

    async fn write_out(&mut self) {}
}

#[cfg(test)]
mod tests;
