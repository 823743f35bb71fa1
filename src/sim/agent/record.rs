//! What an agent saw and did, for the assertions of a test.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;

use crate::sim::agent::message::{AgentMessage, MessageKind};

/// The account of one session.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Every message as it was read, up to the configured capacity; the counters go on beyond it.
    pub received: Vec<Received>,
    /// Messages read, of any type.
    pub messages: u64,
    /// Messages that the agent could not read at all.
    pub malformed: u64,
    /// Messages whose digest was not that of their payload.
    pub digest_mismatches: u64,
    /// Stream messages that had been processed before.
    pub duplicates: u64,
    /// Acknowledgements that named a message not outstanding.
    pub unknown_acks: u64,
    /// Acknowledgements sent.
    pub acks_sent: u64,
    /// Stream messages sent for the first time.
    pub sent: u64,
    /// Stream messages sent again.
    pub resent: u64,
    /// Bytes of data sent to the client, each counted once.
    pub bytes_sent: u64,
    /// Bytes of data completely written to the destination, or to the smux reader of a multiplexed session.
    pub bytes_written: u64,
    /// The client's version, from its handshake response.
    pub client_version: Option<String>,
    /// The handshake response as it came.
    pub handshake_response: Option<Bytes>,
    /// Size messages processed, in order and without effect.
    pub sizes: u64,
    /// NOPs that the smux reader read.
    pub nops: u64,
    /// Streams that the client opened, refused ones included.
    pub streams_opened: u64,
    /// Streams whose dial failed.
    pub streams_refused: u64,
    /// What became of each stream, by its number.
    pub streams: BTreeMap<u32, StreamRecord>,
    /// Whether something came that is not smux.
    pub smux_broken: bool,
    /// Whether a TerminateSession flag was processed.
    pub terminated: bool,
    /// Whether a channel_closed arrived.
    pub channel_closed: bool,
}

/// The account of one stream of a multiplexed session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamRecord {
    /// Bytes written to its destination.
    pub bytes_written: u64,
    /// Bytes read from its destination.
    pub bytes_read: u64,
    /// Whether the client's FIN came.
    pub fin_received: bool,
    /// Whether the agent's FIN was sent.
    pub fin_sent: bool,
}

/// One message that was read.
#[derive(Clone, Debug)]
pub struct Received {
    /// When it was read, which is later than its arrival when a write to the destination was in the way.
    pub at: Instant,
    /// What it was.
    pub message_type: MessageKind,
    /// Its sequence number.
    pub sequence: i64,
    /// Its flags.
    pub flags: u64,
    /// What its payload was.
    pub payload_type: u32,
    /// Its payload's length.
    pub length: usize,
    /// Its payload, if the configuration asks for it.
    pub payload: Option<Bytes>,
    /// Whether the digest was right.
    pub digest_ok: bool,
    /// What the agent did with it.
    pub fate: Fate,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Not a stream message, or one of no effect.
    Read,
    /// In order and processed.
    Processed,
    /// In order; its write to the destination has begun.
    Writing,
    /// In order, acknowledged and thrown away, because the handshake was not complete.
    Discarded,
    /// In order, but there is no destination yet: no answer.
    NotReady,
    /// In order, and processing it failed: no answer.
    Failed,
    /// Early, kept and acknowledged.
    Buffered,
    /// Early, and the buffer was full.
    Dropped,
    /// Processed before.
    Duplicate,
    /// It blocked the agent's reader for good.
    Wedged,
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

    /// Counts the listed messages of one fate.
    pub fn count(&self, fate: Fate) -> usize {
        self.received.iter().filter(|received| received.fate == fate).count()
    }
}
