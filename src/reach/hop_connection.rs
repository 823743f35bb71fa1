//! A session with the hops that are logged in to through it.

use std::time::Duration;

use tokio::time::timeout;

use crate::jump::{HopStream, JumpError, SshConnection};

use super::ReachError;
use super::session_task::SessionTask;

/// A hop answers within this time unless it, or the path to it, is dead.
const ANSWER: Duration = Duration::from_secs(5);
/// A stream that is not read for this long holds up the others on the same connection.
const STALL: Duration = Duration::from_secs(1);

/// The hops, nearest first. Dropping it ends the session.
pub struct HopConnection {
    hops: Vec<SshConnection>,
    session: SessionTask,
}

impl HopConnection {
    pub(super) fn new(hops: Vec<SshConnection>, session: SessionTask) -> Self {
        Self { hops, session }
    }

    /// Waits until the last hop has received what was sent before, or is lost.
    pub(super) async fn delivered(&self) {
        self.last().ping().await;
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
