//! Connections that a hop dials for each by itself: both ends are streams, and what one says is passed to the other, each
//! direction to its own end.

use std::cell::Cell;
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink, split};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};

use crate::clock;
use crate::jump::HopStream;

use super::connection::{FAREWELL, Socket};
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
    /// How long the far side may be silent after the application's end of input.
    pub linger: Duration,
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

    /// Passes on what both ends say, until both have ended, or one has and the other is silent for too long.
    async fn copy<S: Socket>(&self, socket: S, stream: HopStream) {
        socket.breaks(true);
        let (mut near_reader, mut near_writer) = split(socket);
        let (mut far_reader, mut far_writer) = split(stream);
        let (moved, is_writing) = (Cell::new(clock::now()), Cell::new(false));
        let count = |counter, bytes| {
            add(counter, bytes);
            moved.set(clock::now());
        };
        let end = {
            let up = pass(&mut near_reader, &mut far_writer, &is_writing, |bytes| {
                count(&self.traffic.sent, bytes)
            });
            let down = pass(&mut far_reader, &mut near_writer, &is_writing, |bytes| {
                count(&self.traffic.received, bytes)
            });
            let (mut up, mut down) = (pin!(up), pin!(down));
            let (mut sent, mut got) = (None, None);
            loop {
                let limit = match (sent, got) {
                    (Some(Passed::ReadFailed), _) | (_, Some(Passed::WriteFailed)) => break End::NearGone,
                    (_, Some(Passed::ReadFailed)) => break End::FarLost,
                    (Some(Passed::WriteFailed), Some(Passed::All)) => break End::Unheard,
                    (Some(Passed::All), Some(Passed::All)) => break End::Both,
                    (Some(_), None) => Some(self.linger),
                    (None, Some(Passed::All)) => Some(FAREWELL),
                    (None, None) => None,
                };
                let silence = async {
                    match limit {
                        Some(limit) => sleep_until((moved.get() + limit).into()).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    passed = &mut up, if sent.is_none() => {
                        sent = Some(passed);
                        moved.set(clock::now());
                    }
                    passed = &mut down, if got.is_none() => {
                        got = Some(passed);
                        moved.set(clock::now());
                    }
                    // Whoever does not take what there is makes the silence.
                    () = silence => if is_writing.get() {
                        moved.set(clock::now());
                    } else if limit.is_some_and(|limit| clock::now() - moved.get() >= limit) {
                        break End::Both;
                    },
                }
            }
        };
        if matches!(end, End::Unheard) {
            // To close before all is read would take back what the application was told.
            let _ = timeout(FAREWELL, copy(&mut near_reader, &mut sink())).await;
        }
        near_reader.unsplit(near_writer).breaks(matches!(end, End::FarLost));
    }
}

/// How the two directions ended.
#[derive(Clone, Copy)]
enum End {
    /// In order, or by silence.
    Both,
    /// The application has broken off.
    NearGone,
    /// The far side has ended in order, without taking all that the application says.
    Unheard,
    /// The way to the far side is gone.
    FarLost,
}

/// How one direction ended.
#[derive(Clone, Copy)]
enum Passed {
    /// At its end, which was passed on too.
    All,
    ReadFailed,
    WriteFailed,
}

async fn pass<R, W>(reader: &mut R, writer: &mut W, is_writing: &Cell<bool>, count: impl Fn(usize)) -> Passed
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = match reader.read(&mut buffer).await {
            Ok(0) => break,
            Ok(length) => length,
            Err(_) => return Passed::ReadFailed,
        };
        is_writing.set(true);
        let written = writer.write_all(&buffer[..length]).await;
        is_writing.set(false);
        if written.is_err() {
            return Passed::WriteFailed;
        }
        count(length);
    }
    if writer.shutdown().await.is_ok() { Passed::All } else { Passed::WriteFailed }
}
