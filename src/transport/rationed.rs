//! A stream that pauses its reader now and then.
//!
//! The parsers of HTTP and of websockets read on until they have a whole answer or message. A peer that sends pieces without
//! an end, and faster than they are parsed, would keep them from returning, and signals and timers from their turn.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads in a row after which other tasks get their turn.
const READS: u32 = 8;

/// The bytes of a read, as many as a record of TLS has.
const PIECE: usize = 16 << 10;

/// The stream.
pub struct Rationed<S> {
    stream: S,
    /// Reads since the last pause.
    reads: u32,
}

impl<S> Rationed<S> {
    /// Takes a stream that reads and writes.
    pub fn new(stream: S) -> Self {
        Self { stream, reads: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rationed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads == READS {
            self.reads = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut piece = ReadBuf::new(to.initialize_unfilled_to(to.remaining().min(PIECE)));
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut piece);
        let length = piece.filled().len();
        to.advance(length);
        self.reads = if read.is_ready() { self.reads + 1 } else { 0 };
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rationed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use tokio::io::{AsyncReadExt, repeat};

    use super::*;

    #[tokio::test]
    async fn a_source_without_an_end_is_read_in_pieces_with_pauses() {
        let mut stream = Rationed::new(repeat(7));
        let mut bytes = vec![0; 1 << 20];
        for _ in 0..3 {
            for _ in 0..READS {
                let read = poll!(Box::pin(stream.read(&mut bytes)));
                assert!(matches!(read, Poll::Ready(Ok(PIECE))), "{read:?}");
            }
            assert!(poll!(Box::pin(stream.read(&mut bytes))).is_pending());
        }
        assert!(bytes[..PIECE].iter().all(|byte| *byte == 7) && bytes[PIECE] == 0);
        stream.read_exact(&mut bytes).await.expect("it is woken after each pause");
        assert!(bytes.iter().all(|byte| *byte == 7));
    }
}
