//! A TCP connection from a hop, as a byte stream.
//!
//! A read returns EOF only if the peer sent EOF or closed the channel; a cut connection is an error. A write to a
//! closed channel fails, and does not wait for window space that never arrives.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use russh::Channel;
use russh::client::Msg;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::handler::Shared;
use super::receive_buffer::{End, ReceiveBuffer, fill};

/// A TCP connection from a hop. Shutdown sends EOF and leaves the other direction open; drop closes the channel.
pub struct HopStream {
    buffer: Arc<ReceiveBuffer>,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    is_shut: bool,
    /// Cancelled when the peer closes the channel, or when the ssh connection ends.
    closed: CancellationToken,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    shared: Arc<Shared>,
    _dropped: DropGuard,
}

impl HopStream {
    pub(super) fn new(channel: Channel<Msg>, shared: Arc<Shared>) -> Self {
        let (reader, writer) = channel.split();
        let (buffer, dropped) = (Arc::<ReceiveBuffer>::default(), CancellationToken::new());
        let closed = shared.ended.child_token();
        let closing = Box::pin(closed.clone().cancelled_owned());
        let sending = Box::pin(writer.make_writer());
        let filling = fill(buffer.clone(), reader, writer, shared.clone(), closed.clone(), dropped.clone());
        tokio::spawn(filling);
        let _dropped = dropped.drop_guard();
        Self { buffer, writer: sending, is_shut: false, closed, closing, shared, _dropped }
    }

    fn broken(&self, kind: io::ErrorKind) -> io::Error {
        let reason = match self.shared.ending() {
            Some(ending) => ending.to_string(),
            None => "the peer closed the channel".to_owned(),
        };
        io::Error::new(kind, reason)
    }
}

impl std::fmt::Debug for HopStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HopStream").field("closed", &self.closed.is_cancelled()).finish_non_exhaustive()
    }
}

impl AsyncRead for HopStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match ready!(self.buffer.poll_read(cx, buf)) {
            None | Some(End::Finished) => Ok(()),
            Some(End::Cut) => Err(self.broken(io::ErrorKind::ConnectionReset)),
        })
    }
}

impl AsyncWrite for HopStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.is_shut || self.closed.is_cancelled() || self.closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(self.broken(io::ErrorKind::BrokenPipe)));
        }
        self.writer.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_flush(cx)
    }

    /// Sends EOF. Succeeds if the peer has already closed the channel.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_shut || self.closed.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        let done = ready!(self.writer.as_mut().poll_shutdown(cx));
        self.is_shut = true;
        Poll::Ready(if self.closed.is_cancelled() { Ok(()) } else { done })
    }
}
