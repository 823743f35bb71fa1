//! The queues of frames to send, and the order of streams.
//!
//! Streams take turns with small frames. Every second turn goes to a stream that had nothing queued before (fresh), the
//! other turns to streams with more than one frame queued (bulk). So a small request waits for at most one frame of
//! other streams, and bulk data always continues. SYN and NOP are sent first.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{FrameCommand, FrameHeader, HEADER_LENGTH};

/// Data bytes of one frame: small, so that other streams wait less. The official client and agent send up to 32,768.
const FRAME_DATA: usize = 4 << 10;

/// The queues of all streams.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    /// SYN and NOP frames.
    first: VecDeque<FrameHeader>,
    streams: BTreeMap<u32, StreamQueue>,
    /// Streams that had nothing queued before.
    fresh: VecDeque<u32>,
    /// Streams that have sent a frame and have more queued.
    bulk: VecDeque<u32>,
    /// The last turn went to a fresh stream.
    was_fresh: bool,
    backlog: usize,
    sent: u64,
}

/// The queue of one stream.
#[derive(Debug, Default)]
struct StreamQueue {
    chunks: VecDeque<Bytes>,
    queued: usize,
    /// A FIN follows the queued data.
    ends: bool,
    /// It is in `fresh` or `bulk`.
    has_turn: bool,
    /// Where its SYN ends in the bytes that were sent.
    opened_at: Option<u64>,
}

impl SendQueue {
    pub(super) fn open(&mut self, id: u32) {
        self.streams.insert(id, StreamQueue::default());
        self.first.push_back(FrameHeader { command: FrameCommand::Syn, length: 0, stream: id });
    }

    pub(super) fn keep_alive(&mut self) {
        self.first.push_back(FrameHeader { command: FrameCommand::Nop, length: 0, stream: 0 });
    }

    pub(super) fn push(&mut self, id: u32, bytes: Bytes) {
        let Some(stream) = self.streams.get_mut(&id).filter(|_| !bytes.is_empty()) else { return };
        stream.queued += bytes.len();
        self.backlog += bytes.len();
        stream.chunks.push_back(bytes);
        self.queue(id);
    }

    pub(super) fn finish(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.ends = true;
            self.queue(id);
        }
    }

    /// Discards the data that is queued on a stream.
    pub(super) fn forget(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            self.backlog -= std::mem::take(&mut stream.queued);
            stream.chunks.clear();
        }
    }

    /// Removes a stream that both sides have closed.
    pub(super) fn remove(&mut self, id: u32) {
        self.forget(id);
        let is_queued = self.streams.get(&id).is_some_and(|stream| stream.has_turn);
        if !is_queued {
            self.streams.remove(&id);
        }
    }

    pub(super) fn queued(&self, id: u32) -> usize {
        self.streams.get(&id).map_or(0, |stream| stream.queued)
    }

    pub(super) fn backlog(&self) -> usize {
        self.backlog
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn opened_at(&self, id: u32) -> Option<u64> {
        self.streams.get(&id)?.opened_at
    }

    pub(super) fn poll_frame(&mut self) -> Option<Bytes> {
        if let Some(header) = self.first.pop_front() {
            let frame = self.encode(header, &[]);
            if let Some(stream) = self.streams.get_mut(&header.stream) {
                stream.opened_at = Some(self.sent);
            }
            return Some(frame);
        }
        while let Some(id) = self.next_turn() {
            if let Some(frame) = self.frame_of(id) {
                return Some(frame);
            }
        }
        None
    }

    fn queue(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !std::mem::replace(&mut stream.has_turn, true)
        {
            self.fresh.push_back(id);
        }
    }

    fn next_turn(&mut self) -> Option<u32> {
        let takes_fresh = !self.was_fresh || self.bulk.is_empty();
        let fresh = if takes_fresh { self.fresh.pop_front() } else { None };
        self.was_fresh = fresh.is_some();
        fresh.or_else(|| self.bulk.pop_front()).or_else(|| self.fresh.pop_front())
    }

    /// Returns the next frame of a stream, and queues another turn if the stream has more.
    fn frame_of(&mut self, id: u32) -> Option<Bytes> {
        let stream = self.streams.get_mut(&id)?;
        let data = stream.take();
        self.backlog -= data.len();
        let ends = data.is_empty() && stream.ends;
        stream.has_turn = stream.queued > 0 || (stream.ends && !ends);
        if stream.has_turn {
            self.bulk.push_back(id);
        }
        let command = match (data.is_empty(), ends) {
            (false, _) => FrameCommand::Psh,
            (true, true) => FrameCommand::Fin,
            (true, false) => return None,
        };
        if ends {
            self.streams.remove(&id);
        }
        let length = u16::try_from(data.len()).expect("a frame is small");
        Some(self.encode(FrameHeader { command, length, stream: id }, &data))
    }

    fn encode(&mut self, header: FrameHeader, data: &[u8]) -> Bytes {
        let mut frame = BytesMut::with_capacity(HEADER_LENGTH + data.len());
        frame.put_slice(&header.encode());
        frame.put_slice(data);
        self.sent += frame.len() as u64;
        frame.freeze()
    }
}

impl StreamQueue {
    /// Removes the data of one frame from the queue; small chunks are joined.
    fn take(&mut self) -> Bytes {
        let mut gathered = BytesMut::new();
        while gathered.len() < FRAME_DATA
            && let Some(front) = self.chunks.front_mut()
        {
            let piece = front.split_to(front.len().min(FRAME_DATA - gathered.len()));
            if front.is_empty() {
                self.chunks.pop_front();
            }
            if gathered.is_empty() && (piece.len() == FRAME_DATA || self.chunks.is_empty()) {
                self.queued -= piece.len();
                return piece;
            }
            gathered.put_slice(&piece);
        }
        self.queued -= gathered.len();
        gathered.freeze()
    }
}
