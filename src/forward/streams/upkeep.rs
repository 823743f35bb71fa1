//! What is due by the clock: signs of life, silence after an end of input, a session that stands still; and what the pool
//! is told of it.

use std::time::{Duration, Instant};

use crate::channel::Channel;

use super::super::Status;
use super::super::carrier::Carrier;
use super::{Connection, LinkState, LocalEnd, SIGN_OF_LIFE, Streams};

/// A session that stands still for so long gets no new connections.
const STALL: Duration = Duration::from_secs(1);
/// The shortest idle time-out that can be set at the service is a minute, the default 20: this holds from 5 minutes on.
const HOLD: Duration = Duration::from_secs(240);

impl Streams {
    /// Silence means nothing while the last words are under way, or while nothing can be heard or is listened to.
    pub(super) fn watch_silence(&mut self, now: Instant, channel: &Channel, link: LinkState) {
        let hears = link.is_up && !channel.has_gap() && self.takes_more();
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
    pub(super) fn end_lingering(&mut self, now: Instant) {
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

    /// Does what is due by the clock alone.
    pub(super) fn keep_up(&mut self, now: Instant, channel: &mut Channel, live: usize, works: bool) {
        if let Some(at) = self.next_sign.filter(|at| works && now >= *at) {
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
    pub(super) fn watch_stall(&mut self, now: Instant, channel: &Channel) {
        let unread = (!self.takes_more()).then(|| self.stalled_since.unwrap_or(now));
        let unacknowledged = channel.stalled_since();
        self.stalled_since = unread.or(unacknowledged);
        let is_stalled = self.stalled_since.is_some_and(|since| now >= since + STALL);
        let was_stalled = self.ties.status.borrow().is_stalled;
        if is_stalled && !was_stalled {
            self.blame(unread.is_some());
        }
    }

    pub(super) fn blame(&self, is_unread: bool) {
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

    pub(super) fn publish(&self, now: Instant, live: usize, link: LinkState) {
        let is_stalled = self.stalled_since.is_some_and(|since| now >= since + STALL);
        let is_full = !matches!(self.carrier, Carrier::Unknown) && !self.carrier.has_room();
        self.ties.status.send_if_modified(|status| {
            let fresh = Status {
                is_up: link.connected && link.is_up,
                live: live + self.waiting.len() + self.ties.inbox.len(),
                is_busy: self.is_busy,
                is_stalled,
                is_full,
                ..*status
            };
            std::mem::replace(status, fresh) != fresh
        });
    }

    /// When something is due next; what is due already has been done, as far as it can be.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let openings = self.opening.iter().filter_map(|number| self.late_at(*number));
        let waiting = self.waiting.front().map(|it| it.asked + self.manners.connect_timeout);
        let lingering = self.half_closed.iter().filter(|number| self.carrier.queued(**number) == 0);
        let lingering = lingering.filter_map(|number| self.connections.get(number));
        let lingering = lingering.map(|connection| connection.heard + self.manners.linger);
        let stall = self.stalled_since.filter(|_| !self.ties.status.borrow().is_stalled);
        let idle = self.idle_since.zip(self.manners.idle_limit).map(|(since, limit)| since + limit);
        let others = [self.next_sign, self.next_hold, stall.map(|since| since + STALL), idle];
        let moving = self.tentative.values().map(|(since, _)| *since + self.move_on);
        openings
            .chain(waiting)
            .chain(moving)
            .chain(lingering)
            .chain(others.into_iter().flatten())
            .filter(|at| *at > now)
            .min()
    }
}
