//! An open websocket: sends and receives whole messages, flushes in batches, cancel-safe.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use thiserror::Error;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::io::Io;
use super::rationed::Rationed;

/// The largest message that is accepted; the agent's have 1,024 bytes of payload.
const MESSAGE_LIMIT: usize = 1 << 20;
/// With this many unsent bytes, [`Websocket::has_room`] returns false.
const QUEUE_LIMIT: usize = 256 << 10;
/// While more messages can be read, sending is delayed until this many bytes are queued.
const BATCH: usize = 64 << 10;
/// The same, in messages that are read meanwhile: a peer that sends without a pause must not hold back what we send.
const READS: usize = 256;
/// With this many unsent bytes nothing is read: the service sends what has to be answered, and does not read the answers.
const OWED_LIMIT: usize = 1 << 20;
const KEEPALIVE: &[u8] = b"keepalive";

/// The connection is closed; the text is for the log.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Lost(pub String);

/// What [`Websocket::next`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebsocketEvent {
    /// A message, text or binary.
    Message(Bytes),
    /// The response to our ping.
    Pong,
    /// A ping of the service; the response is queued.
    Ping,
    /// All queued messages are sent: there is room again.
    Flushed,
}

/// The client's end of an open websocket.
pub struct Websocket {
    stream: Box<WebSocketStream<Rationed<Box<dyn Io>>>>,
    /// Bytes that were queued since the last complete flush.
    unflushed: usize,
    /// Messages that were read while there were some.
    delayed_by: usize,
}

impl Websocket {
    /// The client's end of a websocket whose upgrade is done.
    #[cfg(test)]
    pub(crate) async fn in_memory(stream: impl Io + 'static) -> Self {
        let stream = Rationed::new(Box::new(stream) as Box<dyn Io>);
        let stream =
            WebSocketStream::from_raw_socket(stream, tungstenite::protocol::Role::Client, None).await;
        Self { stream: Box::new(stream), unflushed: 0, delayed_by: 0 }
    }

    pub(super) async fn upgrade(
        request: http::Request<()>,
        stream: Box<dyn Io>,
    ) -> Result<Self, tungstenite::Error> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_LIMIT))
            .max_frame_size(Some(MESSAGE_LIMIT));
        let stream = Rationed::new(stream);
        let (stream, _) = client_async_with_config(request, stream, Some(config)).await?;
        Ok(Self { stream: Box::new(stream), unflushed: 0, delayed_by: 0 })
    }

    /// Returns true if more may be queued. After false, [`WebsocketEvent::Flushed`] reports that there is room again.
    pub fn has_room(&self) -> bool {
        self.unflushed < QUEUE_LIMIT
    }

    /// Queues a text message; [`Self::next`] sends it.
    ///
    /// # Errors
    /// [`Lost`] if the connection is closed.
    pub fn send_text(&mut self, text: String) -> Result<(), Lost> {
        self.send(Message::Text(text.into()))
    }

    /// Queues a binary message; [`Self::next`] sends it.
    ///
    /// # Errors
    /// [`Lost`] if the connection is closed.
    pub fn send_binary(&mut self, bytes: Bytes) -> Result<(), Lost> {
        self.send(Message::Binary(bytes))
    }

    /// Queues a ping.
    ///
    /// # Errors
    /// [`Lost`] if the connection is closed.
    pub fn ping(&mut self) -> Result<(), Lost> {
        self.send(Message::Ping(Bytes::from_static(KEEPALIVE)))
    }

    /// Sends queued messages and, if `read`, waits for the next event. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Lost`] if the connection is closed, also by the service's close frame.
    pub async fn next(&mut self, read: bool) -> Result<WebsocketEvent, Lost> {
        poll_fn(|cx| self.poll_next(cx, read)).await
    }

    fn send(&mut self, message: Message) -> Result<(), Lost> {
        self.unflushed += message.len().max(1);
        Pin::new(&mut self.stream).start_send(message).map_err(|error| lost(&error))
    }

    /// Reads before it flushes, so that the acknowledgements of a burst are sent together, up to [`BATCH`].
    fn poll_next(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Result<WebsocketEvent, Lost>> {
        let may_wait = self.unflushed < BATCH && self.delayed_by < READS;
        if read
            && may_wait
            && let Poll::Ready(incoming) = self.poll_read(cx)
        {
            self.delayed_by += usize::from(self.unflushed > 0);
            return Poll::Ready(incoming);
        }
        if self.unflushed > 0 && self.poll_flush(cx)?.is_ready() {
            let had_room = self.has_room();
            (self.unflushed, self.delayed_by) = (0, 0);
            if !had_room {
                return Poll::Ready(Ok(WebsocketEvent::Flushed));
            }
        }
        if read && self.unflushed < OWED_LIMIT { self.poll_read(cx) } else { Poll::Pending }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(|error| lost(&error))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<WebsocketEvent, Lost>> {
        loop {
            let message = match std::task::ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(Err(lost(&error))),
                None => return Poll::Ready(Err(Lost("the connection ended".to_owned()))),
            };
            return Poll::Ready(match message {
                Message::Binary(bytes) => Ok(WebsocketEvent::Message(bytes)),
                Message::Text(text) => Ok(WebsocketEvent::Message(text.into())),
                Message::Pong(_) => Ok(WebsocketEvent::Pong),
                Message::Ping(payload) => {
                    self.unflushed += payload.len().max(1);
                    Ok(WebsocketEvent::Ping)
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

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt, poll};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, duplex};
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    /// A service that is faster than its client: as many fragments of a message as are read, without an end.
    struct Fragments {
        reads: usize,
    }

    impl AsyncRead for Fragments {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            to: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            const FIRST: [u8; 2] = [2, 0];
            self.reads += 1;
            assert!(self.reads < 1000, "it is read without a pause");
            let next = &[0; 64][..to.remaining().min(64) & !1];
            to.put_slice(if self.reads == 1 { &FIRST } else { next });
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Fragments {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_message_without_an_end_leaves_turns_to_other_tasks() {
        let mut client = Websocket::in_memory(Fragments { reads: 0 }).await;
        for _ in 0..10 {
            assert!(poll!(Box::pin(client.next(true))).is_pending());
        }
    }

    #[tokio::test]
    async fn a_flood_of_messages_does_not_hold_back_what_is_sent() {
        let (near, far) = duplex(64 << 10);
        let mut client = Websocket::in_memory(near).await;
        let (mut sink, mut stream) = WebSocketStream::from_raw_socket(far, Role::Server, None).await.split();
        // It fills what is between them whenever it is polled, so that there is always another message to read.
        let mut flood = Box::pin(async {
            loop {
                sink.feed(Message::Binary(Bytes::from_static(b"x"))).await.expect("the client is there");
            }
        });
        client.send_binary(Bytes::from_static(b"answer")).expect("it is open");
        for _ in 0..10 * READS {
            let _: Poll<()> = poll!(&mut flood);
            assert!(poll!(Box::pin(client.next(true))).is_ready());
            if let Poll::Ready(message) = poll!(stream.next()) {
                return assert_eq!(message.expect("a message").expect("it is whole").into_data(), "answer");
            }
        }
        panic!("it is not sent");
    }

    #[tokio::test]
    async fn a_flood_of_pings_whose_answers_are_not_read_stops_the_reading() {
        let (near, far) = duplex(64 << 10);
        let (mut client, mut service) = (
            Websocket::in_memory(near).await,
            WebSocketStream::from_raw_socket(far, Role::Server, None).await,
        );
        let mut flood = Box::pin(async {
            for _ in 0..100_000 {
                service
                    .feed(Message::Ping(Bytes::from_static(&[7; 125])))
                    .await
                    .expect("the client is there");
            }
        });
        let mut quiet = 0;
        while quiet < 10 {
            let floods = poll!(&mut flood).is_pending();
            let read = poll!(Box::pin(client.next(true)));
            quiet = if floods && read.is_pending() { quiet + 1 } else { 0 };
            assert!(floods, "the client reads without limit");
        }
        assert!(client.unflushed <= OWED_LIMIT + 125, "{}", client.unflushed);
    }
}
