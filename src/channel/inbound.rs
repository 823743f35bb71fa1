//! The receiving half: the expected sequence number, and the messages that arrived early.
//!
//! Owns the order. Decides whether a stream message is delivered, kept, a duplicate or dropped; the caller acknowledges
//! all but the dropped ones. Memory is bounded: a message that does not fit is dropped, and the agent resends it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::frame::Frame;

/// At least as many as the official client keeps: ten seconds of an agent at full rate. The limit in bytes, with the
/// buffers for a slow reader, keeps the process below 32 MiB.
const KEPT_MESSAGES: usize = 10_240;
const KEPT_BYTES: usize = 8 << 20;
/// A sequence number further ahead than this is invalid.
const MAX_AHEAD: i64 = 1_000_000;

/// What to do with a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the next one: acknowledge it and deliver these, itself first.
    Deliver(Vec<Frame>),
    /// It arrived early and is kept: acknowledge it.
    Kept,
    /// It arrived before: acknowledge it again, otherwise the agent resends only this message.
    Duplicate,
    /// It cannot be kept or is invalid: do not acknowledge it.
    Dropped,
}

/// The state of the receiving half.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    expected: i64,
    early: BTreeMap<i64, Frame>,
    early_bytes: usize,
}

impl Inbound {
    /// Decides about a message whose digest is valid.
    pub(crate) fn accept(&mut self, frame: Frame) -> Verdict {
        let number = frame.sequence_number;
        if number < 0 || number > self.expected.saturating_add(MAX_AHEAD) {
            Verdict::Dropped
        } else if number < self.expected || self.early.contains_key(&number) {
            Verdict::Duplicate
        } else if number == self.expected {
            Verdict::Deliver(self.advance(frame))
        } else if self.early.len() >= KEPT_MESSAGES || self.early_bytes + frame.payload.len() > KEPT_BYTES {
            Verdict::Dropped
        } else {
            self.early_bytes += frame.payload.len();
            // A copy: the payload is a slice of a read buffer, which must not stay allocated while the gap is open.
            let payload = Bytes::copy_from_slice(&frame.payload);
            self.early.insert(number, Frame { payload, ..frame });
            Verdict::Kept
        }
    }

    /// Returns the sequence number of the next message to deliver.
    pub(crate) fn expected(&self) -> i64 {
        self.expected
    }

    /// Returns true if early messages wait for a missing one.
    pub(crate) fn has_gap(&self) -> bool {
        !self.early.is_empty()
    }

    fn advance(&mut self, frame: Frame) -> Vec<Frame> {
        let mut ready = vec![frame];
        self.expected += 1;
        while let Some(frame) = self.early.remove(&self.expected) {
            self.early_bytes -= frame.payload.len();
            self.expected += 1;
            ready.push(frame);
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::channel::message::{MessageType, PayloadType};

    fn frame(sequence_number: i64, payload: Bytes) -> Frame {
        Frame {
            message_type: MessageType::OutputStreamData,
            sequence_number,
            flags: 0,
            created_date: 1,
            message_id: Uuid::nil(),
            payload_digest: [0; 32],
            payload_type: Some(PayloadType::Output),
            payload,
        }
    }

    fn small(number: i64) -> Frame {
        frame(number, Bytes::from_static(b"x"))
    }

    fn numbers(verdict: Verdict) -> Vec<i64> {
        match verdict {
            Verdict::Deliver(frames) => frames.iter().map(|frame| frame.sequence_number).collect(),
            Verdict::Kept | Verdict::Duplicate | Verdict::Dropped => Vec::new(),
        }
    }

    #[test]
    fn early_messages_wait_for_the_missing_one() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.accept(small(2)), Verdict::Kept);
        assert_eq!(inbound.accept(small(1)), Verdict::Kept);
        assert!(inbound.has_gap());
        assert_eq!(numbers(inbound.accept(small(0))), [0, 1, 2]);
        assert!(!inbound.has_gap());
        assert_eq!(inbound.expected(), 3);
    }

    #[test]
    fn delivered_and_kept_messages_are_duplicates() {
        let mut inbound = Inbound::default();
        inbound.accept(small(0));
        inbound.accept(small(2));
        assert_eq!(inbound.accept(small(0)), Verdict::Duplicate);
        assert_eq!(inbound.accept(small(2)), Verdict::Duplicate);
    }

    #[test]
    fn invalid_sequence_numbers_are_dropped() {
        let mut inbound = Inbound::default();
        for number in [-1, i64::MIN, MAX_AHEAD + 1, i64::MAX] {
            assert_eq!(inbound.accept(small(number)), Verdict::Dropped, "{number}");
        }
    }

    #[test]
    fn kept_messages_are_bounded_by_count_and_bytes() {
        let mut inbound = Inbound::default();
        for number in 1..=i64::try_from(KEPT_MESSAGES).unwrap() {
            assert_eq!(inbound.accept(small(number)), Verdict::Kept);
        }
        assert_eq!(inbound.accept(small(20_000)), Verdict::Dropped);

        let mut inbound = Inbound::default();
        let megabyte = Bytes::from(vec![0; 1 << 20]);
        for number in 1..=8 {
            assert_eq!(inbound.accept(frame(number, megabyte.clone())), Verdict::Kept);
        }
        assert_eq!(inbound.accept(frame(9, megabyte.clone())), Verdict::Dropped);
        assert_eq!(numbers(inbound.accept(frame(0, megabyte))).len(), 9);
        assert_eq!(inbound.accept(small(10)), Verdict::Kept);
    }
}
