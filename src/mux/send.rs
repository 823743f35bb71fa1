//! What has_turn to be sent, and whose turn it is.
//!
//! Streams take turns with small frames. A stream that had nothing to send goes before those that wait in bulk, every
//! second time: a small request has_turn for one frame of others, and bulk never starves. Openings and signs of life go
//! first.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{FrameCommand, FrameHeader, HEADER_LENGTH};

/// Data of one frame: small, so that others have their turn soon. The official ends send up to 32,768 bytes.
const FRAME_DATA: usize = 4 << 10;

/// Everything that has_turn.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    /// Openings and signs of life.
    first: VecDeque<FrameHeader>,
    streams: BTreeMap<u32, StreamQueue>,
    /// Streams that had nothing to send a moment ago.
    fresh: VecDeque<u32>,
    /// Streams that had more than one frame to send.
    bulk: VecDeque<u32>,
    /// The last turn was a fresh stream's.
    was_fresh: bool,
    backlog: usize,
    sent: u64,
}

/// What has_turn on one stream.
#[derive(Debug, Default)]
struct StreamQueue {
    chunks: VecDeque<Bytes>,
    queued: usize,
    ends: bool,
    /// It has a turn coming.
    has_turn: bool,
    /// Where its opening ends among all that was sent.
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

    /// Drops what has_turn on a stream.
    pub(super) fn forget(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            self.backlog -= std::mem::take(&mut stream.queued);
            stream.chunks.clear();
        }
    }

    /// Drops a stream whose end both sides know.
    pub(super) fn remove(&mut self, id: u32) {
        self.forget(id);
        let keeps = self.streams.get(&id).is_some_and(|stream| stream.has_turn);
        if !keeps {
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

    /// The next frame of a stream whose turn it is; it has_turn for another turn if it has more.
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
    /// Takes the data of one frame, gathered from small chunks.
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
