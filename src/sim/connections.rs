//! The connections of a multiplexed session, one task each, and the lookup of its host.
//!
//! A task reads and writes only what the agent requests, so that a slow link applies back-pressure to the destinations.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::sim::tcp_destination::{Address, DestinationEvent, TcpDestination};

/// All connections of a session.
pub(super) struct Connections {
    open: HashMap<u32, Connection>,
    next_serial: u64,
    resolved: Option<Vec<SocketAddr>>,
    sender: UnboundedSender<TaskReport>,
    reports: UnboundedReceiver<TaskReport>,
}

/// An event of a session's connections.
pub(super) enum ConnectionEvent {
    /// An event of a stream's connection.
    Stream(u32, DestinationEvent),
    /// The host's addresses; empty if the host was not found.
    Resolved(Vec<SocketAddr>),
}

struct Connection {
    serial: u64,
    requests: UnboundedSender<TaskRequest>,
}

enum TaskRequest {
    Read(usize),
    Write(Bytes),
}

enum TaskReport {
    /// The serial number distinguishes connections of one stream number.
    Stream {
        stream: u32,
        serial: u64,
        event: DestinationEvent,
    },
    Resolved(Vec<SocketAddr>),
}

impl Connections {
    pub fn new() -> Self {
        let (sender, reports) = unbounded_channel();
        Self { open: HashMap::new(), next_serial: 0, resolved: None, sender, reports }
    }

    /// Starts a lookup of the host; all later dials use its result.
    pub fn resolve(&mut self, host: String, port: u16) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            // The send fails if the session has ended.
            let _ = sender.send(TaskReport::Resolved(lookup(&host, port).await));
        });
    }

    /// Starts a dial for a stream.
    pub fn dial(&mut self, stream: u32, address: Address, delay: Duration) {
        let address = match (address, &self.resolved) {
            (Address::Named(..), Some(addresses)) => Address::Resolved(addresses.clone()),
            (address, _) => address,
        };
        let mut destination = TcpDestination::default();
        destination.dial(address, delay);
        let (requests, receiver) = unbounded_channel();
        let serial = self.next_serial;
        self.next_serial += 1;
        self.open.insert(stream, Connection { serial, requests });
        tokio::spawn(serve(destination, receiver, self.sender.clone(), (stream, serial)));
    }

    /// Reads once.
    pub fn read(&self, stream: u32, limit: usize) {
        self.request(stream, TaskRequest::Read(limit));
    }

    /// Writes; one write at a time.
    pub fn write(&self, stream: u32, bytes: Bytes) {
        self.request(stream, TaskRequest::Write(bytes));
    }

    /// Closes a connection, both ways, or cancels its dial.
    pub fn close(&mut self, stream: u32) {
        self.open.remove(&stream);
    }

    /// Closes all connections.
    pub fn close_all(&mut self) {
        self.open.clear();
    }

    /// Waits for the next event. Cancel-safe.
    pub async fn next(&mut self) -> ConnectionEvent {
        loop {
            match self.reports.recv().await {
                Some(TaskReport::Stream { stream, serial, event }) => {
                    if self.open.get(&stream).is_some_and(|connection| connection.serial == serial) {
                        return ConnectionEvent::Stream(stream, event);
                    }
                }
                Some(TaskReport::Resolved(addresses)) => {
                    self.resolved = Some(addresses.clone());
                    return ConnectionEvent::Resolved(addresses);
                }
                // Not reached: `self.sender` keeps the channel open.
                None => std::future::pending().await,
            }
        }
    }

    fn request(&self, stream: u32, request: TaskRequest) {
        if let Some(connection) = self.open.get(&stream) {
            // The send fails if the connection has just failed, which its task has reported.
            let _ = connection.requests.send(request);
        }
    }
}

/// Looks a host up. Names below `.invalid` do not exist by definition (RFC 6761) and are not looked up.
async fn lookup(host: &str, port: u16) -> Vec<SocketAddr> {
    if host.trim_end_matches('.').ends_with(".invalid") {
        return Vec::new();
    }
    tokio::net::lookup_host((host, port)).await.map(Iterator::collect).unwrap_or_default()
}

/// Serves one connection until its request channel is closed.
async fn serve(
    mut destination: TcpDestination,
    mut requests: UnboundedReceiver<TaskRequest>,
    reports: UnboundedSender<TaskReport>,
    (stream, serial): (u32, u64),
) {
    let mut limit = None;
    loop {
        let event = tokio::select! {
            biased;
            request = requests.recv() => {
                match request {
                    Some(TaskRequest::Read(most)) => limit = Some(most),
                    Some(TaskRequest::Write(bytes)) => destination.write(bytes),
                    None => return,
                }
                continue;
            }
            event = destination.next(limit) => event,
        };
        let is_over = match &event {
            DestinationEvent::Data(_) | DestinationEvent::Eof => {
                limit = None;
                false
            }
            DestinationEvent::Failed(_) | DestinationEvent::Reset => true,
            DestinationEvent::Connected | DestinationEvent::Wrote(_) => false,
        };
        if reports.send(TaskReport::Stream { stream, serial, event }).is_err() || is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_closed_connection_reports_no_events() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = || Address::Mapped(listener.local_addr().unwrap());
        let mut connections = Connections::new();
        connections.dial(3, address(), Duration::ZERO);
        let (mut peer, _) = listener.accept().await.unwrap();
        assert!(matches!(connections.next().await, ConnectionEvent::Stream(3, DestinationEvent::Connected)));
        connections.write(3, Bytes::from_static(b"abc"));
        assert!(matches!(connections.next().await, ConnectionEvent::Stream(3, DestinationEvent::Wrote(3))));
        peer.write_all(b"xyz").await.unwrap();
        connections.read(3, 2);
        assert!(
            matches!(connections.next().await, ConnectionEvent::Stream(3, DestinationEvent::Data(data)) if data == b"xy")
        );
        connections.read(3, 2);
        connections.close(3);
        let mut rest = Vec::new();
        let _ = peer.read_to_end(&mut rest).await;
        assert_eq!(rest, b"abc", "the connection was closed");
        connections.dial(3, address(), Duration::ZERO);
        assert!(
            matches!(connections.next().await, ConnectionEvent::Stream(3, DestinationEvent::Connected)),
            "no event of the closed connection"
        );
    }

    #[tokio::test]
    async fn one_lookup_serves_all_dials() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut connections = Connections::new();
        connections.resolve("127.0.0.1".to_owned(), port);
        assert!(
            matches!(connections.next().await, ConnectionEvent::Resolved(addresses) if addresses.len() == 1)
        );
        connections.dial(3, Address::Named("not.looked.up.invalid".to_owned(), port), Duration::ZERO);
        assert!(matches!(connections.next().await, ConnectionEvent::Stream(3, DestinationEvent::Connected)));
        connections.resolve("db.invalid".to_owned(), port);
        assert!(
            matches!(connections.next().await, ConnectionEvent::Resolved(addresses) if addresses.is_empty())
        );
    }
}
