//! The agent's connection to its destination: real TCP.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

type Dial = Pin<Box<dyn Future<Output = Result<TcpStream, String>> + Send>>;

/// A TCP connection that is dialled, open or closed.
#[derive(Default)]
pub struct TcpDestination {
    state: State,
    buffer: Vec<u8>,
}

#[derive(Default)]
enum State {
    #[default]
    Closed,
    Dialing(Dial),
    Open {
        reader: OwnedReadHalf,
        writer: OwnedWriteHalf,
        pending: Bytes,
    },
}

/// An event of the connection.
#[derive(Debug)]
pub enum DestinationEvent {
    /// It is open.
    Connected,
    /// The dial failed, with the agent's error text.
    Failed(String),
    /// Bytes were received.
    Data(Vec<u8>),
    /// The peer has sent EOF.
    Eof,
    /// It failed.
    Reset,
    /// This many bytes of the pending write are written.
    Wrote(usize),
}

/// An address to dial.
#[derive(Clone, Debug)]
pub enum Address {
    /// An address of the simulator's configuration.
    Mapped(SocketAddr),
    /// A host to look up.
    Named(String, u16),
    /// The addresses of a host; they are tried in order.
    Resolved(Vec<SocketAddr>),
}

impl TcpDestination {
    /// Starts a dial after a delay.
    pub fn dial(&mut self, address: Address, delay: Duration) {
        self.state = State::Dialing(Box::pin(async move {
            tokio::time::sleep(delay).await;
            connect(address).await
        }));
    }

    /// Starts a write; one at a time.
    pub fn write(&mut self, bytes: Bytes) {
        if let State::Open { pending, .. } = &mut self.state {
            *pending = bytes;
        }
    }

    /// Closes the connection, both ways.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Waits for the next event; reads at most `limit` bytes, and nothing without a limit. Cancel-safe.
    pub async fn next(&mut self, limit: Option<usize>) -> DestinationEvent {
        match &mut self.state {
            State::Closed => std::future::pending().await,
            State::Dialing(dial) => {
                let dialed = dial.await;
                self.dialed(dialed)
            }
            State::Open { reader, writer, pending } => {
                self.buffer.resize(limit.unwrap_or_default(), 0);
                tokio::select! {
                    read = reader.read(&mut self.buffer), if limit.is_some() => match read {
                        Ok(0) => DestinationEvent::Eof,
                        Ok(count) => DestinationEvent::Data(self.buffer[..count].to_vec()),
                        Err(_) => DestinationEvent::Reset,
                    },
                    wrote = writer.write(pending), if !pending.is_empty() => match wrote {
                        Ok(count) => {
                            pending.advance(count);
                            DestinationEvent::Wrote(count)
                        }
                        Err(_) => DestinationEvent::Reset,
                    },
                    else => std::future::pending().await,
                }
            }
        }
    }

    fn dialed(&mut self, dialed: Result<TcpStream, String>) -> DestinationEvent {
        match dialed {
            Ok(stream) => {
                let (reader, writer) = stream.into_split();
                self.state = State::Open { reader, writer, pending: Bytes::new() };
                DestinationEvent::Connected
            }
            Err(why) => {
                self.state = State::Closed;
                DestinationEvent::Failed(why)
            }
        }
    }
}

async fn connect(address: Address) -> Result<TcpStream, String> {
    let stream = match &address {
        Address::Mapped(address) => connect_to(address).await?,
        Address::Named(host, port) => TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| go_error(&format!("{host}:{port}"), &error))?,
        Address::Resolved(addresses) => connect_to_one(addresses).await?,
    };
    // A failure only delays keystrokes.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn connect_to(address: &SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| go_error(&address.to_string(), &error))
}

/// Tries addresses in order; returns the first error if all fail.
async fn connect_to_one(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut first_error = None;
    for address in addresses {
        match connect_to(address).await {
            Ok(stream) => return Ok(stream),
            Err(why) => first_error = first_error.or(Some(why)),
        }
    }
    Err(first_error.unwrap_or_else(|| "dial tcp: missing address".to_owned()))
}

/// Returns an error's text as the agent's runtime (Go) prints it.
fn go_error(address: &str, error: &io::Error) -> String {
    let known = [
        (io::ErrorKind::ConnectionRefused, "connect: connection refused"),
        (io::ErrorKind::TimedOut, "connect: connection timed out"),
        (io::ErrorKind::HostUnreachable, "connect: no route to host"),
        (io::ErrorKind::NetworkUnreachable, "connect: network is unreachable"),
    ];
    let known = known.into_iter().find(|(kind, _)| *kind == error.kind());
    let text = known.map_or_else(|| error.to_string(), |(_, text)| text.to_owned());
    format!("dial tcp {address}: {text}")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn it_connects_writes_and_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut destination = TcpDestination::default();
        destination.dial(Address::Mapped(listener.local_addr().unwrap()), Duration::ZERO);
        assert!(matches!(destination.next(None).await, DestinationEvent::Connected));
        let (mut peer, _) = listener.accept().await.unwrap();
        destination.write(Bytes::from_static(b"abc"));
        assert!(matches!(destination.next(None).await, DestinationEvent::Wrote(3)));
        peer.write_all(b"xyz").await.unwrap();
        drop(peer);
        assert!(matches!(destination.next(Some(2)).await, DestinationEvent::Data(data) if data == b"xy"));
        assert!(matches!(destination.next(Some(2)).await, DestinationEvent::Data(data) if data == b"z"));
    }

    #[tokio::test]
    async fn a_refused_dial_has_the_error_text_of_the_agent() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut destination = TcpDestination::default();
        destination.dial(Address::Mapped(free), Duration::ZERO);
        let DestinationEvent::Failed(why) = destination.next(None).await else {
            panic!("no process listens")
        };
        assert_eq!(why, format!("dial tcp {free}: connect: connection refused"));
    }
}
