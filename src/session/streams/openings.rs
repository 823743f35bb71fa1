//! From a request for a stream to one that the agent has, or that is turned away.

use std::time::{Duration, Instant};

use crate::channel::Channel;

use super::StreamError;
use super::carrier::Carrier;
use super::slot::Phase;
use super::state::State;

/// An agent that has acknowledged or sent something within this time is believed to be there.
const TRUST: Duration = Duration::from_secs(5);
/// The least time that an agent which may not exist any more has for acknowledging an opening.
const MOVE_ON: Duration = Duration::from_secs(2);

impl State {
    /// Keeps a request until the session can carry it, the earliest in front.
    pub(super) fn queue(&mut self, number: u64, asked: Instant) {
        let slots = &self.slots;
        let is_earlier = |other: &u64| slots.get(other).is_some_and(|slot| slot.asked <= asked);
        let place = self.waiting.partition_point(is_earlier);
        self.waiting.insert(place, number);
    }

    /// Opens what waits. An agent that has been silent for a while may not exist any more without anyone knowing. Then
    /// the opener waits until the agent is known to have the stream, so that it can still use another session.
    pub(super) fn open_waiting(&mut self, now: Instant) {
        let is_single = matches!(self.carrier, Carrier::Single(_));
        let trusts = is_single || now < self.alive.1 + TRUST;
        while self.carrier.has_room()
            && let Some(number) = self.waiting.pop_front()
        {
            let Some(slot) = self.slots.get_mut(&number) else { continue };
            self.carrier.open(number);
            self.opening.insert(number);
            slot.phase = Phase::Trial(now);
            self.trials.insert(number);
            // An opener that has to wait for the confirmation anyway loses nothing by it.
            if is_single || (trusts && !slot.confirm) {
                self.hand_out(number);
            }
            let early = self.carrier.take_early();
            if !early.is_empty() {
                self.data(number, early);
            }
            self.is_fresh |= is_single;
        }
    }

    /// Gives a stream to its opener.
    fn hand_out(&mut self, number: u64) {
        self.trials.remove(&number);
        let Some(slot) = self.slots.get_mut(&number) else { return };
        slot.phase = Phase::Open;
        if slot.has_ended_input() {
            self.half_closed.insert(number);
        }
        if let Some(opener) = slot.opener.take() {
            opener.wake();
        }
    }

    /// The agent has the stream, as far as can be known.
    pub(super) fn accept(&mut self, number: u64) {
        if self.opening.remove(&number) && self.trials.contains(&number) {
            self.hand_out(number);
        }
    }

    /// The agent could not connect the stream.
    pub(super) fn turned_away(&mut self, number: u64) {
        self.status.send_modify(|status| status.was_refused = true);
        self.close(number, Err(StreamError::Refused));
    }

    /// Notes which openings have arrived, and gives up on those that take too long.
    pub(super) fn watch_openings(&mut self, now: Instant, channel: &Channel) {
        let carrier = &self.carrier;
        let opened: Vec<u64> =
            self.opening.iter().copied().filter(|number| carrier.is_open(*number, channel)).collect();
        opened.into_iter().for_each(|number| self.accept(number));
        let Some(timeout) = self.options.open_timeout else { return };
        let late = |number: &u64| self.late_at(*number).is_some_and(|at| now >= at);
        let late: Vec<u64> = self.opening.iter().copied().filter(late).collect();
        for number in late {
            self.carrier.abandon(number);
            self.close(number, Err(StreamError::TimedOut(timeout)));
        }
        while let Some(number) = self.waiting.pop_front() {
            if self.slots.get(&number).is_some_and(|slot| now < slot.asked + timeout) {
                self.waiting.push_front(number);
                break;
            }
            self.close(number, Err(StreamError::TimedOut(timeout)));
        }
    }

    /// When an opening has waited for too long. A stream that was handed out may have data under way, so it has time as
    /// long as nothing can be received.
    pub(super) fn late_at(&self, number: u64) -> Option<Instant> {
        let slot = self.slots.get(&number)?;
        let since = match slot.phase {
            Phase::Waiting | Phase::Trial(_) | Phase::Closed(_) => slot.asked,
            Phase::Open => self.deaf_until.map_or(slot.asked, |deaf_until| deaf_until.max(slot.asked)),
        };
        Some(since + self.options.open_timeout?)
    }

    /// Sends openers to another session if the agent does not answer, as long as nothing was sent for them.
    pub(super) fn move_trials(&mut self, now: Instant, round_trip: Duration) {
        self.move_on = MOVE_ON.max(round_trip * 4);
        let unanswered = |number: &u64| self.moves_at(*number).is_some_and(|at| now >= at);
        let unanswered: Vec<u64> = self.trials.iter().copied().filter(unanswered).collect();
        for number in unanswered {
            let name = self.slots.get(&number).map(|slot| slot.name.as_str());
            tracing::info!(connection = name, "the agent does not answer, another session is tried");
            self.carrier.abandon(number);
            self.close(number, Err(StreamError::Elsewhere));
        }
    }

    /// When a stream on trial is given up.
    pub(super) fn moves_at(&self, number: u64) -> Option<Instant> {
        match self.slots.get(&number)?.phase {
            Phase::Trial(since) => Some(since + self.move_on),
            Phase::Waiting | Phase::Open | Phase::Closed(_) => None,
        }
    }

    /// Sends openers to other sessions that came before it was known that no more streams are carried. Only once:
    /// requests that come here in spite of it have no other session, and wait for the end of this one.
    pub(super) fn turn_excess_away(&mut self) {
        let is_full = !self.carrier.has_room();
        if std::mem::replace(&mut self.is_fresh, false) && is_full {
            let excess: Vec<u64> = self.waiting.drain(..).collect();
            excess.into_iter().for_each(|number| self.close(number, Err(StreamError::Elsewhere)));
        }
    }
}
