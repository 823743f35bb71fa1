//! One direction of a relay: a buffer, and the step that it is in.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A buffer begins with so many bytes and grows while it is filled: many connections are idle.
const SMALLEST_BUFFER: usize = 2 << 10;
const LARGEST_BUFFER: usize = 64 << 10;

/// The direction.
pub(super) struct Direction {
    pub step: DirectionState,
    buffer: Vec<u8>,
    /// The size that the buffer gets for the next read.
    size: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DirectionState {
    Reading,
    /// These bytes of the buffer are not written yet.
    Writing(usize, usize),
    Flushing,
    /// The source has ended, and the sink is about to be shut down.
    Closing,
    /// The source has ended, and the sink was shut down.
    Ended,
    /// The sink takes nothing more, and what the source sends is discarded.
    Discarding,
    /// The sink takes nothing more, and the source is not read.
    Stopped,
}

/// How a direction has changed.
#[derive(Debug)]
pub(super) enum Passed {
    /// The end of file was passed on.
    End,
    ReadFailed(io::Error),
    WriteFailed(io::Error),
}

impl Direction {
    pub fn new(step: DirectionState) -> Self {
        Self { step, buffer: Vec::new(), size: SMALLEST_BUFFER }
    }

    /// Moves bytes until an end makes it wait, has ended or has failed.
    pub fn poll<A: AsyncRead + Unpin, B: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
        mut moved: impl FnMut(usize),
    ) -> Poll<Passed> {
        loop {
            let stepped = match self.step {
                DirectionState::Reading | DirectionState::Discarding => {
                    self.poll_fill(cx, from).map_err(Passed::ReadFailed)
                }
                DirectionState::Writing(start, end) => {
                    self.poll_write(cx, to, start..end, &mut moved).map_err(Passed::WriteFailed)
                }
                DirectionState::Flushing => Pin::new(&mut *to)
                    .poll_flush(cx)
                    .map_ok(|()| DirectionState::Reading)
                    .map_err(Passed::WriteFailed),
                // A sink that does not exist any more needs no end of file.
                DirectionState::Closing => {
                    Pin::new(&mut *to).poll_shutdown(cx).map(|_| Ok(DirectionState::Ended))
                }
                DirectionState::Ended | DirectionState::Stopped => return Poll::Pending,
            };
            match ready!(stepped) {
                Ok(step) => self.step = step,
                Err(failed) => return Poll::Ready(failed),
            }
            if self.step == DirectionState::Ended {
                return Poll::Ready(Passed::End);
            }
        }
    }

    fn poll_fill<A: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
    ) -> Poll<io::Result<DirectionState>> {
        if self.buffer.len() != self.size {
            self.buffer = vec![0; self.size];
        }
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        let length = buffer.filled().len();
        self.size = match length {
            _ if length == self.size => (self.size * 2).min(LARGEST_BUFFER),
            _ if length < self.size / 4 => (self.size / 2).max(SMALLEST_BUFFER),
            _ => self.size,
        };
        Poll::Ready(Ok(match length {
            0 => DirectionState::Closing,
            _ if self.step == DirectionState::Discarding => DirectionState::Discarding,
            _ => DirectionState::Writing(0, length),
        }))
    }

    fn poll_write<B: AsyncWrite + Unpin>(
        &self,
        cx: &mut Context<'_>,
        to: &mut B,
        rest: Range<usize>,
        moved: &mut impl FnMut(usize),
    ) -> Poll<io::Result<DirectionState>> {
        let length = ready!(Pin::new(to).poll_write(cx, &self.buffer[rest.clone()]))?;
        moved(length);
        let next = rest.start + length;
        Poll::Ready(match next {
            _ if next == rest.start => Err(io::ErrorKind::WriteZero.into()),
            _ if next == rest.end => Ok(DirectionState::Flushing),
            _ => Ok(DirectionState::Writing(next, rest.end)),
        })
    }
}
