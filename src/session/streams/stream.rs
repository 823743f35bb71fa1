//! The handles of a session's streams.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;

/// Why a stream cannot be opened, or has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StreamError {
    /// The agent could not connect it to the destination.
    #[error("the destination refused the connection")]
    Refused,
    /// The agent did not answer the opening in time.
    #[error("not opened within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// This session cannot carry it; another one may. Nothing was sent.
    #[error("the session cannot carry another stream")]
    Elsewhere,
    /// The session is over.
    #[error("the session is over")]
    Lost,
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error {
            StreamError::Refused => io::ErrorKind::ConnectionRefused,
            StreamError::TimedOut(_) => io::ErrorKind::TimedOut,
            StreamError::Elsewhere | StreamError::Lost => io::ErrorKind::ConnectionReset,
        };
        Self::new(kind, error)
    }
}

impl StreamError {
    /// The stream's failure behind an error of its reader.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}

/// A stream to be opened.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose it is, for the log.
    pub name: String,
    /// When it was asked for: earlier ones are opened first, and the time limit counts from here.
    pub asked: Instant,
    /// It is open only once the agent is known to have it. Otherwise an agent that has just shown itself alive is
    /// trusted, and a refusal shows as an error of the reader.
    pub confirm: bool,
}

/// Opens streams in a session.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Asks for a stream. The request counts from now on, whether or not the result is polled.
    pub fn open(&self, request: Request) -> Opening {
        let number = self.shared.lock().add(request);
        self.shared.changed.notify_one();
        Opening { stream: Some(Stream { shared: self.shared.clone(), number }) }
    }
}

/// A stream that is being opened; resolves to it once it can be used. Dropping it withdraws the request.
pub struct Opening {
    stream: Option<Stream>,
}

impl Opening {
    /// Returns the stream as it is: its reads and writes wait until it is open.
    ///
    /// # Panics
    /// When the opening has already resolved.
    #[cfg(test)]
    pub fn into_stream(self) -> Stream {
        self.stream.expect("an opening is used once")
    }
}

impl Future for Opening {
    type Output = Result<Stream, StreamError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(stream) = &self.stream else { return Poll::Ready(Err(StreamError::Lost)) };
        let opened = ready!(stream.shared.lock().poll_open(stream.number, cx));
        let stream = self.stream.take();
        Poll::Ready(opened.and_then(|()| stream.ok_or(StreamError::Lost)))
    }
}

/// One byte stream of a session.
///
/// Shutting it down ends its input. After that it can be read until the peer closes it, or has been silent for the
/// linger time since the last byte arrived there. Dropping it closes it: behind what was sent if its input had ended,
/// and at once if not. Reading a stream whose session is lost fails behind what was received.
pub struct Stream {
    shared: Arc<Shared>,
    number: u64,
}

impl Stream {
    /// Sets how long the peer may be silent after the end of its input, instead of the session's linger time.
    pub fn set_linger(&self, linger: Duration) {
        self.shared.lock().set_linger(self.number, linger);
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (result, notify) = self.shared.lock().poll_read(self.number, cx, buf);
        if notify {
            self.shared.changed.notify_one();
        }
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let written = ready!(self.shared.lock().poll_write(self.number, cx, bytes));
        self.shared.changed.notify_one();
        Poll::Ready(written)
    }

    /// The session sends as soon as it can; nothing waits for a flush.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.lock().end_input(self.number);
        self.shared.changed.notify_one();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.lock().remove(self.number);
        self.shared.changed.notify_one();
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("number", &self.number).finish_non_exhaustive()
    }
}
