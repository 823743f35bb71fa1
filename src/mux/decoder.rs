//! Decodes smux frames from bytes that may be cut anywhere; data is returned as it arrives.

use bytes::{Buf, Bytes};

use super::frame::{FrameCommand, FrameHeader, HEADER_LENGTH, HeaderError};

/// What the peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// Data of a stream: a whole frame's or a part of it.
    Data(u32, Bytes),
    /// The stream is closed in both directions.
    Fin(u32),
    /// A frame that the client ignores: SYN or NOP.
    Ignored,
}

/// The state between two pieces of input.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    input: Bytes,
    header: [u8; HEADER_LENGTH],
    /// How many bytes of the header have arrived.
    have: usize,
    /// The stream and the number of data bytes that have not arrived yet.
    data: Option<(u32, usize)>,
}

impl Decoder {
    /// Sets the next piece of input. Call it after [`Self::next`] has returned `None`.
    pub(crate) fn feed(&mut self, piece: Bytes) {
        debug_assert!(self.input.is_empty(), "the last piece was read to its end");
        self.input = piece;
    }

    /// Returns the next item.
    ///
    /// # Errors
    /// [`HeaderError`] if the input is not smux version 1; the rest cannot be read.
    pub(crate) fn next(&mut self) -> Option<Result<Item, HeaderError>> {
        while !self.input.is_empty() {
            if let Some((stream, left)) = self.data {
                return Some(Ok(self.take_data(stream, left)));
            }
            let wanted = (HEADER_LENGTH - self.have).min(self.input.len());
            self.header[self.have..self.have + wanted].copy_from_slice(&self.input[..wanted]);
            self.input.advance(wanted);
            self.have += wanted;
            if self.have < HEADER_LENGTH {
                return None;
            }
            self.have = 0;
            match FrameHeader::parse(self.header) {
                Err(error) => return Some(Err(error)),
                Ok(header) => match self.begin(header) {
                    Some(item) => return Some(Ok(item)),
                    None => continue,
                },
            }
        }
        None
    }

    /// Handles a header; returns the item of a frame without data.
    fn begin(&mut self, header: FrameHeader) -> Option<Item> {
        let length = usize::from(header.length);
        match header.command {
            FrameCommand::Psh => {
                self.data = (length > 0).then_some((header.stream, length));
                None
            }
            FrameCommand::Fin => Some(Item::Fin(header.stream)),
            FrameCommand::Syn | FrameCommand::Nop => Some(Item::Ignored),
        }
    }

    fn take_data(&mut self, stream: u32, left: usize) -> Item {
        let bytes = self.input.split_to(left.min(self.input.len()));
        let left = left - bytes.len();
        self.data = (left > 0).then_some((stream, left));
        Item::Data(stream, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: &[u8] = &[
        1, 2, 3, 0, 3, 0, 0, 0, b'G', b'E', b'T', // PSH 3
        1, 3, 0, 0, 0, 0, 0, 0, // NOP
        1, 2, 0, 0, 5, 0, 0, 0, // an empty PSH 5
        1, 1, 0, 0, 3, 0, 0, 0, // FIN 3
    ];

    fn decode(pieces: &[&[u8]]) -> Vec<Item> {
        let mut decoder = Decoder::default();
        let mut items: Vec<Item> = Vec::new();
        for piece in pieces {
            decoder.feed(Bytes::copy_from_slice(piece));
            while let Some(item) = decoder.next() {
                match (items.last_mut(), item.unwrap()) {
                    (Some(Item::Data(stream, before)), Item::Data(same, bytes)) if *stream == same => {
                        *before = [before.as_ref(), bytes.as_ref()].concat().into();
                    }
                    (_, item) => items.push(item),
                }
            }
        }
        items
    }

    #[test]
    fn frames_cut_at_any_byte_are_decoded() {
        let whole = [Item::Data(3, Bytes::from_static(b"GET")), Item::Ignored, Item::Fin(3)];
        assert_eq!(decode(&[FRAMES]), whole);
        for at in 0..FRAMES.len() {
            for to in at..FRAMES.len() {
                assert_eq!(decode(&[&FRAMES[..at], &FRAMES[at..to], &FRAMES[to..]]), whole, "{at} {to}");
            }
        }
    }

    #[test]
    fn a_frame_of_the_largest_size_is_decoded() {
        let mut bytes = vec![1, 2, 0xff, 0xff, 3, 0, 0, 0];
        bytes.extend(vec![7; 65_535]);
        assert_eq!(decode(&[&bytes[..1000], &bytes[1000..]]), [Item::Data(3, vec![7; 65_535].into())]);
    }

    #[test]
    fn another_protocol_is_an_error() {
        let mut decoder = Decoder::default();
        decoder.feed(Bytes::from_static(b"SSH-2.0-x"));
        assert_eq!(decoder.next(), Some(Err(HeaderError::Version(b'S'))));
    }
}
