//! The connections of a multiplexed session: a task for each, which does one thing when told and tells what happened.
//!
//! Owns the lookup of the session's host, too. Nothing is read or written here that the agent did not ask for, so that
//! a slow link holds the destinations back.

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
    news: UnboundedSender<TaskReport>,
    told: UnboundedReceiver<TaskReport>,
}

/// What happened.
pub(super) enum ConnectionEvent {
    /// Something on a stream's connection.
    Stream(u32, DestinationEvent),
    /// The host's addresses; none if it has none.
    Resolved(Vec<SocketAddr>),
}

struct Connection {
    serial: u64,
    orders: UnboundedSender<TaskRequest>,
}

enum TaskRequest {
    Read(usize),
    Write(Bytes),
}

enum TaskReport {
    /// The serial number tells a connection from one that had its stream's number before.
    Stream {
        stream: u32,
        serial: u64,
        happened: DestinationEvent,
    },
    Resolved(Vec<SocketAddr>),
}

impl Connections {
    pub fn new() -> Self {
        let (news, told) = unbounded_channel();
        Self { open: HashMap::new(), next_serial: 0, resolved: None, news, told }
    }

    /// Begins to look a name up, for this and all later dials.
    pub fn resolve(&mut self, host: String, port: u16) {
        let news = self.news.clone();
        tokio::spawn(async move {
            // Nobody is left to hear it if the session is over.
            let _ = news.send(TaskReport::Resolved(lookup(&host, port).await));
        });
    }

    /// Begins to dial for a stream.
    pub fn dial(&mut self, stream: u32, address: Address, delay: Duration) {
        let address = match (address, &self.resolved) {
            (Address::Named(..), Some(addresses)) => Address::Resolved(addresses.clone()),
            (address, _) => address,
        };
        let mut destination = TcpDestination::default();
        destination.dial(address, delay);
        let (orders, given) = unbounded_channel();
        let serial = self.next_serial;
        self.next_serial += 1;
        self.open.insert(stream, Connection { serial, orders });
        tokio::spawn(serve(destination, given, self.news.clone(), (stream, serial)));
    }

    /// Reads once.
    pub fn read(&self, stream: u32, limit: usize) {
        self.order(stream, TaskRequest::Read(limit));
    }

    /// Writes; one write at a time.
    pub fn write(&self, stream: u32, bytes: Bytes) {
        self.order(stream, TaskRequest::Write(bytes));
    }

    /// Closes a connection, both ways, or gives up its dial.
    pub fn close(&mut self, stream: u32) {
        self.open.remove(&stream);
    }

    /// Closes everything.
    pub fn close_all(&mut self) {
        self.open.clear();
    }

    /// Waits for what happens next. Cancel-safe.
    pub async fn next(&mut self) -> ConnectionEvent {
        loop {
            match self.told.recv().await {
                Some(TaskReport::Stream { stream, serial, happened }) => {
                    if self.open.get(&stream).is_some_and(|connection| connection.serial == serial) {
                        return ConnectionEvent::Stream(stream, happened);
                    }
                }
                Some(TaskReport::Resolved(addresses)) => {
                    self.resolved = Some(addresses.clone());
                    return ConnectionEvent::Resolved(addresses);
                }
                // Not while `self.news` is there.
                None => std::future::pending().await,
            }
        }
    }

    fn order(&self, stream: u32, order: TaskRequest) {
        if let Some(connection) = self.open.get(&stream) {
            // Its task is gone if the connection broke in this moment, and the news of that is on its way.
            let _ = connection.orders.send(order);
        }
    }
}

/// Looks a name up. Names below `.invalid` lead nowhere by definition, and nobody is asked for them.
async fn lookup(host: &str, port: u16) -> Vec<SocketAddr> {
    if host.trim_end_matches('.').ends_with(".invalid") {
        return Vec::new();
    }
    tokio::net::lookup_host((host, port)).await.map(Iterator::collect).unwrap_or_default()
}

/// Serves one connection until nobody gives orders any more.
async fn serve(
    mut destination: TcpDestination,
    mut orders: UnboundedReceiver<TaskRequest>,
    news: UnboundedSender<TaskReport>,
    (stream, serial): (u32, u64),
) {
    let mut limit = None;
    loop {
        let happened = tokio::select! {
            biased;
            order = orders.recv() => {
                match order {
                    Some(TaskRequest::Read(most)) => limit = Some(most),
                    Some(TaskRequest::Write(bytes)) => destination.write(bytes),
                    None => return,
                }
                continue;
            }
            happened = destination.next(limit) => happened,
        };
        let is_over = match &happened {
            DestinationEvent::Data(_) | DestinationEvent::Eof => {
                limit = None;
                false
            }
            DestinationEvent::Failed(_) | DestinationEvent::Reset => true,
            DestinationEvent::Connected | DestinationEvent::Wrote(_) => false,
        };
        if news.send(TaskReport::Stream { stream, serial, happened }).is_err() || is_over {
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
    async fn connections_do_what_they_are_told_and_forget_what_is_closed() {
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
        assert_eq!(rest, b"abc", "it was closed");
        connections.dial(3, address(), Duration::ZERO);
        assert!(
            matches!(connections.next().await, ConnectionEvent::Stream(3, DestinationEvent::Connected)),
            "not the old one's"
        );
    }

    #[tokio::test]
    async fn a_name_is_looked_up_for_all_dials() {
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
