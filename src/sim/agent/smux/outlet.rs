//! The pipe from the smux streams to the agent, which reads it 1,024 bytes at a time.
//!
//! A stream whose last frame is not completely in the pipe is blocked in its write, and its destination is not read. At
//! most one frame of each stream waits, and the streams take turns.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::sim::agent::smux::frame::{self, SmuxCommand};

/// The pipe to the agent.
#[derive(Debug)]
pub struct Outlet {
    capacity: u64,
    bytes: BytesMut,
    /// The number of bytes written since the start.
    written: u64,
    /// The blocked streams, each with the position of its frame's end.
    waiting: VecDeque<(u64, u32)>,
}

impl Outlet {
    /// Makes an empty pipe with this capacity in bytes.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity as u64, bytes: BytesMut::new(), written: 0, waiting: VecDeque::new() }
    }

    /// Returns whether the pipe is empty.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends a frame without data.
    pub fn write(&mut self, command: SmuxCommand, stream: u32) {
        let before = self.bytes.len();
        frame::write(&mut self.bytes, command, stream);
        self.written += (self.bytes.len() - before) as u64;
    }

    /// Appends data of a stream, which is blocked until all of it is in the pipe.
    pub fn write_data(&mut self, stream: u32, data: &[u8]) {
        let before = self.bytes.len();
        frame::write_data(&mut self.bytes, stream, data);
        self.written += (self.bytes.len() - before) as u64;
        self.waiting.push_back((self.written, stream));
    }

    /// Removes and returns at most `limit` bytes.
    pub fn take(&mut self, limit: usize) -> Bytes {
        self.bytes.split_to(limit.min(self.bytes.len())).freeze()
    }

    /// Returns the next stream that may write again.
    pub fn next_unblocked(&mut self) -> Option<u32> {
        let in_pipe = self.written - self.bytes.len() as u64 + self.capacity;
        self.waiting.pop_front_if(|(end, _)| *end <= in_pipe).map(|(_, stream)| stream)
    }

    /// Removes a stream that will not write again.
    pub fn forget(&mut self, stream: u32) {
        self.waiting.retain(|(_, waiting)| *waiting != stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_may_write_again_once_its_frame_is_in_the_pipe() {
        let mut outlet = Outlet::new(20);
        outlet.write_data(3, &[3; 12]);
        assert_eq!(outlet.next_unblocked(), Some(3));
        outlet.write_data(3, &[3; 4]);
        outlet.write_data(5, &[5; 4]);
        assert_eq!(outlet.next_unblocked(), None);
        assert_eq!(outlet.take(12).len(), 12);
        assert_eq!((outlet.next_unblocked(), outlet.next_unblocked()), (Some(3), None));
        outlet.forget(5);
        assert_eq!(outlet.take(1000).len(), 32);
        assert!(outlet.is_empty() && outlet.next_unblocked().is_none());
    }
}
