//! What is known of one stream of a session.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;

use super::{Request, StreamError};

/// One stream.
pub(super) struct Slot {
    pub(super) phase: Phase,
    pub(super) name: String,
    pub(super) asked: Instant,
    /// The opener goes on only once the agent is known to have the stream.
    pub(super) confirm: bool,
    pub(super) input: Input,
    /// Its own time to be silent in after the end of its input.
    pub(super) linger: Option<Duration>,
    pub(super) received: VecDeque<Bytes>,
    pub(super) unread: usize,
    pub(super) opener: Option<Waker>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The session does not carry it yet.
    Waiting,
    /// It was opened since then; its opener waits until the agent is known to have it.
    Trial(Instant),
    /// It is the opener's.
    Open,
    /// Behind what was received it has ended, or failed.
    Closed(Result<(), StreamError>),
}

/// What its user still sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Open,
    /// It has ended.
    Ended {
        /// Where, among all bytes of the session, its last byte is; known once that has left.
        last_byte: Option<u64>,
        /// Since when the peer has had all of it and has sent nothing, though that would have been received.
        quiet_since: Option<Instant>,
    },
}

impl Slot {
    pub(super) fn new(request: Request, phase: Phase) -> Self {
        Self {
            phase,
            name: request.name,
            asked: request.asked,
            confirm: request.confirm,
            input: Input::Open,
            linger: None,
            received: VecDeque::new(),
            unread: 0,
            opener: None,
            reader: None,
            writer: None,
        }
    }

    /// The session sends and receives for it.
    pub(super) fn is_carried(&self) -> bool {
        matches!(self.phase, Phase::Trial(_) | Phase::Open)
    }

    pub(super) fn has_ended_input(&self) -> bool {
        matches!(self.input, Input::Ended { .. })
    }

    /// Its reader has taken everything and waits for more.
    pub(super) fn is_listening(&self) -> bool {
        self.received.is_empty() && self.reader.is_some()
    }

    /// Fills a buffer with what was received; returns how many bytes.
    pub(super) fn take(&mut self, buf: &mut ReadBuf<'_>) -> usize {
        let before = buf.remaining();
        while let Some(front) = self.received.front_mut().filter(|_| buf.remaining() > 0) {
            let length = front.len().min(buf.remaining());
            buf.put_slice(&front[..length]);
            front.advance(length);
            if front.is_empty() {
                self.received.pop_front();
            }
        }
        before - buf.remaining()
    }

    pub(super) fn wake_all(&mut self) {
        [&mut self.opener, &mut self.reader, &mut self.writer]
            .into_iter()
            .filter_map(Option::take)
            .for_each(Waker::wake);
    }
}
