//! An open websocket: whole messages in and out, flushed in batches, cancel-safe.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// A message larger than this is hostile: the agent's have 1,024 bytes of payload.
const MESSAGE_LIMIT: usize = 1 << 20;
const KEEPALIVE: &[u8] = b"keepalive";

/// A byte stream that a websocket can stand on.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The connection is gone, in words for a log.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Lost(pub String);

/// What a websocket yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message, text or binary.
    Message(Bytes),
    /// The answer to a ping of ours.
    Pong,
    /// A ping of the service's, answered already.
    Ping,
    /// Everything that was sent has left: there is room again.
    Flushed,
}

/// The client's end of an open websocket.
pub struct Websocket {
    stream: WebSocketStream<Box<dyn Io>>,
    unflushed: bool,
    blocked: bool,
}

impl Websocket {
    pub(super) async fn upgrade(request: http::Request<()>, stream: Box<dyn Io>) -> Result<Self, tungstenite::Error> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_LIMIT))
            .max_frame_size(Some(MESSAGE_LIMIT));
        let (stream, _) = client_async_with_config(request, stream, Some(config)).await?;
        Ok(Self { stream, unflushed: false, blocked: false })
    }

    /// Tells whether the socket takes more: false while it has not taken what was sent before.
    pub fn has_room(&self) -> bool {
        !self.blocked
    }

    /// Queues a text message; [`Self::next`] moves it.
    ///
    /// # Errors
    /// [`Lost`] when the connection is gone.
    pub fn send_text(&mut self, text: String) -> Result<(), Lost> {
        self.send(Message::Text(text.into()))
    }

    /// Queues a binary message; [`Self::next`] moves it.
    ///
    /// # Errors
    /// [`Lost`] when the connection is gone.
    pub fn send_binary(&mut self, bytes: Bytes) -> Result<(), Lost> {
        self.send(Message::Binary(bytes))
    }

    /// Queues a ping.
    ///
    /// # Errors
    /// [`Lost`] when the connection is gone.
    pub fn ping(&mut self) -> Result<(), Lost> {
        self.send(Message::Ping(Bytes::from_static(KEEPALIVE)))
    }

    /// Flushes, and waits for what comes in if `read`; dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Lost`] when the connection is gone, the service's close included.
    pub async fn next(&mut self, read: bool) -> Result<Incoming, Lost> {
        poll_fn(|cx| self.poll_next(cx, read)).await
    }

    fn send(&mut self, message: Message) -> Result<(), Lost> {
        self.unflushed = true;
        Pin::new(&mut self.stream).start_send(message).map_err(|error| lost(&error))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Result<Incoming, Lost>> {
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.unflushed = false;
                    if std::mem::take(&mut self.blocked) {
                        return Poll::Ready(Ok(Incoming::Flushed));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(&error))),
                Poll::Pending => self.blocked = true,
            }
        }
        if !read {
            return Poll::Pending;
        }
        loop {
            let message = match std::task::ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(Err(lost(&error))),
                None => return Poll::Ready(Err(Lost("the connection ended".to_owned()))),
            };
            let incoming = match message {
                Message::Binary(bytes) => Incoming::Message(bytes),
                Message::Text(text) => Incoming::Message(text.into()),
                Message::Pong(_) => Incoming::Pong,
                Message::Ping(_) => {
                    self.unflushed = true;
                    Incoming::Ping
                }
                Message::Close(frame) => {
                    let reason = frame.map_or(String::new(), |frame| format!(" ({}: {})", frame.code, frame.reason));
                    return Poll::Ready(Err(Lost(format!("the service closed the connection{reason}"))));
                }
                Message::Frame(_) => continue,
            };
            return Poll::Ready(Ok(incoming));
        }
    }
}

fn lost(error: &tungstenite::Error) -> Lost {
    Lost(error.to_string())
}
