//! What an agent received and did, for the assertions of tests.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;

use crate::sim::agent::message::{AgentMessage, MessageKind};

/// The record of one session.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The messages that were read, up to the configured capacity.
    pub received: Vec<Received>,
    /// Messages read, of any type.
    pub messages: u64,
    /// Messages that the agent could not parse.
    pub malformed: u64,
    /// Messages with a wrong digest.
    pub digest_mismatches: u64,
    /// Stream messages that were already processed.
    pub duplicates: u64,
    /// Acknowledgements of messages that were not outstanding.
    pub unknown_acks: u64,
    /// Acknowledgements sent.
    pub acks_sent: u64,
    /// Stream messages sent for the first time.
    pub sent: u64,
    /// Stream messages sent again.
    pub resent: u64,
    /// Bytes of data sent to the client, each counted once.
    pub bytes_sent: u64,
    /// Bytes of data written to the destination, or to the smux reader of a multiplexed session.
    pub bytes_written: u64,
    /// The client's version, from its handshake response.
    pub client_version: Option<String>,
    /// The handshake response as received.
    pub handshake_response: Option<Bytes>,
    /// Size messages processed; they have no effect.
    pub sizes: u64,
    /// NOPs received by the smux reader.
    pub nops: u64,
    /// Streams that the client opened, refused ones included.
    pub streams_opened: u64,
    /// Streams whose dial failed.
    pub streams_refused: u64,
    /// The record of each stream, by its number.
    pub streams: BTreeMap<u32, StreamRecord>,
    /// Whether bytes that are not smux were received.
    pub smux_broken: bool,
    /// Whether a TerminateSession flag was processed.
    pub terminated: bool,
    /// Whether a channel_closed was received.
    pub channel_closed: bool,
}

/// The record of one stream of a multiplexed session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamRecord {
    /// Bytes written to its destination.
    pub bytes_written: u64,
    /// Bytes read from its destination.
    pub bytes_read: u64,
    /// Whether the client's FIN was received.
    pub fin_received: bool,
    /// Whether the agent's FIN was sent.
    pub fin_sent: bool,
}

/// One message that was read.
#[derive(Clone, Debug)]
pub struct Received {
    /// When it was read; later than its arrival if a write to the destination blocked the reader.
    pub at: Instant,
    /// The message type.
    pub message_type: MessageKind,
    /// The sequence number.
    pub sequence: i64,
    /// The flags.
    pub flags: u64,
    /// The payload type.
    pub payload_type: u32,
    /// The payload's length.
    pub length: usize,
    /// The payload, if the configuration keeps payloads.
    pub payload: Option<Bytes>,
    /// Whether the digest was correct.
    pub digest_ok: bool,
    /// What the agent did with it.
    pub fate: Fate,
}

/// What the agent did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Not a stream message, or one of no effect.
    Read,
    /// In order and processed.
    Processed,
    /// In order; its write to the destination has begun.
    Writing,
    /// In order, acknowledged and discarded, because the handshake was not complete.
    Discarded,
    /// In order, but not acknowledged: the destination is not connected.
    NotReady,
    /// In order, but not acknowledged: processing it failed.
    Failed,
    /// Early, kept and acknowledged.
    Buffered,
    /// Early, and the buffer was full.
    Dropped,
    /// Already processed.
    Duplicate,
    /// It blocked the agent's reader without limit.
    BlockedReader,
}

impl Record {
    pub(super) fn note(
        &mut self,
        at: Instant,
        frame: &AgentMessage,
        fate: Fate,
        digest_ok: bool,
        limits: (usize, bool),
    ) {
        let (capacity, keep_payload) = limits;
        if fate == Fate::Duplicate {
            self.duplicates += 1;
        }
        if self.received.len() < capacity {
            self.received.push(Received {
                at,
                message_type: frame.message_type.clone(),
                sequence: frame.sequence,
                flags: frame.flags,
                payload_type: frame.payload_type,
                length: frame.payload.len(),
                payload: keep_payload.then(|| frame.payload.clone()),
                digest_ok,
                fate,
            });
        }
    }

    pub(super) fn stream(&mut self, id: u32) -> &mut StreamRecord {
        self.streams.entry(id).or_default()
    }

    /// Returns the number of listed messages with this fate.
    pub fn count(&self, fate: Fate) -> usize {
        self.received.iter().filter(|received| received.fate == fate).count()
    }
}
