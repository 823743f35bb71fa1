//! One connection of a local client, from its acceptance to its end.

use std::cell::Cell;
use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::session::{FAREWELL, LocalStream, Peer, RelayEnd, RelayPolicy, Way, close, relay};

use super::Traffic;

/// The default of `--linger`: how long a half-closed connection waits for an answer.
const LINGER: Duration = Duration::from_secs(30);
/// The same if the client may have closed, which looks like a half-close.
const UNSEEN_LINGER: Duration = Duration::from_secs(1);

/// How long the remote end may be silent after a local client's end of file.
#[derive(Clone, Copy, Debug)]
pub struct Linger {
    /// If the client is known to wait for an answer.
    pub seen: Duration,
    /// If the system does not tell a client that waits from one that has closed.
    unseen: Duration,
}

impl Linger {
    /// Takes the user's setting for both, or else the defaults.
    pub fn new(setting: Option<Duration>) -> Self {
        Self { seen: setting.unwrap_or(LINGER), unseen: setting.unwrap_or(UNSEEN_LINGER) }
    }

    /// Returns the time for a client of which this was known when it connected.
    fn of(self, client: Peer) -> Duration {
        if is_seen(client) { self.seen } else { self.unseen }
    }
}

/// The connection. Nothing is read of it before there is a stream to the destination.
pub(super) struct ClientConnection<S> {
    socket: S,
    /// The client's address.
    pub(super) from: String,
    answer: Option<ProxyAnswer>,
    /// What the system told of the client at first.
    client: Peer,
}

/// What a client that asked a proxy is answered, since a reset would explain nothing.
#[derive(Clone, Debug)]
pub(super) struct ProxyAnswer {
    /// It is connected.
    pub accepted: Bytes,
    /// The destination refused.
    pub refused: Bytes,
    /// The destination could not be tried.
    pub failed: Bytes,
}

/// Why a connection has no stream to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// The destination refused.
    Refused,
    /// It could not be tried.
    Failed,
}

impl<S: LocalStream> ClientConnection<S> {
    /// Takes a socket whose client has connected from an address.
    pub(super) fn new(socket: S, from: String, answer: Option<ProxyAnswer>) -> Self {
        // Until it ends in order, its client sees a reset, even at the end of the process.
        socket.reset_on_drop(true);
        let client = socket.peer();
        Self { socket, from, answer, client }
    }

    /// Returns how long the remote end may be silent after this client's end of file.
    pub(super) fn linger(&self, linger: Linger) -> Duration {
        linger.of(self.client)
    }

    /// Returns whether the client waits for an answer.
    pub(super) fn is_to_be_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Answers the client, and relays until one side or both have ended. A remote end that does not end itself may be
    /// silent for `linger` after the client's end of file.
    pub(super) async fn carry<R>(
        mut self,
        remote: R,
        linger: Option<Duration>,
        traffic: &Traffic,
    ) -> Option<RelayEnd>
    where
        R: AsyncRead + AsyncWrite + Unpin,
    {
        let _counted = Counted::new(&traffic.connections);
        if let Some(answer) = &self.answer {
            self.socket.write_all(&answer.accepted).await.ok()?;
        }
        let meter = |way, bytes| match way {
            Way::Up => add(&traffic.sent, bytes),
            Way::Down => add(&traffic.received, bytes),
        };
        let policy = RelayPolicy {
            linger,
            delivered: Box::pin(ready(())),
            farewell: FAREWELL,
            watches_peer: is_seen(self.client),
            dismissed: Box::pin(traffic.half_closed.dismissed()),
            needs_reader: false,
            meter: &meter,
        };
        Some(relay(self.socket, remote, policy).await)
    }

    /// Turns the client away: with the proxy's error reply, or by a reset.
    pub(super) async fn reject(mut self, why: Unopened) {
        let Some(answer) = &self.answer else { return };
        let words = match why {
            Unopened::Refused => &answer.refused,
            Unopened::Failed => &answer.failed,
        };
        if self.socket.write_all(words).await.is_ok() {
            close(self.socket).await;
        }
    }
}

/// Returns whether the system tells a client that has closed from one that has ended its output: its socket is on this
/// machine, in the same network namespace.
fn is_seen(client: Peer) -> bool {
    match client {
        Peer::Open | Peer::Closed => true,
        Peer::Missing | Peer::Unknown => false,
    }
}

/// Counts a connection for as long as it lives.
struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn new(connections: &'a Cell<usize>) -> Self {
        connections.set(connections.get() + 1);
        Self(connections)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn add(cell: &Cell<u64>, bytes: usize) {
    cell.set(cell.get().wrapping_add(bytes as u64));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_that_the_system_tells_about_is_waited_for_by_default() {
        let second = Duration::from_secs(1);
        let (default, set) = (Linger::new(None), Linger::new(Some(5 * second)));
        for (client, by_default) in
            [(Peer::Open, 30), (Peer::Closed, 30), (Peer::Missing, 1), (Peer::Unknown, 1)]
        {
            assert_eq!(default.of(client), by_default * second, "{client:?}");
            assert_eq!(set.of(client), 5 * second, "the user's setting is kept: {client:?}");
            assert_eq!(is_seen(client), by_default == 30, "{client:?}");
        }
    }
}
