//! The agent's sender: builds, numbers and sends messages.

use std::time::Instant;

use bytes::Bytes;

use crate::sim::agent::message::{AgentMessage, MessageKind, OUTSIDE_SEQUENCE};
use crate::sim::agent::{Agent, Injection, Moment};

impl Agent {
    pub(super) fn send_state(&mut self, now: Instant) {
        let session = serde_json::Value::from(self.config.session_id.as_str());
        let json = format!(r#"{{"SchemaVersion":1,"SessionState":"Connected","SessionId":{session}}}"#);
        let mut frame = self.frame(now, MessageKind::AgentSessionState, json.into());
        frame.flags = OUTSIDE_SEQUENCE;
        self.send(frame.encode());
    }

    pub(super) fn send_stream(&mut self, now: Instant, payload_type: u32, payload: Bytes) {
        let mut frame = self.frame(now, MessageKind::OutputStreamData, payload);
        frame.sequence = self.outbound.next_sequence();
        frame.flags = u64::from(frame.sequence == 0);
        frame.payload_type = payload_type;
        let message = frame.encode();
        self.record.sent += 1;
        if self.outbound.push(now, message.clone()) {
            self.send(message);
        }
    }

    pub(super) fn frame(&mut self, now: Instant, message_type: MessageKind, payload: Bytes) -> AgentMessage {
        let elapsed = now.saturating_duration_since(self.start).as_millis();
        let created = self.unix_ms + u64::try_from(elapsed).unwrap_or(u64::MAX);
        AgentMessage::new(message_type, created, self.ids.uuid(), payload)
    }

    /// Queues a message for the socket; returns whether the socket is connected.
    pub(super) fn send(&mut self, message: Bytes) -> bool {
        if self.attached {
            self.transmits.push_back(message);
        }
        self.attached
    }

    pub(super) fn reach(&mut self, moment: Moment) {
        let due = |injection: &Injection| match (injection.when, moment) {
            (Moment::Sent(at), Moment::Sent(count)) | (Moment::Received(at), Moment::Received(count)) => {
                count >= at
            }
            (when, moment) => when == moment,
        };
        let (now_due, later) = std::mem::take(&mut self.config.injections).into_iter().partition(due);
        self.config.injections = later;
        let now_due: Vec<Injection> = now_due;
        for injection in now_due {
            self.send(injection.message);
        }
    }
}
