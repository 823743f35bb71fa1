//! The connections of a forward as a session's local end.
//!
//! Owns which connection waits, is open, or lingers after its application's end of input, and how much each may have
//! under way: the carrier has no flow control, so what is read locally is bounded by credit, and what is received and
//! not taken stops the websocket. Nothing is dropped, and a slow reader is never reset.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::channel::{AgentVersion, Channel, Mode, Now};

use super::super::end::{LinkState, LocalEnd};
use super::super::{Failure, Outcome};
use super::carrier::{self, Carrier};
use super::connection::{News, NewsOf, Order, Orders};
use super::incoming::{Answer, Incoming};
use super::{Note, Status, Traffic, add};

/// What one connection may have read and not sent.
const CREDIT: usize = 64 << 10;
/// Credit is given in pieces of at least so much.
const CREDIT_PIECE: usize = 16 << 10;
/// Received data that one connection's application has not taken; beyond it the websocket is not read.
const RECEIVED_LIMIT: usize = 4 << 20;
/// The same for all connections of the session.
const RECEIVED_BY_ALL_LIMIT: usize = 8 << 20;
/// A session that stands still for so long gets no new connections.
const STALL: Duration = Duration::from_secs(1);
/// Agents that may end a silent session want a sign of life every 10 s.
const SIGN_OF_LIFE: Duration = Duration::from_secs(9);
/// The shortest idle time-out that can be set at the service is a minute, the default 20: this holds from 5 minutes on.
const HOLD: Duration = Duration::from_secs(240);
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
    pub tell: Box<dyn Fn(&Note)>,
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
    /// Connections that the agent does not know of yet, that linger, and that may be read again.
    opening: BTreeSet<u64>,
    half_closed: BTreeSet<u64>,
    hungry: BTreeSet<u64>,
    next_number: u64,
    carrier: Carrier,
    /// Received bytes that wait for their applications, and how many of these are at their limit.
    unwritten: usize,
    full: usize,
    /// It has just become known what the session can carry.
    is_fresh: bool,
    next_sign: Option<Instant>,
    next_hold: Option<Instant>,
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
    pub(super) fn new(manners: Manners, ties: Ties) -> Self {
        let (news_sender, news) = unbounded_channel();
        Self {
            manners,
            ties,
            news_sender,
            news,
            waiting: VecDeque::new(),
            connections: BTreeMap::new(),
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
        while let Ok(incoming) = self.ties.inbox.try_recv() {
            self.waiting.push_back(incoming);
        }
        Released { waiting: self.waiting.into(), broken, news: self.news }
    }

    fn open_waiting(&mut self, now: Instant) {
        while self.carrier.has_room()
            && let Some(incoming) = self.waiting.pop_front()
        {
            self.next_number += 1;
            let number = self.next_number;
            let Incoming { start, from, asked, answer } = incoming;
            let orders = start(number, self.news_sender.clone());
            self.carrier.open(number);
            let has_to_wait = answer.is_some();
            let mut connection = Connection {
                orders,
                from,
                asked,
                answer,
                is_carried: true,
                unspent: 0,
                unwritten: 0,
                heard: now,
                last_words: None,
            };
            if !has_to_wait {
                connection.give(CREDIT);
            }
            self.connections.insert(number, connection);
            self.opening.insert(number);
            self.ties.traffic.connections.set(self.ties.traffic.connections.get() + 1);
        }
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
                if connection_is_carried(&self.connections, number) {
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

    fn take_carrier_events(&mut self, now: Instant) -> Result<(), Failure> {
        while let Some(event) = self.carrier.poll_event() {
            match event {
                carrier::Event::Data(number, bytes) => self.data(now, number, bytes),
                carrier::Event::Closed(number) => self.closed(number),
                carrier::Event::Refused(number) => self.turned_away(number),
                carrier::Event::Broken(error) => return Err(Failure::Mux(error)),
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

    /// The agent has the connection, as far as can be known.
    fn accept(&mut self, number: u64) {
        if !self.opening.remove(&number) {
            return;
        }
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if let Some(answer) = connection.answer.take() {
            self.unwritten += answer.accepted.len();
            connection.unwritten += answer.accepted.len();
            connection.order(Order::Write(answer.accepted));
            connection.give(CREDIT);
        }
    }

    /// The far side is done with the connection.
    fn closed(&mut self, number: u64) {
        self.accept(number);
        if let Some(connection) = self.uncarry(number) {
            connection.order(Order::Close);
        }
    }

    /// The far side does not have it.
    fn turned_away(&mut self, number: u64) {
        self.opening.remove(&number);
        self.ties.status.send_modify(|status| status.was_refused = true);
        if let Some(connection) = self.uncarry(number) {
            let from = connection.from.clone();
            match connection.answer.take() {
                Some(answer) => self.answer_and_close(number, answer.refused),
                None => connection.order(Order::Reset),
            }
            (self.ties.tell)(&Note::Refused { from });
        }
    }

    fn answer_and_close(&mut self, number: u64, bytes: Bytes) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.unwritten += bytes.len();
        self.unwritten += bytes.len();
        connection.order(Order::Write(bytes));
        connection.order(Order::Close);
    }

    fn uncarry(&mut self, number: u64) -> Option<&mut Connection> {
        self.half_closed.remove(&number);
        self.hungry.remove(&number);
        let connection = self.connections.get_mut(&number)?;
        connection.is_carried = false;
        Some(connection)
    }

    /// Notes which openings have arrived, and gives up on those that take too long.
    fn watch_openings(&mut self, now: Instant, channel: &Channel) {
        let carrier = &self.carrier;
        let opened: Vec<u64> =
            self.opening.iter().copied().filter(|number| carrier.is_open(*number, channel)).collect();
        opened.into_iter().for_each(|number| self.accept(number));
        let timeout = self.manners.connect_timeout;
        let late = |number: &u64| self.connections.get(number).is_some_and(|it| now >= it.asked + timeout);
        let late: Vec<u64> = self.opening.iter().copied().filter(late).collect();
        late.into_iter().for_each(|number| self.give_up_on(number));
        while let Some(incoming) = self.waiting.pop_front_if(|incoming| now >= incoming.asked + timeout) {
            (self.ties.tell)(&Note::TimedOut { from: incoming.from.clone(), after: timeout });
            incoming.reject();
        }
    }

    fn give_up_on(&mut self, number: u64) {
        self.opening.remove(&number);
        self.carrier.abandon(number);
        let after = self.manners.connect_timeout;
        if let Some(connection) = self.uncarry(number) {
            let from = connection.from.clone();
            match connection.answer.take() {
                Some(answer) => self.answer_and_close(number, answer.failed),
                None => connection.order(Order::Reset),
            }
            (self.ties.tell)(&Note::TimedOut { from, after });
        }
    }

    /// Silence means nothing while the last words are under way, or while nothing can be heard.
    fn watch_silence(&mut self, now: Instant, channel: &Channel, link: LinkState) {
        let hears = link.is_up && !channel.has_gap();
        for number in &self.half_closed {
            let Some(connection) = self.connections.get_mut(number) else { continue };
            if self.carrier.queued(*number) > 0 {
                continue;
            }
            let last_words = *connection.last_words.get_or_insert(self.carrier.sent());
            if !hears || channel.arrived() < last_words {
                connection.heard = now;
            }
        }
    }

    /// Ends what has been silent for long enough after its application's end of input.
    fn end_lingering(&mut self, now: Instant) {
        let linger = self.manners.linger;
        let (connections, carrier) = (&self.connections, &self.carrier);
        let silent = |number: &u64| {
            carrier.queued(*number) == 0 && connections.get(number).is_some_and(|it| now >= it.heard + linger)
        };
        let silent: Vec<u64> = self.half_closed.iter().copied().filter(silent).collect();
        for number in silent {
            self.carrier.finish(number);
            self.closed(number);
        }
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
        self.connections.values().filter(|connection| connection.is_carried).count()
    }

    /// Does what is due by the clock alone.
    fn keep_up(&mut self, now: Instant, channel: &mut Channel, live: usize) {
        if let Some(at) = self.next_sign.filter(|at| now >= *at) {
            self.carrier.keep_alive();
            self.next_sign = Some(at.max(now) + SIGN_OF_LIFE);
        }
        if !self.manners.hold || live == 0 {
            self.next_hold = None;
        } else if now >= *self.next_hold.get_or_insert(now + HOLD) {
            channel.keep_open();
            self.next_hold = Some(now + HOLD);
        }
        let is_idle = live == 0 && self.waiting.is_empty();
        self.idle_since = is_idle.then(|| self.idle_since.unwrap_or(now));
    }

    /// Notes whether the session stands still, either way, and says who is to blame.
    fn watch_stall(&mut self, now: Instant, channel: &Channel) {
        let unread = (!self.takes_more()).then(|| self.stalled_since.unwrap_or(now));
        let unacknowledged = channel.stalled_since();
        self.stalled_since = unread.or(unacknowledged);
        let is_stalled = self.stalled_since.is_some_and(|since| now >= since + STALL);
        let was_stalled = self.ties.status.borrow().is_stalled;
        if is_stalled && !was_stalled {
            self.blame(unread.is_some());
        }
    }

    fn blame(&self, is_unread: bool) {
        let weight = |(number, connection): &(&u64, &Connection)| {
            if is_unread { connection.unwritten } else { self.carrier.queued(**number) }
        };
        let Some((number, connection)) = self.connections.iter().max_by_key(weight) else { return };
        let (from, waiting) = (&connection.from, weight(&(number, connection)));
        if is_unread {
            tracing::info!(connection = from, waiting, "stalled: the application does not read");
        } else {
            tracing::info!(
                connection = from,
                waiting,
                "stalled: nothing is acknowledged; a destination may not read"
            );
        }
    }

    fn publish(&self, now: Instant, live: usize, link: LinkState) {
        let is_stalled = self.stalled_since.is_some_and(|since| now >= since + STALL);
        let is_full = !matches!(self.carrier, Carrier::Unknown) && !self.carrier.has_room();
        self.ties.status.send_if_modified(|status| {
            let fresh = Status {
                is_up: link.connected && link.is_up,
                live: live + self.waiting.len() + self.ties.inbox.len(),
                is_stalled,
                is_full,
                ..*status
            };
            std::mem::replace(status, fresh) != fresh
        });
    }

    /// Connections that came before it was known that only one is carried find other sessions. Only once: those that
    /// are sent here in spite of it have nowhere else to go, and wait for the session's end.
    fn hand_back_excess(&mut self) {
        let is_full = !self.carrier.has_room();
        if std::mem::replace(&mut self.is_fresh, false) && is_full {
            self.waiting.drain(..).for_each(|incoming| (self.ties.hand_back)(incoming));
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let asked = |number: &u64| self.connections.get(number).map(|connection| connection.asked);
        let openings = self.opening.iter().filter_map(asked).chain(self.waiting.front().map(|it| it.asked));
        let openings = openings.map(|asked| asked + self.manners.connect_timeout);
        let lingering = self.half_closed.iter().filter(|number| self.carrier.queued(**number) == 0);
        let lingering = lingering.filter_map(|number| self.connections.get(number));
        let lingering = lingering.map(|connection| connection.heard + self.manners.linger);
        let stall = self.stalled_since.filter(|_| !self.ties.status.borrow().is_stalled);
        let idle = self.idle_since.zip(self.manners.idle_limit).map(|(since, limit)| since + limit);
        let others = [self.next_sign, self.next_hold, stall.map(|since| since + STALL), idle];
        openings.chain(lingering).chain(others.into_iter().flatten()).min()
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

    fn handle(&mut self, now: Now, event: Event, _channel: &mut Channel) -> Result<Option<Outcome>, Failure> {
        match event {
            Event::Leave => return Ok(Some(Outcome::Done)),
            Event::Incoming(incoming) => self.waiting.push_back(incoming),
            Event::News(news) => {
                self.take_news(now.instant, news);
                while let Ok(news) = self.news.try_recv() {
                    self.take_news(now.instant, news);
                }
            }
        }
        Ok(None)
    }

    fn connected(&mut self, now: Now, mode: Mode, agent: &AgentVersion) -> Result<(), Failure> {
        self.carrier = Carrier::of(mode);
        self.is_fresh = true;
        let multiplexed = mode == Mode::Multiplexed;
        self.next_sign = (multiplexed && agent.wants_keepalive()).then(|| now.instant + SIGN_OF_LIFE);
        self.ties.status.send_modify(|status| status.was_up = true);
        Ok(())
    }

    fn receive(&mut self, now: Now, bytes: Bytes) -> Result<(), Failure> {
        self.carrier.receive(bytes);
        self.take_carrier_events(now.instant)
    }

    fn refused(&mut self) {
        self.carrier.handle_refusal();
    }

    fn feed(&mut self, now: Now, channel: &mut Channel, link: LinkState) -> bool {
        let now = now.instant;
        let works = link.connected && link.is_up;
        if works {
            self.open_waiting(now);
        }
        self.watch_silence(now, channel, link);
        self.end_lingering(now);
        self.watch_openings(now, channel);
        let live = self.live();
        self.keep_up(now, channel, live);
        let fed = works && self.carrier.feed(channel);
        self.give_credit();
        self.watch_stall(now, channel);
        self.publish(now, live, link);
        self.hand_back_excess();
        self.wake_at = self.next_wake();
        fed
    }

    fn finished(&mut self, now: Now, channel: &Channel, link: LinkState) -> Result<Option<Outcome>, Failure> {
        let live = self.live();
        let is_idle = live == 0 && self.waiting.is_empty() && self.ties.inbox.is_empty();
        let idled = self.idle_since.zip(self.manners.idle_limit);
        let has_idled = idled.is_some_and(|(since, limit)| now.instant >= since + limit);
        let is_retired = self.ties.status.borrow().is_retired;
        let is_over = self.carrier.is_over() && channel.is_flushed();
        let leaves = is_over || (link.connected && is_idle && (is_retired || has_idled));
        Ok(leaves.then_some(Outcome::Done))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.wake_at
    }

    fn takes_more(&self) -> bool {
        self.full == 0 && self.unwritten < RECEIVED_BY_ALL_LIMIT
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
