//! The receiving side of a channel: handles and acknowledges received messages.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::event::{ChannelError, ChannelEvent, DropReason, Now};
use super::frame::{Frame, OVERHEAD};
use super::handshake;
use super::inbound::Verdict;
use super::message::{self, Acknowledge, ChannelClosed, Flag, MessageType, PayloadType};
use super::timer::Timer;
use super::{Ack, Channel, GAP_TIMEOUT, HANDSHAKE_TIMEOUT, HOLD_INPUT, Phase};

/// The longest time that new data waits after a `pause_publication`.
const PAUSE: Duration = Duration::from_secs(10);
/// How many acknowledgements are repeated on a new websocket. Those in flight on the old one are lost, and the agent
/// resends only ten messages a second.
const REPEATED_ACKNOWLEDGEMENTS: usize = 128;

impl Channel {
    /// Handles one websocket message, text or binary: the official client and the agent treat both alike.
    pub fn handle_frame(&mut self, now: Now, message: &Bytes) {
        let frame = match Frame::parse(message) {
            Ok(frame) => frame,
            Err(error) => return self.dropped(DropReason::Malformed(error)),
        };
        match frame.message_type {
            MessageType::OutputStreamData | MessageType::Acknowledge if !frame.has_valid_digest() => {
                self.dropped(DropReason::Digest { sequence_number: frame.sequence_number });
            }
            MessageType::OutputStreamData => self.handle_stream_data(now, frame),
            MessageType::Acknowledge => self.handle_acknowledge(now, &frame),
            MessageType::ChannelClosed => self.handle_closed(&frame),
            MessageType::StartPublication => self.paused_until = None,
            MessageType::PausePublication => self.paused_until = Some(now.instant + PAUSE),
            MessageType::InputStreamData | MessageType::Unknown => self.dropped(DropReason::Type),
        }
        self.rearm(now.instant);
    }

    fn handle_stream_data(&mut self, now: Now, frame: Frame) {
        let ack = Ack { message_id: frame.message_id, sequence_number: frame.sequence_number };
        self.paused_until = None;
        match self.inbound.accept(frame) {
            Verdict::Dropped => return self.dropped(DropReason::SequenceNumber(ack.sequence_number)),
            Verdict::Duplicate => self.acks.push_back(ack),
            Verdict::Kept => self.acknowledge(ack),
            Verdict::Deliver(frames) => {
                self.acknowledge(ack);
                self.timers.stop(Timer::Gap);
                for frame in frames {
                    self.deliver(now, frame);
                }
            }
        }
        if self.inbound.has_gap() && self.reading && !self.timers.is_set(Timer::Gap) {
            self.timers.set(Timer::Gap, now.instant + GAP_TIMEOUT);
        }
    }

    fn acknowledge(&mut self, ack: Ack) {
        self.acks.push_back(ack);
        if self.recent_acks.len() == REPEATED_ACKNOWLEDGEMENTS {
            self.recent_acks.pop_front();
        }
        self.recent_acks.push_back(ack);
    }

    /// Queues the latest acknowledgements again, since the last websocket may have lost them, each number once.
    pub(super) fn repeat_acks(&mut self) {
        let mut queued = BTreeSet::new();
        let all = self.recent_acks.iter().chain(&self.acks);
        self.acks = all.filter(|ack| queued.insert(ack.sequence_number)).copied().collect();
    }

    fn deliver(&mut self, now: Now, frame: Frame) {
        match frame.payload_type.unwrap_or(PayloadType::None) {
            PayloadType::HandshakeRequest => self.handle_handshake_request(now, &frame.payload),
            PayloadType::HandshakeComplete => self.handle_handshake_complete(now, &frame.payload),
            PayloadType::Output => self.handle_output(frame.payload),
            PayloadType::Flag => self.handle_flag(&frame.payload),
            PayloadType::None
            | PayloadType::Size
            | PayloadType::HandshakeResponse
            | PayloadType::Other(_) => {
                self.dropped(DropReason::Type);
            }
        }
    }

    fn handle_handshake_request(&mut self, now: Now, payload: &[u8]) {
        if !matches!(self.phase, Phase::AwaitingRequest) {
            return self.dropped(DropReason::Type);
        }
        let Ok(answer) = handshake::answer(payload, self.for_remote_host) else {
            return self.dropped(DropReason::Body("HandshakeRequest"));
        };
        if !answer.agent_version.acknowledges_duplicates() {
            self.outbound.expect_single_acknowledgements();
        }
        self.agent = Some((answer.agent_version, answer.mode));
        self.urgent.push_back((PayloadType::HandshakeResponse, answer.response.into()));
        self.timers.stop(Timer::HandshakeRequest);
        self.timers.set(Timer::HandshakeComplete, now.instant + HANDSHAKE_TIMEOUT);
        self.phase = Phase::AwaitingComplete;
        if let Some(refusal) = answer.refusal {
            self.fail(ChannelError::Refused(refusal));
        }
    }

    fn handle_handshake_complete(&mut self, now: Now, payload: &[u8]) {
        let (Phase::AwaitingComplete, Some((agent, mode))) = (&self.phase, &self.agent) else {
            return self.dropped(DropReason::Type);
        };
        let customer_message = handshake::customer_message(payload);
        self.events.push_back(ChannelEvent::Connected {
            agent: agent.clone(),
            mode: *mode,
            customer_message,
        });
        self.phase = Phase::Holding;
        self.timers.stop(Timer::HandshakeComplete);
        self.timers.set(Timer::HoldInput, now.instant + HOLD_INPUT);
    }

    fn handle_output(&mut self, payload: Bytes) {
        match self.phase {
            Phase::AwaitingRequest => self.fail(ChannelError::NotAPort),
            Phase::AwaitingComplete => self.dropped(DropReason::Type),
            Phase::Holding | Phase::Open | Phase::Ending => {
                self.open();
                self.outbound.port_is_connected();
                self.events.push_back(ChannelEvent::Data(payload));
            }
        }
    }

    fn handle_flag(&mut self, payload: &[u8]) {
        match Flag::from_payload(payload) {
            Some(Flag::ConnectToPortError) => self.events.push_back(ChannelEvent::PortRefused),
            Some(Flag::TerminateSession) | None => self.dropped(DropReason::Body("Flag")),
        }
    }

    fn handle_acknowledge(&mut self, now: Now, frame: &Frame) {
        self.paused_until = None;
        let Ok(body) = serde_json::from_slice::<Acknowledge>(&frame.payload) else {
            return self.dropped(DropReason::Body("acknowledge"));
        };
        let number = body.acknowledged_message_sequence_number;
        let Some(sample) = self.outbound.acknowledge(now.instant, number) else { return };
        if let Some(rtt) = sample.rtt {
            self.rtt.sample(rtt);
        }
        let wire = self.payload_limit() + OVERHEAD;
        self.window.sample(now.instant, sample, self.outbound.in_flight(), wire);
        if self.outbound.in_flight() == 0 && self.buffer.is_empty() {
            self.window.idle();
        }
        if let Some(size) = self.discovery.acknowledged(number) {
            self.timers.stop(Timer::Probe);
            self.events.push_back(ChannelEvent::SizeProven(size));
        }
        if self.first_input == Some(number) {
            self.timers.stop(Timer::FirstInput);
        }
    }

    fn handle_closed(&mut self, frame: &Frame) {
        let output = serde_json::from_slice::<ChannelClosed>(&frame.payload).map(|closed| closed.output);
        self.phase = Phase::Ending;
        self.events.push_back(ChannelEvent::Closed { output: message::clip(output.unwrap_or_default()) });
    }
}
