//! A TCP connection made by a hop, as a stream of bytes.
//!
//! russh's own stream, with what it does not tell: an end that the peer did not mean is an error when reading, and a
//! write to a channel that the peer has closed fails instead of waiting for a window that never opens.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use russh::client::Msg;
use russh::{Channel, ChannelId, ChannelStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::watcher::{ChannelState, Shared};

/// A connection through a hop. Shutting it down ends our direction only; dropping it closes it.
pub struct HopStream {
    inner: ChannelStream<Msg>,
    id: ChannelId,
    state: Arc<ChannelState>,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    shared: Arc<Shared>,
    is_shut: bool,
}

impl HopStream {
    pub(super) fn new(channel: Channel<Msg>, shared: Arc<Shared>) -> Self {
        let id = channel.id();
        let state = shared.channel(id);
        let closed = Box::pin(state.closed.clone().cancelled_owned());
        Self { inner: channel.into_stream(), id, state, closed, shared, is_shut: false }
    }

    fn broken(&self) -> io::Error {
        let reason = match self.shared.ending() {
            Some(ending) => ending.to_string(),
            None => "the peer closed the channel".to_owned(),
        };
        io::Error::new(io::ErrorKind::BrokenPipe, reason)
    }
}

impl std::fmt::Debug for HopStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HopStream").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for HopStream {
    fn drop(&mut self) {
        self.shared.forget(self.id);
    }
}

impl AsyncRead for HopStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let is_end = buf.filled().len() == before && buf.remaining() > 0;
        if is_end && self.shared.ended.is_cancelled() && self.state.is_finished.get().is_none() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                self.broken().to_string(),
            )));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HopStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.is_shut || self.state.closed.is_cancelled() || self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(self.broken()));
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// To say goodbye to a peer that is gone already is no error.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_shut || self.state.closed.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        let done = ready!(Pin::new(&mut self.inner).poll_shutdown(cx));
        self.is_shut = true;
        Poll::Ready(if self.state.closed.is_cancelled() { Ok(()) } else { done })
    }
}
