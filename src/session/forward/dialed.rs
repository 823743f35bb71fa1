//! Connections that another program of ours dials for each by itself, such as an ssh hop: both ends are streams, and what
//! one says is copied to the other, each direction to its own end.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;

use crate::jump::HopStream;

use super::connection::Socket;
use super::proxy::{self, Asked};
use super::{Answer, Traffic, add};

/// Bytes that are copied at once.
const CHUNK: usize = 32 << 10;

/// A connection to come.
pub type Dialing = Pin<Box<dyn Future<Output = Result<HopStream, NotDialed>>>>;

/// Why there is none; whoever dials has told the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDialed {
    /// The destination refused.
    Refused,
    /// It could not be tried.
    Failed,
}

/// Who dials, for a connection from the application that is named.
pub type Dial = Rc<dyn Fn(Asked, String) -> Dialing>;

/// Where such a listener's connections go.
#[derive(Clone)]
pub struct Dialer {
    /// Who dials.
    pub dial: Dial,
    /// Where to; wherever each asks for if it is nowhere in particular.
    pub to: Option<Asked>,
    /// What is counted.
    pub traffic: Rc<Traffic>,
}

impl Dialer {
    /// Hears what an application wants, and carries it.
    pub(super) async fn serve_tcp(self, mut socket: TcpStream, from: String) {
        if let Some(to) = self.to.clone() {
            return self.carry(socket, from, to, None).await;
        }
        match proxy::hear(&mut socket).await {
            Ok((asked, answer)) => self.carry(socket, from, asked, Some(answer)).await,
            Err(error) => tracing::info!(from, %error, "not a request for a proxy"),
        }
    }

    /// Carries a connection whose destination is known.
    pub(super) async fn serve<S: Socket>(self, socket: S, from: String) {
        if let Some(to) = self.to.clone() {
            self.carry(socket, from, to, None).await;
        }
    }

    async fn carry<S: Socket>(&self, mut socket: S, from: String, to: Asked, answer: Option<Answer>) {
        let connections = &self.traffic.connections;
        connections.set(connections.get() + 1);
        match ((self.dial)(to, from).await, answer) {
            (Ok(stream), answer) => {
                let told = match answer {
                    Some(answer) => socket.write_all(&answer.accepted).await,
                    None => Ok(()),
                };
                if told.is_ok() {
                    self.copy(socket, stream).await;
                }
            }
            // Whether the application hears it makes no difference to us.
            (Err(NotDialed::Refused), Some(answer)) => drop(socket.write_all(&answer.refused).await),
            (Err(NotDialed::Failed), Some(answer)) => drop(socket.write_all(&answer.failed).await),
            (Err(_), None) => socket.reset(),
        }
        connections.set(connections.get() - 1);
    }

    async fn copy<S: Socket>(&self, socket: S, stream: HopStream) {
        let (mut near_reader, mut near_writer) = split(socket);
        let (mut far_reader, mut far_writer) = split(stream);
        let up = one_way(&mut near_reader, &mut far_writer, |bytes| add(&self.traffic.sent, bytes));
        let down = one_way(&mut far_reader, &mut near_writer, |bytes| add(&self.traffic.received, bytes));
        if tokio::try_join!(up, down).is_err() {
            near_reader.unsplit(near_writer).reset();
        }
    }
}

async fn one_way<R, W>(reader: &mut R, writer: &mut W, count: impl Fn(usize)) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer).await? {
            0 => return writer.shutdown().await,
            length => {
                writer.write_all(&buffer[..length]).await?;
                count(length);
            }
        }
    }
}
