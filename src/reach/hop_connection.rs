//! A session with the hops that are logged in to through it, and a connection to the goal of a route.

use std::time::Duration;

use tokio::time::timeout;

use crate::jump::{HopStream, JumpError, SshConnection};
use crate::route::Machine;

use super::session_task::SessionTask;
use super::{ByteStream, ReachError};

/// A hop answers within this time unless it, or the path to it, is dead.
const ANSWER: Duration = Duration::from_secs(5);
/// A stream that is not read for this long holds up the others on the same connection.
const STALL: Duration = Duration::from_secs(1);

/// The hops, nearest first. Dropping it ends the session.
pub struct HopConnection {
    hops: Vec<SshConnection>,
    session: SessionTask,
}

/// A stream to the goal of a route, and what it goes through.
pub struct Connection {
    /// The stream.
    pub stream: Box<dyn ByteStream>,
    path: Path,
}

enum Path {
    Session(SessionTask),
    Hops(HopConnection),
}

impl Connection {
    pub(super) fn of_session(stream: impl ByteStream + 'static, session: SessionTask) -> Self {
        Self { stream: Box::new(stream), path: Path::Session(session) }
    }

    /// Separates the stream from its path, which must outlive it.
    pub fn into_parts(self) -> (Box<dyn ByteStream>, ConnectionPath) {
        (self.stream, ConnectionPath(self.path))
    }
}

/// What the stream of a [`Connection`] goes through.
pub struct ConnectionPath(Path);

impl ConnectionPath {
    /// Returns how long the far side may be silent after the end of input. A session's stream ends itself after that time.
    pub fn linger(&self, setting: Option<Duration>) -> Option<Duration> {
        match self.0 {
            Path::Session(_) => None,
            Path::Hops(_) => Some(setting.unwrap_or(super::LINGER)),
        }
    }

    /// Waits until the last hop has received what was written to the stream, or is lost.
    pub async fn delivered(&self) {
        match &self.0 {
            // The session's stream waits for acknowledgements itself.
            Path::Session(_) => {}
            Path::Hops(hops) => hops.last().ping().await,
        }
    }

    /// Ends the session; returns why the path failed, if it failed.
    ///
    /// # Errors
    /// [`ReachError`]
    pub async fn close(self, in_order: bool) -> Result<(), ReachError> {
        match self.0 {
            Path::Session(session) => session.close().await,
            Path::Hops(hops) => {
                let lost = hops.lost();
                hops.close(in_order).await?;
                lost.map_or(Ok(()), |lost| Err(lost.into()))
            }
        }
    }
}

impl HopConnection {
    pub(super) fn new(hops: Vec<SshConnection>, session: SessionTask) -> Self {
        Self { hops, session }
    }

    /// Connects from the last hop to the goal, and keeps both together.
    pub(super) async fn connect(self, goal: &Machine) -> Result<Connection, ReachError> {
        match self.open(goal.address_or_word(), goal.port).await {
            Ok(stream) => Ok(Connection { stream: Box::new(stream), path: Path::Hops(self) }),
            Err(error) => Err(self.close(true).await.err().unwrap_or(error.into())),
        }
    }

    /// Opens a stream from the last hop.
    ///
    /// # Errors
    /// The hop refuses, or is lost.
    pub async fn open(&self, host: &str, port: u16) -> Result<HopStream, JumpError> {
        let opened = self.last().open(host, port).await;
        opened.map_err(|error| self.lost().unwrap_or(error))
    }

    /// Gives up the last hop if it does not answer although the first one does: then the connection between them is dead,
    /// and not the session.
    pub async fn check(&self) {
        let Some(first) = self.hops.first().filter(|_| !self.is_stalled()) else { return };
        let last = self.last();
        if timeout(ANSWER, first.ping()).await.is_ok() && timeout(ANSWER, last.ping()).await.is_err() {
            last.abort();
        }
    }

    /// Returns true if a stream that is not read holds up all others.
    pub fn is_stalled(&self) -> bool {
        self.hops.iter().filter_map(SshConnection::stalled_for).any(|time| time >= STALL)
    }

    /// Returns the error of the first hop that is lost; the hops behind it are lost with it.
    pub fn lost(&self) -> Option<JumpError> {
        self.hops.iter().find_map(SshConnection::lost)
    }

    /// Returns true if nothing can be opened any more.
    pub fn is_lost(&self) -> bool {
        self.session.is_finished() || self.lost().is_some()
    }

    /// Disconnects and ends the session; returns why the session failed, if it failed by itself.
    ///
    /// # Errors
    /// [`ReachError::Session`]
    pub async fn close(mut self, in_order: bool) -> Result<(), ReachError> {
        if in_order
            && !self.is_lost()
            && let Some(hop) = self.hops.pop()
        {
            hop.disconnect().await;
        }
        self.session.close().await
    }

    fn last(&self) -> &SshConnection {
        self.hops.last().expect("there is at least one hop")
    }
}
