//! smux version 1, client side, as a value: many byte streams in one.
//!
//! A [`Mux`] is mutated by `open`, `write`, `finish`, `abandon` and `handle_*`, and drained with `poll_frame` and
//! `poll_event`. It owns stream ids and the order of frames. A FIN closes both directions, as the agent treats it.
//! The protocol has no flow control and the mux does not bound its buffers: the caller checks [`Mux::queued`] before it
//! writes, and stops reading the session while its own readers are slow. It has no keep-alive time-out; a NOP is sent
//! on request. Source: `session.go` and `stream.go` of xtaci/smux, `port_mux.go` of the agent (docs/protocol.md).

mod decoder;
mod frame;
#[cfg(feature = "sim")]
pub(crate) mod fuzz;
mod send;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use self::decoder::{Decoder, Item};
use self::send::SendQueue;

pub use self::frame::HeaderError;

/// The first stream id, as in the official client. Ids grow by two and are not reused.
const FIRST_STREAM: u32 = 3;

/// Identifies a byte stream within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u32);

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What the caller must act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MuxEvent {
    /// Bytes that the peer sent.
    Data(StreamId, Bytes),
    /// The peer has closed the stream in both directions.
    Closed(StreamId),
    /// The agent could not connect the stream to its destination.
    Refused(StreamId),
    /// The peer does not send smux version 1: end the session.
    Broken(HeaderError),
}

/// The client's half of a multiplexed session.
#[derive(Debug)]
pub struct Mux {
    decoder: Decoder,
    next: u32,
    streams: BTreeMap<u32, Stream>,
    send: SendQueue,
    /// Refusals that have not been matched to a stream yet.
    refusals: u32,
    broken: bool,
    events: VecDeque<MuxEvent>,
}

/// A stream that the peer has not closed.
#[derive(Debug, Default)]
struct Stream {
    has_received: bool,
    /// The client has closed it and waits for the peer's FIN.
    is_closed: bool,
}

impl Default for Mux {
    fn default() -> Self {
        Self {
            decoder: Decoder::default(),
            next: FIRST_STREAM,
            streams: BTreeMap::new(),
            send: SendQueue::default(),
            refusals: 0,
            broken: false,
            events: VecDeque::new(),
        }
    }
}

impl Mux {
    /// Opens a stream. Data may follow at once: the agent replies only if it cannot connect.
    ///
    /// # Panics
    /// After 2^31 streams.
    pub fn open(&mut self) -> StreamId {
        let id = self.next;
        self.next = id.checked_add(2).expect("a session does not open so many streams");
        self.streams.insert(id, Stream::default());
        self.send.open(id);
        StreamId(id)
    }

    /// Queues bytes on an open stream; bytes for a closed stream are discarded.
    pub fn write(&mut self, StreamId(id): StreamId, bytes: Bytes) {
        if self.streams.get(&id).is_some_and(|stream| !stream.is_closed) {
            self.send.push(id, bytes);
        }
    }

    /// Returns the bytes that are queued on a stream.
    pub fn queued(&self, StreamId(id): StreamId) -> usize {
        self.send.queued(id)
    }

    /// Returns the bytes that are queued on all streams.
    pub fn backlog(&self) -> usize {
        self.send.backlog()
    }

    /// Closes a stream in both directions after its queued bytes are sent.
    pub fn finish(&mut self, StreamId(id): StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !std::mem::replace(&mut stream.is_closed, true)
        {
            self.send.finish(id);
        }
    }

    /// Closes a stream at once and discards its queued bytes.
    pub fn abandon(&mut self, id: StreamId) {
        self.send.forget(id.0);
        self.finish(id);
    }

    /// Queues a NOP, which keeps the session alive.
    pub fn keep_alive(&mut self) {
        self.send.keep_alive();
    }

    /// Handles bytes that the session received.
    pub fn handle_data(&mut self, bytes: Bytes) {
        if self.broken {
            return;
        }
        self.decoder.feed(bytes);
        while let Some(item) = self.decoder.next() {
            match item {
                Ok(Item::Data(id, bytes)) => self.received(id, bytes),
                Ok(Item::Fin(id)) => self.closed(id),
                Ok(Item::Ignored) => {}
                Err(error) => {
                    self.broken = true;
                    self.events.push_back(MuxEvent::Broken(error));
                    return;
                }
            }
        }
    }

    /// Handles the agent's message that it could not connect a stream. The message does not name the stream. The agent
    /// connects streams one after another, so it is the next one that ends without having received data.
    pub fn handle_refusal(&mut self) {
        self.refusals += 1;
    }

    /// Returns the next frame to send.
    pub fn poll_frame(&mut self) -> Option<Bytes> {
        self.send.poll_frame()
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<MuxEvent> {
        self.events.pop_front()
    }

    /// Returns the bytes of all frames that [`Self::poll_frame`] returned.
    pub fn sent(&self) -> u64 {
        self.send.sent()
    }

    /// Returns where in them the SYN of a stream ends, once it was returned.
    pub fn opened_at(&self, StreamId(id): StreamId) -> Option<u64> {
        self.send.opened_at(id)
    }

    fn received(&mut self, id: u32, bytes: Bytes) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.has_received = true;
            if !stream.is_closed {
                self.events.push_back(MuxEvent::Data(StreamId(id), bytes));
            }
        }
    }

    fn closed(&mut self, id: u32) {
        let Some(stream) = self.streams.remove(&id) else { return };
        self.send.forget(id);
        let is_refused = !stream.has_received && self.refusals > 0;
        if is_refused {
            self.refusals -= 1;
        }
        if stream.is_closed {
            self.send.remove(id);
            return;
        }
        self.send.finish(id);
        let id = StreamId(id);
        self.events.push_back(if is_refused { MuxEvent::Refused(id) } else { MuxEvent::Closed(id) });
    }
}

#[cfg(test)]
mod tests;
