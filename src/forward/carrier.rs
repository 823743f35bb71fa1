//! What a session carries connections in: smux streams, or its only byte stream.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::channel::{Channel, Mode};
use crate::mux::{HeaderError, Mux, MuxEvent, StreamId};

/// Connections are known by their number here.
pub(super) enum Carrier {
    /// It is not known yet which.
    Unknown,
    Multiplexed(Box<Streams>),
    Single(Single),
}

/// What the agent does to a connection.
pub(super) enum Event {
    Data(u64, Bytes),
    Closed(u64),
    Refused(u64),
    Broken(HeaderError),
}

#[derive(Default)]
pub(super) struct Streams {
    mux: Mux,
    streams: BTreeMap<u64, StreamId>,
    numbers: BTreeMap<StreamId, u64>,
}

/// The one connection of a session that is not multiplexed. Once it has ended, so has the session.
#[derive(Default)]
pub(super) struct Single {
    connection: Option<u64>,
    /// What the destination said before there was a connection to take it.
    early: BytesMut,
    out: BytesMut,
    sent: u64,
    is_over: bool,
    events: Vec<Event>,
}

impl Carrier {
    pub(super) fn of(mode: Mode) -> Self {
        match mode {
            Mode::Single => Self::Single(Single::default()),
            Mode::Multiplexed => Self::Multiplexed(Box::default()),
        }
    }

    /// Tells whether another connection may be opened.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Multiplexed(_) => true,
            Self::Single(single) => single.connection.is_none() && !single.is_over,
        }
    }

    /// Tells whether its only connection has ended.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Single(single) if single.is_over && single.out.is_empty())
    }

    pub(super) fn open(&mut self, number: u64) {
        match self {
            Self::Unknown => {}
            Self::Multiplexed(streams) => {
                let stream = streams.mux.open();
                streams.streams.insert(number, stream);
                streams.numbers.insert(stream, number);
            }
            Self::Single(single) => single.connection = Some(number),
        }
    }

    /// Bytes that wait for a connection.
    pub(super) fn early(&self) -> usize {
        if let Self::Single(single) = self { single.early.len() } else { 0 }
    }

    /// Hands on what the destination said before there was a connection.
    pub(super) fn take_early(&mut self) -> Bytes {
        if let Self::Single(single) = self {
            std::mem::take(&mut single.early).freeze()
        } else {
            Bytes::new()
        }
    }

    pub(super) fn write(&mut self, number: u64, bytes: Bytes) {
        match self {
            Self::Unknown => {}
            Self::Multiplexed(streams) => {
                if let Some(stream) = streams.streams.get(&number) {
                    streams.mux.write(*stream, bytes);
                }
            }
            Self::Single(single) => single.out.extend_from_slice(&bytes),
        }
    }

    /// Bytes of a connection that wait.
    pub(super) fn queued(&self, number: u64) -> usize {
        match self {
            Self::Unknown => 0,
            Self::Multiplexed(streams) => {
                streams.streams.get(&number).map_or(0, |stream| streams.mux.queued(*stream))
            }
            Self::Single(single) => single.out.len(),
        }
    }

    /// Bytes that wait, of all connections.
    pub(super) fn backlog(&self) -> usize {
        match self {
            Self::Unknown => 0,
            Self::Multiplexed(streams) => streams.mux.backlog(),
            Self::Single(single) => single.out.len(),
        }
    }

    /// Bytes that have left, of all connections.
    pub(super) fn sent(&self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Multiplexed(streams) => streams.mux.sent(),
            Self::Single(single) => single.sent,
        }
    }

    /// Ends a connection behind what waits.
    pub(super) fn finish(&mut self, number: u64) {
        match self {
            Self::Unknown => {}
            Self::Multiplexed(streams) => {
                if let Some(stream) = streams.forget(number) {
                    streams.mux.finish(stream);
                }
            }
            Self::Single(single) => single.is_over = true,
        }
    }

    /// Ends a connection at once.
    pub(super) fn abandon(&mut self, number: u64) {
        match self {
            Self::Unknown => {}
            Self::Multiplexed(streams) => {
                if let Some(stream) = streams.forget(number) {
                    streams.mux.abandon(stream);
                }
            }
            Self::Single(single) => {
                single.out.clear();
                single.is_over = true;
            }
        }
    }

    pub(super) fn receive(&mut self, bytes: Bytes) {
        match self {
            Self::Unknown => {}
            Self::Multiplexed(streams) => streams.mux.handle_data(bytes),
            Self::Single(single) => match single.connection {
                Some(number) if !single.is_over => single.events.push(Event::Data(number, bytes)),
                Some(_) => {}
                None => single.early.extend_from_slice(&bytes),
            },
        }
    }

    pub(super) fn handle_refusal(&mut self) {
        if let Self::Multiplexed(streams) = self {
            streams.mux.handle_refusal();
        }
    }

    /// Sends what tells an old agent that we are there.
    pub(super) fn keep_alive(&mut self) {
        if let Self::Multiplexed(streams) = self {
            streams.mux.keep_alive();
        }
    }

    /// Tells whether the agent knows of a connection, as far as its acknowledgements say.
    pub(super) fn is_open(&self, number: u64, channel: &Channel) -> bool {
        match self {
            Self::Unknown => false,
            Self::Multiplexed(streams) => {
                let stream = streams.streams.get(&number);
                let opened_at = stream.and_then(|stream| streams.mux.opened_at(*stream));
                opened_at.is_some_and(|end| channel.arrived() >= end)
            }
            Self::Single(_) => true,
        }
    }

    /// Writes as much as the channel has room for; tells whether it wrote.
    pub(super) fn feed(&mut self, channel: &mut Channel) -> bool {
        let mut fed = false;
        match self {
            Self::Unknown => {}
            Self::Multiplexed(streams) => {
                while channel.send_room() > 0
                    && let Some(frame) = streams.mux.poll_frame()
                {
                    let taken = channel.write(&frame);
                    debug_assert_eq!(taken, frame.len(), "a frame is smaller than what the channel keeps");
                    fed = true;
                }
                channel.set_backlog(streams.mux.backlog());
            }
            Self::Single(single) => {
                let piece = single.out.split_to(single.out.len().min(channel.send_room()));
                fed = channel.write(&piece) > 0;
                single.sent += piece.len() as u64;
                channel.set_backlog(single.out.len());
            }
        }
        fed
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::Unknown => None,
            Self::Multiplexed(streams) => streams.poll_event(),
            Self::Single(single) => (!single.events.is_empty()).then(|| single.events.remove(0)),
        }
    }
}

impl Streams {
    fn forget(&mut self, number: u64) -> Option<StreamId> {
        let stream = self.streams.remove(&number)?;
        self.numbers.remove(&stream);
        Some(stream)
    }

    fn poll_event(&mut self) -> Option<Event> {
        while let Some(event) = self.mux.poll_event() {
            let of = |stream: &StreamId| self.numbers.get(stream).copied();
            let event = match event {
                MuxEvent::Data(stream, bytes) => of(&stream).map(|number| Event::Data(number, bytes)),
                MuxEvent::Closed(stream) => of(&stream).map(Event::Closed),
                MuxEvent::Refused(stream) => of(&stream).map(Event::Refused),
                MuxEvent::Broken(error) => Some(Event::Broken(error)),
            };
            if let Some(Event::Closed(number) | Event::Refused(number)) = &event {
                self.forget(*number);
            }
            if event.is_some() {
                return event;
            }
        }
        None
    }
}
