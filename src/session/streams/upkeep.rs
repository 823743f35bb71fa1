//! What is due by the clock: signs of life, silence after an end of input, a session without progress; and the status
//! that the opener of streams sees.

use std::time::{Duration, Instant};

use crate::channel::Channel;

use super::super::end::LinkState;
use super::SessionStatus;
use super::carrier::Carrier;
use super::slot::Input;
use super::state::{KEEP_ALIVE, State};

/// A session that makes no progress for so long gets no new streams.
const STALL: Duration = Duration::from_secs(1);
/// The shortest idle time-out that can be set at the service is a minute, the default 20: this holds from 5 minutes on.
const HOLD: Duration = Duration::from_secs(240);
/// Silence on a websocket that was resumed means nothing for so long: the agent resends what was lost after a second.
const AFTER_RESUME: Duration = Duration::from_secs(3);

impl State {
    /// Notes since when each half-closed stream's peer has had everything and is silent. Silence means nothing while
    /// nothing can be received: the link is down, a message is missing, or the reader has not taken what there is.
    pub(super) fn watch_silence(&mut self, now: Instant, channel: &Channel, link: LinkState) {
        let receives = link.is_up && !channel.has_gap() && self.takes_more();
        for number in &self.half_closed {
            let Some(slot) = self.slots.get_mut(number) else { continue };
            let is_listening = slot.is_listening();
            let Input::Ended { last_byte, quiet_since } = &mut slot.input else { continue };
            if self.carrier.queued(*number) > 0 {
                continue;
            }
            let has_arrived = channel.arrived() >= *last_byte.get_or_insert(self.carrier.sent());
            if has_arrived && receives && is_listening {
                quiet_since.get_or_insert(now);
            } else {
                *quiet_since = None;
            }
        }
    }

    /// Closes what has been silent for long enough after its end of input.
    pub(super) fn end_lingering(&mut self, now: Instant, link: LinkState) {
        let is_over = |number: &u64| self.lingers_until(*number, link).is_some_and(|at| now >= at);
        let over: Vec<u64> = self.half_closed.iter().copied().filter(is_over).collect();
        for number in over {
            self.carrier.finish(number);
            self.closed(number);
        }
    }

    /// When the silence of a half-closed stream has lasted long enough.
    fn lingers_until(&self, number: u64, link: LinkState) -> Option<Instant> {
        let slot = self.slots.get(&number)?;
        let Input::Ended { quiet_since: Some(since), .. } = slot.input else { return None };
        let lingered = since + slot.linger.unwrap_or(self.options.linger);
        Some(link.resumed_at.map_or(lingered, |resumed| lingered.max(resumed + AFTER_RESUME)))
    }

    /// Does what is due by the clock alone.
    pub(super) fn keep_up(&mut self, now: Instant, channel: &mut Channel, live: usize, works: bool) {
        if let Some(at) = self.next_sign.filter(|at| works && now >= *at) {
            self.carrier.keep_alive();
            self.next_sign = Some(at.max(now) + KEEP_ALIVE);
        }
        if !self.options.hold || live == 0 {
            self.next_hold = None;
        } else if now >= *self.next_hold.get_or_insert(now + HOLD) {
            channel.keep_open();
            self.next_hold = Some(now + HOLD);
        }
        let is_idle = live == 0 && self.waiting.is_empty();
        self.idle_since = is_idle.then(|| self.idle_since.unwrap_or(now));
    }

    /// Notes whether the session makes no progress, in either direction, and logs why.
    pub(super) fn watch_stall(&mut self, now: Instant, channel: &Channel) {
        let unread = (!self.takes_more()).then(|| self.stalled_since.unwrap_or(now));
        let unacknowledged = channel.stalled_since();
        self.stalled_since = unread.or(unacknowledged);
        let was_stalled = self.status.borrow().is_stalled;
        if self.is_stalled(now) && !was_stalled {
            self.log_stall(unread.is_some());
        }
    }

    fn is_stalled(&self, now: Instant) -> bool {
        self.stalled_since.is_some_and(|since| now >= since + STALL)
    }

    fn log_stall(&self, is_unread: bool) {
        let waiting = |number: &u64, unread: usize| {
            if is_unread { unread } else { self.carrier.queued(*number) }
        };
        let each = self.slots.iter().map(|(number, slot)| (waiting(number, slot.unread), &slot.name));
        let Some((waiting, connection)) = each.max() else { return };
        let why = match is_unread {
            true => "the local client does not read",
            false => "the agent acknowledges nothing; a destination may not read",
        };
        tracing::info!(connection, waiting, "stalled: {why}");
    }

    pub(super) fn publish(&self, now: Instant, live: usize, link: LinkState) {
        let is_full = !matches!(self.carrier, Carrier::Unknown) && !self.carrier.has_room();
        self.status.send_if_modified(|status| {
            let fresh = SessionStatus {
                is_up: link.connected && link.is_up,
                live: live + self.waiting.len(),
                is_busy: self.is_busy,
                is_stalled: self.is_stalled(now),
                is_full,
                ..*status
            };
            std::mem::replace(status, fresh) != fresh
        });
    }

    /// When something is due next; what is due already has been done, as far as it can be.
    pub(super) fn next_wake(&self, now: Instant, link: LinkState) -> Option<Instant> {
        let openings = self.opening.iter().filter_map(|number| self.late_at(*number));
        let waiting = self.waiting.front().and_then(|number| self.late_at(*number));
        let moving = self.trials.iter().filter_map(|number| self.moves_at(*number));
        let lingering = self.half_closed.iter().filter_map(|number| self.lingers_until(*number, link));
        let stall = self.stalled_since.filter(|_| !self.status.borrow().is_stalled);
        let idle = self.idle_since.zip(self.options.idle_limit).map(|(since, limit)| since + limit);
        let others = [self.next_sign, self.next_hold, stall.map(|since| since + STALL), idle, waiting];
        openings
            .chain(moving)
            .chain(lingering)
            .chain(others.into_iter().flatten())
            .filter(|at| *at > now)
            .min()
    }
}
