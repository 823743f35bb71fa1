//! The agent's reader: one message at a time, blocked while a write to the destination is under way.
//!
//! The receive rules of docs/protocol.md: a message in order is processed, then acknowledged; an early one is acknowledged
//! and kept; a late one is acknowledged again; one that fails, or that comes before the dial, is not acknowledged.

use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sim::agent::handshake::{self, ClientResponse};
use crate::sim::agent::message::{AgentMessage, MessageKind, OUTSIDE_SEQUENCE, flag, payload_type};
use crate::sim::agent::{Action, Agent, Fate, Moment, Phase, Status};

/// The state of the reader.
#[derive(Debug)]
pub(super) enum Reader {
    /// It reads the next message.
    Free,
    /// It waits for a write to the destination.
    Writing { sequence: i64, id: Uuid, length: usize, remaining: usize, early: bool },
    /// It is blocked without limit.
    Blocked,
}

/// The result of processing an in-order message.
enum Outcome {
    Done(After),
    Writing,
    NotReady,
    Failed,
    Discarded,
    Blocked,
}

/// What follows the acknowledgement of a message.
enum After {
    Nothing,
    Response(ClientResponse),
    Terminate,
    Disconnect,
}

#[derive(Serialize, Deserialize)]
struct Acknowledge {
    #[serde(rename = "AcknowledgedMessageType")]
    message_type: String,
    #[serde(rename = "AcknowledgedMessageId")]
    message_id: String,
    #[serde(rename = "AcknowledgedMessageSequenceNumber")]
    sequence: i64,
    #[serde(rename = "IsSequentialMessage")]
    is_sequential: bool,
}

impl Agent {
    pub(super) fn read_inbox(&mut self, now: Instant) {
        while matches!(self.reader, Reader::Free) {
            let Some(raw) = self.inbox.pop_front() else { return };
            self.read(now, &raw);
        }
    }

    fn read(&mut self, now: Instant, raw: &Bytes) {
        let Ok(frame) = AgentMessage::parse(raw) else {
            self.record.malformed += 1;
            return;
        };
        self.record.messages += 1;
        let digest_ok = frame.digest_matches();
        self.record.digest_mismatches += u64::from(!digest_ok);
        let fate = match &frame.message_type {
            MessageKind::InputStreamData => self.read_stream(now, &frame),
            MessageKind::Acknowledge => self.read_acknowledge(now, &frame.payload),
            MessageKind::ChannelClosed => {
                self.channel_closed(now);
                Fate::Read
            }
            MessageKind::PausePublication | MessageKind::StartPublication => {
                self.outbound.set_paused(frame.message_type == MessageKind::PausePublication);
                Fate::Read
            }
            MessageKind::OutputStreamData | MessageKind::AgentSessionState | MessageKind::Other(_) => {
                Fate::Read
            }
        };
        let limits = (self.config.record_capacity, self.config.records_payloads);
        self.record.note(now, &frame, fate, digest_ok, limits);
    }

    fn read_acknowledge(&mut self, now: Instant, payload: &[u8]) -> Fate {
        self.outbound.set_paused(false);
        match serde_json::from_slice::<Acknowledge>(payload) {
            Ok(acknowledge) if self.outbound.acknowledge(now, acknowledge.sequence) => self.advance(now),
            Ok(_) | Err(_) => self.record.unknown_acks += 1,
        }
        Fate::Read
    }

    fn read_stream(&mut self, now: Instant, frame: &AgentMessage) -> Fate {
        self.outbound.set_paused(false);
        match frame.sequence.cmp(&self.expected) {
            std::cmp::Ordering::Equal => self.read_expected(now, frame),
            std::cmp::Ordering::Greater => self.read_early(now, frame),
            std::cmp::Ordering::Less => {
                if self.config.acks_duplicates {
                    self.acknowledge(now, frame.sequence, frame.id);
                }
                Fate::Duplicate
            }
        }
    }

    fn read_early(&mut self, now: Instant, frame: &AgentMessage) -> Fate {
        if self.early.len() >= self.config.incoming_capacity {
            return Fate::Dropped;
        }
        if self.acknowledge(now, frame.sequence, frame.id) {
            self.early.insert(frame.sequence, frame.clone());
        }
        Fate::Buffered
    }

    fn read_expected(&mut self, now: Instant, frame: &AgentMessage) -> Fate {
        match self.process(frame, false) {
            Outcome::Done(after) => {
                self.accept(now, frame.sequence, frame.id, after);
                Fate::Processed
            }
            Outcome::Discarded => {
                self.accept(now, frame.sequence, frame.id, After::Nothing);
                Fate::Discarded
            }
            Outcome::Writing => Fate::Writing,
            Outcome::NotReady => Fate::NotReady,
            Outcome::Failed => Fate::Failed,
            Outcome::Blocked => Fate::BlockedReader,
        }
    }

    /// Acknowledges a processed message and processes the early messages that follow it.
    fn accept(&mut self, now: Instant, sequence: i64, id: Uuid, after: After) {
        // After a failed send the sequence does not advance, and the message is processed a second time.
        if self.acknowledge(now, sequence, id) {
            self.expected += 1;
            self.drain_early(now);
        }
        self.continue_with(now, after);
    }

    fn drain_early(&mut self, now: Instant) {
        while let Some(frame) = self.early.get(&self.expected).cloned() {
            let after = match self.process(&frame, true) {
                Outcome::Done(after) => after,
                Outcome::Discarded => After::Nothing,
                Outcome::Writing | Outcome::NotReady | Outcome::Failed | Outcome::Blocked => return,
            };
            self.early.remove(&self.expected);
            self.expected += 1;
            self.continue_with(now, after);
        }
    }

    fn continue_with(&mut self, now: Instant, after: After) {
        match after {
            After::Nothing => {}
            After::Response(answer) => self.handle_response(now, answer),
            After::Terminate => self.finish(now, Status::Success, String::new()),
            After::Disconnect => self.disconnect(now),
        }
    }

    fn process(&mut self, frame: &AgentMessage, early: bool) -> Outcome {
        match frame.payload_type {
            payload_type::HANDSHAKE_RESPONSE => self.process_response(&frame.payload),
            // There was no challenge: the real agent has no cipher to check the response.
            payload_type::ENC_CHALLENGE_RESPONSE => Outcome::Failed,
            kind => match &self.phase {
                Phase::Handshaking { .. } | Phase::Settling { .. } => Outcome::Discarded,
                Phase::Starting { .. }
                | Phase::Resolving { .. }
                | Phase::Dialing { .. }
                | Phase::Redialing { .. } => Outcome::NotReady,
                Phase::Connected { .. } | Phase::Disconnected { .. } | Phase::Multiplexed(_) => {
                    self.process_content(frame, early)
                }
                Phase::Flushing { .. } if kind == payload_type::OUTPUT => Outcome::Failed,
                Phase::Flushing { .. }
                    if kind == payload_type::FLAG && flag_of(&frame.payload) == flag::TERMINATE_SESSION =>
                {
                    self.block()
                }
                Phase::Flushing { .. } => Outcome::Done(After::Nothing),
                Phase::Dead { .. } | Phase::Ended => Outcome::Failed,
            },
        }
    }

    fn process_content(&mut self, frame: &AgentMessage, early: bool) -> Outcome {
        match frame.payload_type {
            payload_type::OUTPUT => self.begin_write(frame, early),
            payload_type::FLAG => self.process_flag(&frame.payload),
            kind => {
                self.record.sizes += u64::from(kind == payload_type::SIZE);
                Outcome::Done(After::Nothing)
            }
        }
    }

    fn process_response(&mut self, payload: &Bytes) -> Outcome {
        let Some(answer) = handshake::read_response(payload) else { return Outcome::Failed };
        if !matches!(self.phase, Phase::Handshaking { .. }) {
            return self.block();
        }
        self.record.handshake_response = Some(payload.clone());
        Outcome::Done(After::Response(answer))
    }

    fn process_flag(&mut self, payload: &[u8]) -> Outcome {
        match flag_of(payload) {
            flag::TERMINATE_SESSION => {
                self.record.terminated = true;
                Outcome::Done(After::Terminate)
            }
            flag::DISCONNECT_TO_PORT => Outcome::Done(After::Disconnect),
            _ => Outcome::Done(After::Nothing),
        }
    }

    /// The real reader sends this to a channel that has no receiver any more.
    fn block(&mut self) -> Outcome {
        self.reader = Reader::Blocked;
        Outcome::Blocked
    }

    fn begin_write(&mut self, frame: &AgentMessage, early: bool) -> Outcome {
        if frame.payload.is_empty() {
            return Outcome::Done(After::Nothing);
        }
        let length = frame.payload.len();
        let payload = frame.payload.clone();
        if matches!(self.phase, Phase::Multiplexed(_)) {
            if self.offer_to_streams(payload) {
                self.note_written(length);
                return Outcome::Done(After::Nothing);
            }
        } else if matches!(self.phase, Phase::Disconnected { .. }) {
            self.redial(payload);
        } else {
            self.actions.push_back(Action::Write(payload));
        }
        self.reader =
            Reader::Writing { sequence: frame.sequence, id: frame.id, length, remaining: length, early };
        Outcome::Writing
    }

    /// Returns whether a message waits for its write.
    pub(super) fn is_writing(&self) -> bool {
        matches!(self.reader, Reader::Writing { .. })
    }

    fn note_written(&mut self, length: usize) {
        self.record.bytes_written += length as u64;
        self.reach(Moment::Received(self.record.bytes_written));
    }

    pub(super) fn wrote(&mut self, now: Instant, count: usize) {
        let Reader::Writing { sequence, id, length, remaining, early } = &mut self.reader else { return };
        *remaining = remaining.saturating_sub(count);
        if *remaining > 0 {
            return;
        }
        let (sequence, id, length, early) = (*sequence, *id, *length, *early);
        self.reader = Reader::Free;
        if early {
            self.early.remove(&sequence);
            self.expected += 1;
            self.drain_early(now);
        } else {
            self.accept(now, sequence, id, After::Nothing);
        }
        self.note_written(length);
    }

    /// Fails the pending write, because the destination is closed; its message is not acknowledged.
    pub(super) fn abort_write(&mut self, now: Instant) {
        if matches!(self.reader, Reader::Writing { .. }) {
            self.reader = Reader::Free;
            self.actions.retain(|action| !matches!(action, Action::Write(_)));
            self.read_inbox(now);
        }
    }

    /// Sends an acknowledgement; returns whether the socket is connected.
    fn acknowledge(&mut self, now: Instant, sequence: i64, id: Uuid) -> bool {
        let content = Acknowledge {
            message_type: MessageKind::InputStreamData.as_str().to_owned(),
            message_id: id.to_string(),
            sequence,
            is_sequential: true,
        };
        let json = serde_json::to_vec(&content).expect("strings and numbers serialize");
        let mut frame = self.frame(now, MessageKind::Acknowledge, json.into());
        frame.flags = OUTSIDE_SEQUENCE;
        let sent = self.send(frame.encode());
        self.record.acks_sent += u64::from(sent);
        sent
    }
}

fn flag_of(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
