//! The link to the service: an open websocket, or the work to get the next one.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::aws::{Access, Aws, Stream};
use crate::transport::{Dialer, Lost, Websocket, WebsocketEvent};

use super::resume::AttemptError;
use crate::clock::wall;

/// Either side of an outage.
pub(super) enum Link {
    Up(Websocket),
    Opening(Attempt),
}

/// Work that ends with an open websocket and the token for it.
pub(super) type Attempt = Pin<Box<dyn Future<Output = Result<Opened, AttemptError>>>>;

/// A websocket that nothing has been sent on yet.
pub(super) struct Opened {
    pub websocket: Websocket,
    pub stream: Stream,
    /// What it was opened with.
    pub access: Rc<Access>,
}

/// What the link yields.
pub(super) enum LinkEvent {
    Incoming(WebsocketEvent),
    Opened(Opened),
    Failed(AttemptError),
}

impl Link {
    /// Waits for what the link yields; reads only if `read`. Dropping the future loses nothing.
    pub(super) async fn next(&mut self, read: bool) -> LinkEvent {
        match self {
            Self::Up(websocket) => match websocket.next(read).await {
                Ok(incoming) => LinkEvent::Incoming(incoming),
                Err(Lost(cause)) => LinkEvent::Failed(AttemptError::Lost(cause)),
            },
            Self::Opening(attempt) => match attempt.await {
                Ok(opened) => LinkEvent::Opened(opened),
                Err(error) => LinkEvent::Failed(error),
            },
        }
    }

    /// The open websocket.
    pub(super) fn websocket(&mut self) -> Option<&mut Websocket> {
        match self {
            Self::Up(websocket) => Some(websocket),
            Self::Opening(_) => None,
        }
    }
}

/// Opens the stream of a session that has just been started.
pub(super) async fn open(access: Rc<Access>, dialer: Dialer, stream: Stream) -> Result<Opened, AttemptError> {
    let url = access.stream_hosts().check(&stream.url)?;
    let websocket = dialer.dial(&url, access.signer(), wall()).await?;
    Ok(Opened { websocket, stream, access })
}

/// After `delay`, asks for a new stream on fresh credentials and opens it.
pub(super) async fn reopen(
    aws: &Aws,
    dialer: Dialer,
    session_id: &str,
    known_url: String,
    delay: Duration,
) -> Result<Opened, AttemptError> {
    tokio::time::sleep(delay).await;
    let access = aws.access().await?;
    let stream = access.resume_session(session_id, &known_url).await?.ok_or(AttemptError::Gone)?;
    open(Rc::new(access), dialer, stream).await
}
