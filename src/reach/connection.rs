//! A stream to the goal of a route with what it goes through, and its relay to standard input and output.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::jump::SshConnection;
use crate::keys::{KeyError, KeyPush, PushingKey};
use crate::route::Machine;
use crate::session::{RelayEnd, RelayPolicy, Stdio, Stream, Way, relay};

use super::hop_connection::HopConnection;
use super::login_keys::GoalKey;
use super::session_task::SessionTask;
use super::{ByteStream, ReachError};

/// The connection. Dropping it ends the session.
pub struct Connection {
    stream: Box<dyn ByteStream>,
    path: Path,
    /// The key that is pushed for the login.
    key: Option<PushingKey>,
}

/// What the stream goes through.
enum Path {
    /// A session whose stream it is. The stream waits for acknowledgements and lingers itself.
    Session(SessionTask),
    /// Hops; the far side may be silent for this long after the end of input.
    Hops(HopConnection, Duration),
}

/// How a relay ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// Both sides have ended.
    Finished {
        /// The bytes that were received.
        received: usize,
    },
    /// Standard output has no reader any more.
    ReaderGone,
}

/// What is at the port says this first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Bytes.
    Bytes {
        /// The first ones.
        first: Vec<u8>,
        /// The time until they came.
        after: Duration,
    },
    /// Nothing.
    Silence,
}

impl Connection {
    pub(super) fn of_session(stream: Stream, session: SessionTask) -> Self {
        Self { stream: Box::new(stream), path: Path::Session(session), key: None }
    }

    /// Connects from the last hop to the goal.
    pub(super) async fn through_hops(
        hops: HopConnection,
        goal: &Machine,
        linger: Duration,
    ) -> Result<Self, ReachError> {
        match hops.open(goal.address_or_word(), goal.port).await {
            Ok(stream) => Ok(Self { stream: Box::new(stream), path: Path::Hops(hops, linger), key: None }),
            Err(error) => Err(hops.close(true).await.err().unwrap_or(error.into())),
        }
    }

    /// Waits for the first bytes of what is at the port, and ends the session.
    ///
    /// # Errors
    /// What the stream goes through.
    pub async fn greeting(self, limit: Duration) -> Result<Greeting, ReachError> {
        let Self { mut stream, path, key: _ } = self;
        let began = clock::now();
        let mut first = Vec::new();
        let read = timeout(limit, stream.read_buf(&mut first)).await;
        let after = clock::now().saturating_duration_since(began);
        let closed = path.close(true).await;
        if matches!(read, Ok(Ok(1..))) {
            return Ok(Greeting::Bytes { first, after });
        }
        closed.map(|()| Greeting::Silence)
    }

    /// Logs in to the sshd at the port, disconnects, and ends the session.
    ///
    /// # Errors
    /// The login, or what the stream goes through.
    pub(super) async fn log_in(
        self,
        log_in: impl AsyncFnOnce(Box<dyn ByteStream>) -> Result<SshConnection, ReachError>,
    ) -> Result<(), ReachError> {
        let Self { stream, path, key: _ } = self;
        match log_in(stream).await {
            Ok(login) => {
                login.disconnect().await;
                path.close(true).await
            }
            // A stream that breaks off has a cause below it.
            Err(error @ ReachError::Hop(_)) => Err(path.close(true).await.err().unwrap_or(error)),
            Err(error) => {
                let _ = path.close(true).await;
                Err(error)
            }
        }
    }

    /// Pushes a key to the goal when its banner comes.
    #[must_use]
    pub(super) fn with_key(self, key: GoalKey, push: impl FnOnce(String) -> KeyPush) -> Self {
        let (stream, key) = key.guard(push, self.stream);
        Self { stream, key: Some(key), ..self }
    }

    /// Relays standard input and output until both sides have ended, and then ends the session. `closing` is cancelled
    /// as soon as the result is decided: what is left takes two seconds at most.
    ///
    /// # Errors
    /// Standard input or output failed, what the stream goes through, or the push of the key.
    pub async fn relay_stdio(self, closing: &CancellationToken) -> Result<Relayed, ReachError> {
        let Self { stream, path, key } = self;
        let relayed = path.relay(stream).await;
        closing.cancel();
        let is_finished = matches!(relayed, Ok(Relayed::Finished { .. }));
        let (closed, pushed) = tokio::join!(path.close(is_finished), close_key(key));
        if is_finished {
            pushed?;
            closed?;
        }
        relayed
    }
}

/// Takes the key away; returns why it could not be pushed, if so.
async fn close_key(key: Option<PushingKey>) -> Result<(), KeyError> {
    match key {
        Some(key) => key.close().await,
        None => Ok(()),
    }
}

impl Path {
    async fn relay(&self, stream: Box<dyn ByteStream>) -> Result<Relayed, ReachError> {
        let stdio = Stdio::open().map_err(|error| failed("standard input or output", error))?;
        let received = Cell::new(0_usize);
        let policy = RelayPolicy {
            linger: self.linger(),
            delivered: Box::pin(self.delivered()),
            farewell: Duration::ZERO,
            watches_peer: false,
            dismissed: Box::pin(std::future::pending()),
            needs_reader: true,
            meter: &|way, bytes| {
                if way == Way::Down {
                    received.set(received.get().saturating_add(bytes));
                }
            },
        };
        match relay(stdio, stream, policy).await {
            // Why the stream failed is known when its path is closed.
            RelayEnd::Finished | RelayEnd::Remote(_) => Ok(Relayed::Finished { received: received.get() }),
            RelayEnd::LocalRead(error) => Err(failed("standard input", error)),
            RelayEnd::LocalWrite(error) if is_reader_gone(&error) => Ok(Relayed::ReaderGone),
            RelayEnd::LocalWrite(error) => Err(failed("standard output", error)),
        }
    }

    fn linger(&self) -> Option<Duration> {
        match self {
            Self::Session(_) => None,
            Self::Hops(_, linger) => Some(*linger),
        }
    }

    /// Waits until the last hop has received what was written to the stream, or is lost.
    async fn delivered(&self) {
        match self {
            Self::Session(_) => {}
            Self::Hops(hops, _) => hops.delivered().await,
        }
    }

    /// Ends the session; returns why the path failed, if it failed.
    async fn close(self, in_order: bool) -> Result<(), ReachError> {
        match self {
            Self::Session(session) => session.close().await,
            Self::Hops(hops, _) => {
                let lost = hops.lost();
                hops.close(in_order).await?;
                lost.map_or(Ok(()), |lost| Err(lost.into()))
            }
        }
    }
}

fn failed(what: &'static str, error: io::Error) -> ReachError {
    ReachError::Stdio { what, error }
}

fn is_reader_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}
