//! smux version 1, client side, as a value: many byte streams in one.
//!
//! A [`Mux`] is mutated by `open`, `write`, `finish`, `abandon` and `handle_*`, and drained with `poll_frame` and
//! `poll_event`. It owns ids, the order of what is sent and what a FIN means at an agent: the end of both directions.
//! It bounds nothing by itself, since the protocol has no flow control: the caller asks [`Mux::queued`] before it
//! writes, and stops reading the carrier when its own readers are slow. There is no keep-alive time-out; a sign of life
//! is sent on request. Source: `session.go` and `stream.go` of xtaci/smux, `port_mux.go` of the agent (docs/protocol.md).

mod decoder;
mod frame;
mod send;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use self::decoder::{Decoder, Item};
use self::send::SendQueue;

pub use self::frame::{FrameCommand, HeaderError};

/// The official client's first id; ids grow by two and are never used again.
const FIRST_STREAM: u32 = 3;

/// One byte stream, for as long as its session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u32);

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What the caller must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MuxEvent {
    /// Bytes of the peer's.
    Data(StreamId, Bytes),
    /// The peer has closed the stream, both ways.
    Closed(StreamId),
    /// The peer could not connect the stream.
    Refused(StreamId),
    /// The peer speaks another protocol: the session is of no use any more.
    Broken(HeaderError),
}

/// The client's half of a session.
#[derive(Debug)]
pub struct Mux {
    decoder: Decoder,
    next: u32,
    streams: BTreeMap<u32, Stream>,
    send: SendQueue,
    /// Refusals that have been told without the stream they are for.
    refusals: u32,
    broken: bool,
    events: VecDeque<MuxEvent>,
}

/// A stream that the peer has not closed.
#[derive(Debug, Default)]
struct Stream {
    has_received: bool,
    /// We have closed it: only the peer's end is awaited.
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
    /// Opens a stream. Data may follow at once; there is no answer unless it is refused.
    ///
    /// # Panics
    /// After two thousand million streams.
    pub fn open(&mut self) -> StreamId {
        let id = self.next;
        self.next = id.checked_add(2).expect("a session does not live for so many streams");
        self.streams.insert(id, Stream::default());
        self.send.open(id);
        StreamId(id)
    }

    /// Puts bytes behind those that wait on an open stream; nothing happens on any other.
    pub fn write(&mut self, StreamId(id): StreamId, bytes: Bytes) {
        if self.streams.get(&id).is_some_and(|stream| !stream.is_closed) {
            self.send.push(id, bytes);
        }
    }

    /// Bytes that wait on a stream.
    pub fn queued(&self, StreamId(id): StreamId) -> usize {
        self.send.queued(id)
    }

    /// Bytes that wait on all streams.
    pub fn backlog(&self) -> usize {
        self.send.backlog()
    }

    /// Closes a stream, both ways, behind what waits on it.
    pub fn finish(&mut self, StreamId(id): StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !std::mem::replace(&mut stream.is_closed, true)
        {
            self.send.finish(id);
        }
    }

    /// Closes a stream at once, forgetting what waits on it.
    pub fn abandon(&mut self, id: StreamId) {
        self.send.forget(id.0);
        self.finish(id);
    }

    /// Sends a sign of life.
    pub fn keep_alive(&mut self) {
        self.send.keep_alive();
    }

    /// Takes bytes of the carrier.
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

    /// Takes the agent's word that a stream could not be connected; it does not say which. Dials are made one after
    /// another, so it is the next one that ends without having received anything.
    pub fn handle_refusal(&mut self) {
        self.refusals += 1;
    }

    /// The next frame to send.
    pub fn poll_frame(&mut self) -> Option<Bytes> {
        self.send.poll_frame()
    }

    /// The next thing that the caller must know.
    pub fn poll_event(&mut self) -> Option<MuxEvent> {
        self.events.pop_front()
    }

    /// Bytes of all frames that were given out.
    pub fn sent(&self) -> u64 {
        self.send.sent()
    }

    /// Where among them the opening of a stream ends, once it has been given out.
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
