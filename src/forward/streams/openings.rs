//! From a connection that waits to one that the agent has, or that is turned away.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::channel::Channel;

use super::super::ForwardEvent;
use super::super::carrier::Carrier;
use super::super::connection::Order;
use super::super::incoming::Incoming;
use super::{CREDIT, Connection, Streams};

/// An agent that has acknowledged or said something within this time is believed to be there.
const TRUST: Duration = Duration::from_secs(5);
/// How long an agent that may be gone is given to acknowledge an opening, at least.
const MOVE_ON: Duration = Duration::from_secs(2);

impl Streams {
    /// Opens what waits. An agent that has not been heard of for a while may be gone, unnoticed: then nothing is read of a
    /// connection before the agent is known to have it, so that it can still go elsewhere.
    pub(super) fn open_waiting(&mut self, now: Instant) {
        let is_single = matches!(self.carrier, Carrier::Single(_));
        let trusts = is_single || now < self.alive.1 + TRUST;
        while self.carrier.has_room()
            && let Some(incoming) = self.waiting.pop_front()
        {
            self.next_number += 1;
            let number = self.next_number;
            self.carrier.open(number);
            self.opening.insert(number);
            // One that has to wait anyway loses nothing by it.
            if is_single || (trusts && incoming.answer.is_none()) {
                self.begin(number, incoming);
            } else {
                self.tentative.insert(number, (now, incoming));
            }
            let early = self.carrier.take_early();
            if !early.is_empty() {
                self.data(now, number, early);
            }
            self.is_fresh |= is_single;
        }
    }

    /// Keeps a connection until there is a session for it, the one that asked first in front.
    pub(super) fn queue(&mut self, incoming: Incoming) {
        let place = self.waiting.partition_point(|other| other.asked <= incoming.asked);
        self.waiting.insert(place, incoming);
    }

    /// Starts the task of a connection.
    fn begin(&mut self, number: u64, incoming: Incoming) {
        let Incoming { start, from, asked, answer } = incoming;
        let orders = start(number, self.news_sender.clone());
        let has_to_wait = answer.is_some();
        let mut connection = Connection {
            orders,
            from,
            asked,
            answer,
            is_carried: true,
            unspent: 0,
            unwritten: 0,
            heard: asked,
            last_words: None,
        };
        if !has_to_wait {
            connection.give(CREDIT);
        }
        self.connections.insert(number, connection);
        self.ties.traffic.connections.set(self.ties.traffic.connections.get() + 1);
    }

    /// Begins what was opened on trial.
    fn begin_tentative(&mut self, number: u64) {
        if let Some((_, incoming)) = self.tentative.remove(&number) {
            self.begin(number, incoming);
        }
    }

    /// The agent has the connection, as far as can be known.
    pub(super) fn accept(&mut self, number: u64) {
        if !self.opening.remove(&number) {
            return;
        }
        self.begin_tentative(number);
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if let Some(answer) = connection.answer.take() {
            self.unwritten += answer.accepted.len();
            connection.unwritten += answer.accepted.len();
            connection.order(Order::Write(answer.accepted));
            connection.give(CREDIT);
        }
    }

    /// The far side does not have it.
    pub(super) fn turned_away(&mut self, number: u64) {
        self.opening.remove(&number);
        self.begin_tentative(number);
        self.ties.status.send_modify(|status| status.was_refused = true);
        if let Some(connection) = self.uncarry(number) {
            let from = connection.from.clone();
            match connection.answer.take() {
                Some(answer) => self.answer_and_close(number, answer.refused),
                None => connection.order(Order::Reset),
            }
            (self.ties.tell)(&ForwardEvent::Refused { from });
        }
    }

    pub(super) fn answer_and_close(&mut self, number: u64, bytes: Bytes) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.unwritten += bytes.len();
        self.unwritten += bytes.len();
        connection.order(Order::Write(bytes));
        connection.order(Order::Close);
    }

    /// Notes which openings have arrived, and gives up on those that take too long.
    pub(super) fn watch_openings(&mut self, now: Instant, channel: &Channel) {
        let carrier = &self.carrier;
        let opened: Vec<u64> =
            self.opening.iter().copied().filter(|number| carrier.is_open(*number, channel)).collect();
        opened.into_iter().for_each(|number| self.accept(number));
        let timeout = self.manners.connect_timeout;
        let late = |number: &u64| self.late_at(*number).is_some_and(|at| now >= at);
        let late: Vec<u64> = self.opening.iter().copied().filter(late).collect();
        late.into_iter().for_each(|number| self.give_up_on(number));
        while let Some(incoming) = self.waiting.pop_front_if(|incoming| now >= incoming.asked + timeout) {
            (self.ties.tell)(&ForwardEvent::TimedOut { from: incoming.from.clone(), after: timeout });
            incoming.reject();
        }
    }

    /// When an opening connection has waited for too long. What was begun may arrive as long as nothing can be heard of
    /// it.
    pub(super) fn late_at(&self, number: u64) -> Option<Instant> {
        let asked = match self.tentative.get(&number) {
            Some((_, incoming)) => incoming.asked,
            None => {
                let asked = self.connections.get(&number)?.asked;
                self.deaf_until.map_or(asked, |deaf_until| deaf_until.max(asked))
            }
        };
        Some(asked + self.manners.connect_timeout)
    }

    /// Lets connections that an agent does not answer for find other sessions, as long as nothing was read of them.
    pub(super) fn move_tentative(&mut self, now: Instant, round_trip: Duration) {
        self.move_on = MOVE_ON.max(round_trip * 4);
        let unanswered = |(since, _): &(Instant, Incoming)| now >= *since + self.move_on;
        let unanswered = self.tentative.iter().filter(|(_, tentative)| unanswered(tentative));
        let unanswered: Vec<u64> = unanswered.map(|(number, _)| *number).collect();
        for number in unanswered {
            self.opening.remove(&number);
            self.carrier.abandon(number);
            if let Some((_, incoming)) = self.tentative.remove(&number) {
                tracing::info!(
                    connection = incoming.from,
                    "the agent does not answer, another session is tried"
                );
                (self.ties.hand_back)(incoming);
            }
        }
    }

    pub(super) fn give_up_on(&mut self, number: u64) {
        self.opening.remove(&number);
        self.begin_tentative(number);
        self.carrier.abandon(number);
        let after = self.manners.connect_timeout;
        if let Some(connection) = self.uncarry(number) {
            let from = connection.from.clone();
            match connection.answer.take() {
                Some(answer) => self.answer_and_close(number, answer.failed),
                None => connection.order(Order::Reset),
            }
            (self.ties.tell)(&ForwardEvent::TimedOut { from, after });
        }
    }

    /// Connections that came before it was known that no more are carried find other sessions. Only once: those that are
    /// sent here in spite of it have nowhere else to go, and wait for the session's end.
    pub(super) fn hand_back_excess(&mut self) {
        let is_full = !self.carrier.has_room();
        if std::mem::replace(&mut self.is_fresh, false) && is_full {
            while let Ok(incoming) = self.ties.inbox.try_recv() {
                self.queue(incoming);
            }
            self.waiting.drain(..).for_each(|incoming| (self.ties.hand_back)(incoming));
        }
    }
}
