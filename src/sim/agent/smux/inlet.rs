//! The pipe from the agent's message handler to its smux reader, and the frame being read.
//!
//! The handler's write blocks while the pipe is full, so that a message may wait here in whole or in part.

use bytes::{Buf, Bytes, BytesMut};

use crate::sim::agent::smux::frame::{HEADER_LENGTH, ProtocolError, SmuxCommand, SmuxHeader};

/// The pipe to the smux reader.
#[derive(Debug)]
pub struct Inlet {
    capacity: usize,
    pipe: BytesMut,
    blocked: Bytes,
    push: Option<Push>,
}

/// A PSH whose data has not arrived completely.
#[derive(Debug)]
struct Push {
    stream: u32,
    length: usize,
    data: BytesMut,
}

/// A frame with its data.
#[derive(Debug, PartialEq, Eq)]
pub enum SmuxFrame {
    /// Opens a stream.
    Syn(u32),
    /// Closes a stream.
    Fin(u32),
    /// Data of a stream.
    Psh(u32, Bytes),
    /// Keeps the session alive.
    Nop,
}

impl Inlet {
    /// Makes an empty pipe with this capacity in bytes.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(HEADER_LENGTH),
            pipe: BytesMut::new(),
            blocked: Bytes::new(),
            push: None,
        }
    }

    /// Starts the write of a message into the pipe; one at a time.
    pub fn offer(&mut self, message: Bytes) {
        self.blocked = message;
        self.fill();
    }

    /// Returns whether part of the last message waits for space in the pipe.
    pub fn is_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// Returns the command of the next frame, if its header has arrived.
    pub fn peek(&mut self) -> Option<SmuxCommand> {
        self.fill();
        if self.push.is_some() {
            return Some(SmuxCommand::Psh);
        }
        self.header()?.ok().map(|header| header.command)
    }

    /// Removes and returns the next frame, if it has arrived completely.
    ///
    /// # Errors
    /// The bytes are not smux.
    pub fn take(&mut self) -> Result<Option<SmuxFrame>, ProtocolError> {
        self.fill();
        if self.push.is_none() {
            let Some(header) = self.header().transpose()? else { return Ok(None) };
            self.pipe.advance(HEADER_LENGTH);
            match header.command {
                SmuxCommand::Syn => return Ok(Some(SmuxFrame::Syn(header.stream))),
                SmuxCommand::Fin => return Ok(Some(SmuxFrame::Fin(header.stream))),
                SmuxCommand::Nop => return Ok(Some(SmuxFrame::Nop)),
                SmuxCommand::Psh => {
                    let length = usize::from(header.length);
                    self.push = Some(Push { stream: header.stream, length, data: BytesMut::new() });
                }
            }
        }
        Ok(self.take_push())
    }

    fn take_push(&mut self) -> Option<SmuxFrame> {
        let mut push = self.push.take()?;
        loop {
            let missing = push.length - push.data.len();
            let part = self.pipe.split_to(missing.min(self.pipe.len()));
            push.data.extend_from_slice(&part);
            self.fill();
            if push.data.len() == push.length {
                return Some(SmuxFrame::Psh(push.stream, push.data.freeze()));
            }
            if self.pipe.is_empty() {
                self.push = Some(push);
                return None;
            }
        }
    }

    fn header(&self) -> Option<Result<SmuxHeader, ProtocolError>> {
        self.pipe.first_chunk::<HEADER_LENGTH>().map(|raw| SmuxHeader::read(*raw))
    }

    fn fill(&mut self) {
        let room = self.capacity.saturating_sub(self.pipe.len()).min(self.blocked.len());
        self.pipe.extend_from_slice(&self.blocked.split_to(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: &[u8] = b"\x01\x00\x00\x00\x03\x00\x00\x00\x01\x02\x03\x00\x03\x00\x00\x00GET\
        \x01\x03\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x05\x00\x00\x00\x01\x01\x00\x00\x03\x00\x00\x00";

    #[test]
    fn frames_may_be_split_anywhere() {
        let expected = [
            SmuxFrame::Syn(3),
            SmuxFrame::Psh(3, Bytes::from_static(b"GET")),
            SmuxFrame::Nop,
            SmuxFrame::Psh(5, Bytes::new()),
            SmuxFrame::Fin(3),
        ];
        for at in 0..WIRE.len() {
            for capacity in [8, 1000] {
                let mut inlet = Inlet::new(capacity);
                let mut frames = Vec::new();
                for part in [&WIRE[..at], &WIRE[at..]] {
                    inlet.offer(Bytes::from_static(part));
                    while let Some(frame) = inlet.take().unwrap() {
                        frames.push(frame);
                    }
                    assert!(!inlet.is_blocked());
                }
                assert_eq!(frames, expected, "split at {at}, a pipe of {capacity}");
            }
        }
    }

    #[test]
    fn an_unread_message_is_blocked_once_the_pipe_is_full() {
        let mut inlet = Inlet::new(16);
        inlet.offer(Bytes::from_static(&WIRE[..16]));
        assert_eq!(inlet.peek(), Some(SmuxCommand::Syn));
        assert!(!inlet.is_blocked());
        inlet.offer(Bytes::from_static(&WIRE[16..]));
        assert_eq!(inlet.peek(), Some(SmuxCommand::Syn));
        assert!(inlet.is_blocked());
    }

    #[test]
    fn bytes_that_are_not_smux_are_an_error_and_are_not_skipped() {
        let mut inlet = Inlet::new(16);
        inlet.offer(Bytes::from_static(b"SSH-2.0-x"));
        assert!(inlet.take().is_err() && inlet.take().is_err());
        assert_eq!(inlet.peek(), None);
    }
}
