//! What a session carries its streams in: smux, or the only byte stream that a plain session has.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::channel::{Channel, Mode};
use crate::mux::{HeaderError, Mux, MuxEvent, StreamId};

/// Streams are known by their number in the session's state.
pub(super) enum Carrier {
    /// The handshake has not said yet which.
    Unknown,
    Multiplexed(Box<Smux>),
    Single(Single),
}

/// What the agent does to a stream.
pub(super) enum CarrierEvent {
    Data(u64, Bytes),
    Closed(u64),
    Refused(u64),
    Broken(HeaderError),
}

#[derive(Default)]
pub(super) struct Smux {
    mux: Mux,
    ids: BTreeMap<u64, StreamId>,
    numbers: BTreeMap<StreamId, u64>,
}

/// The byte stream of a session that is not multiplexed. The session ends with it.
#[derive(Default)]
pub(super) struct Single {
    stream: Option<u64>,
    /// What the destination sent before a stream was opened here.
    early: BytesMut,
    out: BytesMut,
    sent: u64,
    is_over: bool,
    events: VecDeque<CarrierEvent>,
}

impl Carrier {
    pub(super) fn of(mode: Mode) -> Self {
        match mode {
            Mode::Single => Self::Single(Single::default()),
            Mode::Multiplexed => Self::Multiplexed(Box::default()),
        }
    }

    /// Returns whether another stream can be opened.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Multiplexed(_) => true,
            Self::Single(single) => single.stream.is_none() && !single.is_over,
        }
    }

    /// Returns whether the only stream of a plain session has ended and everything of it was sent.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Single(single) if single.is_over && single.out.is_empty())
    }

    pub(super) fn open(&mut self, number: u64) {
        match self {
            Self::Unknown => {}
            Self::Multiplexed(smux) => {
                let stream = smux.mux.open();
                smux.ids.insert(number, stream);
                smux.numbers.insert(stream, number);
            }
            Self::Single(single) => single.stream = Some(number),
        }
    }

    /// Bytes that were received before a stream was opened.
    pub(super) fn early(&self) -> usize {
        if let Self::Single(single) = self { single.early.len() } else { 0 }
    }

    /// Takes what the destination sent before a stream was opened.
    pub(super) fn take_early(&mut self) -> Bytes {
        if let Self::Single(single) = self {
            std::mem::take(&mut single.early).freeze()
        } else {
            Bytes::new()
        }
    }

    pub(super) fn write(&mut self, number: u64, bytes: &[u8]) {
        match self {
            Self::Unknown => {}
            Self::Multiplexed(smux) => {
                if let Some(stream) = smux.ids.get(&number) {
                    smux.mux.write(*stream, Bytes::copy_from_slice(bytes));
                }
            }
            Self::Single(single) => single.out.extend_from_slice(bytes),
        }
    }

    /// Bytes of one stream that wait to be sent.
    pub(super) fn queued(&self, number: u64) -> usize {
        match self {
            Self::Unknown => 0,
            Self::Multiplexed(smux) => smux.ids.get(&number).map_or(0, |stream| smux.mux.queued(*stream)),
            Self::Single(single) => single.out.len(),
        }
    }

    /// Bytes of all streams that wait to be sent.
    pub(super) fn backlog(&self) -> usize {
        match self {
            Self::Unknown => 0,
            Self::Multiplexed(smux) => smux.mux.backlog(),
            Self::Single(single) => single.out.len(),
        }
    }

    /// Bytes of all streams that were given to the channel.
    pub(super) fn sent(&self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Multiplexed(smux) => smux.mux.sent(),
            Self::Single(single) => single.sent,
        }
    }

    /// Ends a stream behind what waits to be sent.
    pub(super) fn finish(&mut self, number: u64) {
        match self {
            Self::Unknown => {}
            Self::Multiplexed(smux) => {
                if let Some(stream) = smux.forget(number) {
                    smux.mux.finish(stream);
                }
            }
            Self::Single(single) => single.is_over = true,
        }
    }

    /// Ends a stream at once; what waits to be sent is dropped.
    pub(super) fn abandon(&mut self, number: u64) {
        match self {
            Self::Unknown => {}
            Self::Multiplexed(smux) => {
                if let Some(stream) = smux.forget(number) {
                    smux.mux.abandon(stream);
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
            Self::Multiplexed(smux) => smux.mux.handle_data(bytes),
            Self::Single(single) => match single.stream {
                Some(number) if !single.is_over => single.events.push_back(CarrierEvent::Data(number, bytes)),
                Some(_) => {}
                None => single.early.extend_from_slice(&bytes),
            },
        }
    }

    pub(super) fn handle_refusal(&mut self) {
        if let Self::Multiplexed(smux) = self {
            smux.mux.handle_refusal();
        }
    }

    /// Sends the sign of life that old agents expect.
    pub(super) fn keep_alive(&mut self) {
        if let Self::Multiplexed(smux) = self {
            smux.mux.keep_alive();
        }
    }

    /// Returns whether the agent has acknowledged the opening of a stream.
    pub(super) fn is_open(&self, number: u64, channel: &Channel) -> bool {
        match self {
            Self::Unknown => false,
            Self::Multiplexed(smux) => {
                let stream = smux.ids.get(&number);
                let opened_at = stream.and_then(|stream| smux.mux.opened_at(*stream));
                opened_at.is_some_and(|end| channel.arrived() >= end)
            }
            Self::Single(_) => true,
        }
    }

    /// Writes as much as the channel has room for; returns whether it wrote.
    pub(super) fn feed(&mut self, channel: &mut Channel) -> bool {
        let mut fed = false;
        match self {
            Self::Unknown => {}
            Self::Multiplexed(smux) => {
                while channel.send_room() > 0
                    && let Some(frame) = smux.mux.poll_frame()
                {
                    let taken = channel.write(&frame);
                    debug_assert_eq!(taken, frame.len(), "a frame is smaller than what the channel keeps");
                    fed = true;
                }
                channel.set_backlog(smux.mux.backlog());
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

    pub(super) fn poll_event(&mut self) -> Option<CarrierEvent> {
        match self {
            Self::Unknown => None,
            Self::Multiplexed(smux) => smux.poll_event(),
            Self::Single(single) => single.events.pop_front(),
        }
    }
}

impl Smux {
    fn forget(&mut self, number: u64) -> Option<StreamId> {
        let stream = self.ids.remove(&number)?;
        self.numbers.remove(&stream);
        Some(stream)
    }

    fn poll_event(&mut self) -> Option<CarrierEvent> {
        while let Some(event) = self.mux.poll_event() {
            let of = |stream: &StreamId| self.numbers.get(stream).copied();
            let event = match event {
                MuxEvent::Data(stream, bytes) => of(&stream).map(|number| CarrierEvent::Data(number, bytes)),
                MuxEvent::Closed(stream) => of(&stream).map(CarrierEvent::Closed),
                MuxEvent::Refused(stream) => of(&stream).map(CarrierEvent::Refused),
                MuxEvent::Broken(error) => Some(CarrierEvent::Broken(error)),
            };
            if let Some(CarrierEvent::Closed(number) | CarrierEvent::Refused(number)) = &event {
                self.forget(*number);
            }
            if event.is_some() {
                return event;
            }
        }
        None
    }
}
