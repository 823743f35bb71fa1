//! A stream whose ssh banner is held back until the key is pushed, so that no login comes before its key. The login that
//! follows is watched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::login_watch::LoginWatch;

/// The first bytes of an ssh server (RFC 4253, section 4.2).
const SSH: &[u8] = b"SSH-";

/// A stream. What is not ssh passes without a key.
pub struct HeldStream<S> {
    stream: S,
    /// What was read and not passed on.
    held: Vec<u8>,
    state: State,
    watch: LoginWatch,
    is_refused: Arc<AtomicBool>,
}

enum State {
    /// The first bytes have not come.
    Waiting { came: CancellationToken, pushed: oneshot::Receiver<()> },
    /// The banner has come, the key is being pushed.
    Pushing(oneshot::Receiver<()>),
    /// All passes.
    Open,
}

/// What the pusher of the key has of the stream.
pub struct Banner {
    /// Cancelled once the banner has come.
    pub(super) came: CancellationToken,
    /// To be sent once the key is pushed; dropped if that failed.
    pub(super) pushed: oneshot::Sender<()>,
    /// The server has refused every key, as far as can be seen.
    pub(super) is_refused: Arc<AtomicBool>,
}

impl<S> HeldStream<S> {
    /// Holds back the banner of a stream.
    pub fn new(stream: S) -> (Self, Banner) {
        let came = CancellationToken::new();
        let (sender, pushed) = oneshot::channel();
        let is_refused = Arc::<AtomicBool>::default();
        let banner = Banner { came: came.clone(), pushed: sender, is_refused: is_refused.clone() };
        let state = State::Waiting { came, pushed };
        (Self { stream, held: Vec::new(), state, watch: LoginWatch::default(), is_refused }, banner)
    }

    /// Lets the login be watched at its beginning.
    fn watch(&mut self, note: impl FnOnce(&mut LoginWatch)) {
        if !self.watch.is_over() {
            note(&mut self.watch);
            self.is_refused.store(self.watch.is_refused(), Ordering::Relaxed);
        }
    }

    /// Passes on what was held, as far as there is room.
    fn pass(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.held.len().min(buffer.remaining());
        buffer.put_slice(&self.held[..length]);
        self.held.drain(..length);
    }

    /// Decides once there are enough bytes to know what they are, or no more come.
    fn decide(&mut self, is_at_end: bool) {
        let is_known = is_at_end || self.held.len() >= SSH.len() || !SSH.starts_with(&self.held);
        if !is_known {
            return;
        }
        match std::mem::replace(&mut self.state, State::Open) {
            State::Waiting { came, pushed } if self.held.starts_with(SSH) => {
                came.cancel();
                self.state = State::Pushing(pushed);
            }
            State::Waiting { .. } | State::Open => {}
            State::Pushing(pushed) => self.state = State::Pushing(pushed),
        }
    }
}

impl<S: AsyncRead + Unpin> HeldStream<S> {
    /// Reads until it is known what the first bytes are.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while matches!(self.state, State::Waiting { .. }) {
            let mut bytes = [0; 512];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            self.held.extend_from_slice(buffer.filled());
            self.decide(buffer.filled().is_empty());
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what may pass.
    fn poll_passed(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_first(context))?;
        if let State::Pushing(pushed) = &mut self.state {
            let pushed = ready!(Pin::new(pushed).poll(context));
            // The pusher has the reason.
            pushed.map_err(|_| io::Error::other("the key was not pushed"))?;
            self.state = State::Open;
        }
        if self.held.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        self.pass(buffer);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeldStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.poll_passed(context, buffer))?;
        self.watch(|watch| watch.down(&buffer.filled()[before..]));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeldStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.watch(|watch| watch.up(&bytes[..written]));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_banner_is_held_back_until_the_key_is_pushed() {
        let (near, mut far) = duplex(64);
        let (mut stream, banner) = HeldStream::new(near);
        let mut bytes = [0; 6];
        far.write_all(b"SS").await.expect("room");
        assert!(stream.read(&mut bytes).now_or_never().is_none());
        assert!(!banner.came.is_cancelled(), "two bytes may still be something else");
        far.write_all(b"H-2.0-x").await.expect("room");
        assert!(stream.read(&mut bytes).now_or_never().is_none());
        assert!(banner.came.is_cancelled());
        banner.pushed.send(()).expect("the stream waits");
        let mut all = [0; 9];
        stream.read_exact(&mut all).await.expect("the banner");
        assert_eq!(&all, b"SSH-2.0-x");
        far.write_all(b"more").await.expect("room");
        assert_eq!(stream.read(&mut bytes).await.expect("bytes"), 4);
    }

    #[tokio::test]
    async fn what_is_not_ssh_passes_without_a_key() {
        for text in [&b"x"[..], b"220 mail", b"SSX", b"S"] {
            let (near, mut far) = duplex(64);
            let (mut stream, banner) = HeldStream::new(near);
            far.write_all(text).await.expect("room");
            drop(far);
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.expect("bytes");
            assert_eq!(all, text);
            assert!(!banner.came.is_cancelled());
        }
    }

    #[tokio::test]
    async fn a_key_that_is_not_pushed_ends_the_stream() {
        let (near, mut far) = duplex(64);
        let (mut stream, banner) = HeldStream::new(near);
        far.write_all(b"SSH-2.0-x").await.expect("room");
        drop(banner);
        let error = stream.read(&mut [0; 4]).await.expect_err("no key");
        assert_eq!(error.to_string(), "the key was not pushed");
        assert!(stream.write(b"x").await.is_ok(), "the other way is open");
    }
}
