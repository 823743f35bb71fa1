//! The sending side of a channel: decides what is sent next, and whether it may be sent now.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::discovery::{self, SAFE_PAYLOAD};
use super::event::{ChannelEvent, Now, Transmit};
use super::frame::{self, Header};
use super::message::{self, Acknowledge, MessageType, PayloadType};
use super::pacer::Load;
use super::timer::Timer;
use super::{Ack, Channel, FIRST_INPUT_TIMEOUT, Phase, uuid4};

impl Channel {
    /// Returns the next message to send: opening, acknowledgements, urgent messages, resends, new data.
    pub fn poll_transmit(&mut self, now: Now) -> Option<Transmit> {
        if !self.attached {
            return None;
        }
        if let Some(opening) = self.opening.take() {
            return Some(Transmit::Text(opening));
        }
        let frame = self
            .next_ack(now)
            .or_else(|| self.next_urgent(now))
            .or_else(|| self.next_resend(now))
            .or_else(|| self.next_data(now))
            .or_else(|| self.next_witness(now));
        self.rearm(now.instant);
        frame.map(Transmit::Binary)
    }

    fn next_ack(&mut self, now: Now) -> Option<Bytes> {
        let Ack { message_id, sequence_number } = self.acks.pop_front()?;
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
        if !self.outbound.has_due() || !self.take_token(now.instant, Load::Full) {
            return None;
        }
        self.outbound.resend(now.instant, self.rtt.timeout())
    }

    fn next_data(&mut self, now: Now) -> Option<Bytes> {
        if !self.may_send_new(now) || self.buffer.is_empty() {
            return None;
        }
        let limit = self.payload_limit();
        let payload = self.buffer.len().min(limit);
        let wire = payload + frame::OVERHEAD;
        let in_flight = self.outbound.in_flight();
        if in_flight > 0 && in_flight + wire > self.window.size(wire) {
            return None;
        }
        let load = if payload < limit && in_flight > 0 { Load::Partial } else { Load::Full };
        if !self.take_token(now.instant, load) {
            return None;
        }
        if let Some(probe) = self.next_probe(now) {
            return Some(probe);
        }
        let payload = self.buffer.split_to(payload);
        let first = self.first_input.is_none();
        let timeout = if first { self.rtt.first_input_timeout() } else { self.rtt.timeout() };
        if first {
            self.first_input = Some(self.outbound.next_number());
            self.timers.set(Timer::FirstInput, now.instant + FIRST_INPUT_TIMEOUT);
        }
        Some(self.enter(now, PayloadType::Output, &payload, Some(timeout)))
    }

    /// Returns a message without effect, if its acknowledgement has to show what became of older messages.
    fn next_witness(&mut self, now: Now) -> Option<Bytes> {
        if !self.may_send_new(now)
            || !self.outbound.wants_witness()
            || !self.take_token(now.instant, Load::Full)
        {
            return None;
        }
        Some(self.enter(now, PayloadType::Size, &padded_size(0), Some(self.rtt.timeout())))
    }

    fn may_send_new(&self, now: Now) -> bool {
        matches!(self.phase, Phase::Open) && self.paused_until.is_none_or(|until| now.instant >= until)
    }

    /// Returns a probe of the next size, if bulk data waits and the path is fast enough for it.
    fn next_probe(&mut self, now: Now) -> Option<Bytes> {
        if self.buffer.len() + self.backlog < 4 * self.discovery.payload_limit() {
            return None;
        }
        let size = self.discovery.next(now.instant, self.window.message_size())?;
        let number = self.outbound.next_number();
        let lost_at = self.discovery.sent(now.instant, number, size, self.rtt.timeout());
        self.timers.set(Timer::Probe, lost_at);
        Some(self.enter(now, PayloadType::Size, &padded_size(size - frame::OVERHEAD), None))
    }

    /// Returns the largest payload of a message now: a proven size that the path carries within 20 ms.
    pub(super) fn payload_limit(&self) -> usize {
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
        let user_bytes = if payload_type == PayloadType::Output { payload.len() } else { 0 };
        self.outbound.enter(now.instant, frame.clone(), timeout, user_bytes);
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

    fn take_token(&mut self, now: Instant, load: Load) -> bool {
        match self.pacer.take(now, load) {
            Ok(()) => true,
            Err(at) => {
                self.timers.set(Timer::Pace, at);
                false
            }
        }
    }

    pub(super) fn probe_failed(&mut self, now: Now) {
        self.timers.stop(Timer::Probe);
        let Some(discovery::ProbeFailure { number, refused, outdated }) = self.discovery.failed(now.instant)
        else {
            return;
        };
        let minimal = self.stream_data(now, number, PayloadType::Size, &padded_size(0));
        self.outbound.replace(number, minimal);
        self.events.extend(refused.map(ChannelEvent::SizeRefused));
        self.events.extend((outdated && refused.is_none()).then_some(ChannelEvent::SizeOutdated));
    }
}

/// Returns a `Size` body of `length` bytes, or the shortest one. JSON may be padded with white space.
pub(super) fn padded_size(length: usize) -> Vec<u8> {
    let mut body = br#"{"cols":80,"rows":24}"#.to_vec();
    body.resize(body.len().max(length), b' ');
    body
}
