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
/// The caller is asked to wait once so many bytes have not left.
const QUEUE_LIMIT: usize = 256 << 10;
/// Answers are gathered up to this many bytes before they are flushed in spite of more to read.
const BATCH: usize = 64 << 10;
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
    stream: Box<WebSocketStream<Box<dyn Io>>>,
    /// Bytes that were queued since everything had last left.
    unflushed: usize,
}

impl Websocket {
    pub(super) async fn upgrade(
        request: http::Request<()>,
        stream: Box<dyn Io>,
    ) -> Result<Self, tungstenite::Error> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_LIMIT))
            .max_frame_size(Some(MESSAGE_LIMIT));
        let (stream, _) = client_async_with_config(request, stream, Some(config)).await?;
        Ok(Self { stream: Box::new(stream), unflushed: 0 })
    }

    /// The client's end of a websocket whose upgrade is done.
    #[cfg(test)]
    pub(crate) async fn in_memory(stream: tokio::io::DuplexStream) -> Self {
        let stream: Box<dyn Io> = Box::new(stream);
        let stream =
            WebSocketStream::from_raw_socket(stream, tungstenite::protocol::Role::Client, None).await;
        Self { stream: Box::new(stream), unflushed: 0 }
    }

    /// Tells whether more may be queued; after a false, [`Incoming::Flushed`] comes when it may again.
    pub fn has_room(&self) -> bool {
        self.unflushed < QUEUE_LIMIT
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
        self.unflushed += message.len().max(1);
        Pin::new(&mut self.stream).start_send(message).map_err(|error| lost(&error))
    }

    /// Reads before it flushes, so that the answers to a burst leave together; but not for ever.
    fn poll_next(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Result<Incoming, Lost>> {
        if read
            && self.unflushed < BATCH
            && let Poll::Ready(incoming) = self.poll_read(cx)
        {
            return Poll::Ready(incoming);
        }
        if self.unflushed > 0 && self.poll_flush(cx)?.is_ready() {
            let had_room = self.has_room();
            self.unflushed = 0;
            if !had_room {
                return Poll::Ready(Ok(Incoming::Flushed));
            }
        }
        if read { self.poll_read(cx) } else { Poll::Pending }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(|error| lost(&error))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Lost>> {
        loop {
            let message = match std::task::ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(Err(lost(&error))),
                None => return Poll::Ready(Err(Lost("the connection ended".to_owned()))),
            };
            return Poll::Ready(match message {
                Message::Binary(bytes) => Ok(Incoming::Message(bytes)),
                Message::Text(text) => Ok(Incoming::Message(text.into())),
                Message::Pong(_) => Ok(Incoming::Pong),
                Message::Ping(_) => {
                    self.unflushed += 1;
                    Ok(Incoming::Ping)
                }
                Message::Close(frame) => {
                    let reason =
                        frame.map_or(String::new(), |frame| format!(" ({}: {})", frame.code, frame.reason));
                    Err(Lost(format!("the service closed the connection{reason}")))
                }
                Message::Frame(_) => continue,
            });
        }
    }
}

fn lost(error: &tungstenite::Error) -> Lost {
    Lost(error.to_string())
}
