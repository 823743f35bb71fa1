//! A stream that can be aborted from outside. russh's task owns the stream, and waits for a silent peer without
//! limit.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Fails in both directions once it is aborted.
pub(super) struct AbortableStream<S> {
    stream: S,
    /// One for each direction, since each has its own waker.
    read_abort: Pin<Box<WaitForCancellationFutureOwned>>,
    write_abort: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> AbortableStream<S> {
    pub fn new(stream: S, abort: &CancellationToken) -> Self {
        let wait = || Box::pin(abort.clone().cancelled_owned());
        Self { stream, read_abort: wait(), write_abort: wait() }
    }
}

fn aborted<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
}

impl<S: AsyncRead + Unpin> AsyncRead for AbortableStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_abort.as_mut().poll(cx).is_ready() {
            return aborted();
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AbortableStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.write_abort.as_mut().poll(cx).is_ready() {
            return aborted();
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_abort.as_mut().poll(cx).is_ready() {
            return aborted();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_abort.as_mut().poll(cx).is_ready() {
            return aborted();
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_pending_read_fails_when_the_stream_is_aborted() {
        let (ours, _theirs) = tokio::io::duplex(8);
        let abort = CancellationToken::new();
        let mut stream = AbortableStream::new(ours, &abort);
        let (read, ()) = tokio::join!(stream.read_u8(), async { abort.cancel() });
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
