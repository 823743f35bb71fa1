//! One local connection: a task that moves bytes between a socket and whoever carries them.
//!
//! It reads only as much as it was given credit for, so that what waits for a session is bounded, and tells how much it
//! has written, so that whoever feeds it can stop. When nobody gives it orders any more it hands on what it has got, and
//! resets: the other side has not ended in order.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// A read begins with so much, and grows as long as it is filled: many connections are idle.
const SMALLEST_READ: usize = 2 << 10;
const LARGEST_READ: usize = 32 << 10;
/// How long an application that has been told the end may take to close its side.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);

/// A local socket.
pub trait Socket: AsyncRead + AsyncWrite + Send + Sized + Unpin + 'static {
    /// Says what its peer sees when it is dropped, at the latest at the end of the process: that it has broken, as far as
    /// its kind can say so, or that it has ended in order.
    fn breaks(&self, _breaks: bool) {}

    /// Ends it as broken.
    fn reset(self) {
        self.breaks(true);
    }
}

impl Socket for TcpStream {
    fn breaks(&self, breaks: bool) {
        // A socket that cannot be told is closed in order, which is all that is left to do.
        let _ = match breaks {
            true => self.set_zero_linger(),
            false => SockRef::from(self).set_linger(None),
        };
    }
}

#[cfg(unix)]
impl Socket for UnixStream {}

impl Socket for tokio::io::DuplexStream {}

/// What a connection is told to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Write this.
    Write(Bytes),
    /// Read up to so many bytes more.
    Credit(usize),
    /// Close in order, once everything is written.
    Close,
    /// Break off.
    Reset,
}

/// What a connection tells.
#[derive(Debug)]
pub(super) enum News {
    Read(Bytes),
    /// The application will send nothing more.
    Eof,
    Wrote(usize),
    /// It is over.
    Gone,
}

/// The number of a connection, and what it tells.
pub(super) type NewsOf = (u64, News);

/// Who gives a connection its orders; dropping it breaks the connection off behind what it was given.
pub(super) type Orders = UnboundedSender<Order>;

/// Starts the task of a connection.
pub(super) fn spawn<S: Socket>(socket: S, number: u64, news: UnboundedSender<NewsOf>) -> Orders {
    let (orders, inbox) = unbounded_channel();
    tokio::spawn(async move {
        let tell = |what| drop(news.send((number, what)));
        socket.breaks(true);
        match Connection::new(socket).serve(inbox, &tell).await {
            End::Closed(socket) => socket.breaks(false),
            End::Broken(socket) => socket.reset(),
        }
        tell(News::Gone);
    });
    orders
}

struct Connection<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    buffer: BytesMut,
    read_size: usize,
    credit: usize,
    ended: bool,
    /// The application hears nothing more; what it has said is still read.
    is_deaf: bool,
    to_write: BytesMut,
    /// Nothing more is to be written than this.
    last: Option<Last>,
}

#[derive(Clone, Copy, PartialEq)]
enum Last {
    Close,
    Reset,
}

enum End<S> {
    Closed(S),
    Broken(S),
}

impl<S: Socket> Connection<S> {
    fn new(socket: S) -> Self {
        let (reader, writer) = split(socket);
        Self {
            reader,
            writer,
            buffer: BytesMut::new(),
            read_size: SMALLEST_READ,
            credit: 0,
            ended: false,
            is_deaf: false,
            to_write: BytesMut::new(),
            last: None,
        }
    }

    async fn serve(mut self, mut inbox: UnboundedReceiver<Order>, tell: &impl Fn(News)) -> End<S> {
        let broken = loop {
            if self.to_write.is_empty()
                && let Some(last) = self.last
            {
                break last == Last::Reset;
            }
            if self.is_deaf && self.ended {
                break true;
            }
            let reads = self.credit > 0 && !self.ended && self.last.is_none();
            let limit = self.read_size.min(self.credit);
            self.buffer.reserve(limit);
            tokio::select! {
                order = inbox.recv(), if self.last.is_none() => match order {
                    Some(Order::Write(bytes)) if self.is_deaf => tell(News::Wrote(bytes.len())),
                    Some(Order::Write(bytes)) => self.to_write.extend_from_slice(&bytes),
                    Some(Order::Credit(bytes)) => self.credit += bytes,
                    Some(Order::Close) => self.last = Some(Last::Close),
                    Some(Order::Reset) => break true,
                    None => self.last = Some(Last::Reset),
                },
                read = read(&mut self.reader, &mut self.buffer, limit), if reads => match read {
                    Ok(0) => {
                        self.ended = true;
                        tell(News::Eof);
                    }
                    Ok(length) => tell(News::Read(self.take(length))),
                    Err(_) => break true,
                },
                wrote = self.writer.write(&self.to_write), if !self.to_write.is_empty() => match wrote {
                    Ok(length) => {
                        self.wrote(length);
                        tell(News::Wrote(length));
                    }
                    Err(_) => {
                        self.is_deaf = true;
                        tell(News::Wrote(self.to_write.len()));
                        self.to_write.clear();
                    }
                },
            }
        };
        if !broken {
            self.close().await;
        }
        let socket = self.reader.unsplit(self.writer);
        if broken { End::Broken(socket) } else { End::Closed(socket) }
    }

    /// Says that nothing more comes, and lets the application end: closing a socket with something unread in it would
    /// take back what the application has not read yet.
    async fn close(&mut self) {
        let ended = self.ended;
        let drain = async {
            self.writer.shutdown().await?;
            while !ended && read(&mut self.reader, &mut self.buffer, SMALLEST_READ).await? > 0 {
                self.buffer.clear();
            }
            io::Result::Ok(())
        };
        // An application that is gone already does not mind, one that stays has had its time.
        let _ = timeout(FAREWELL, drain).await;
    }

    fn take(&mut self, length: usize) -> Bytes {
        self.credit -= length;
        let is_full = length == self.read_size;
        self.read_size = match length {
            _ if is_full => (self.read_size * 2).min(LARGEST_READ),
            _ if length < self.read_size / 4 => (self.read_size / 2).max(SMALLEST_READ),
            _ => self.read_size,
        };
        if length >= self.buffer.capacity() / 2 {
            return self.buffer.split().freeze();
        }
        let copy = Bytes::copy_from_slice(&self.buffer);
        self.buffer.clear();
        copy
    }

    fn wrote(&mut self, length: usize) {
        self.to_write.advance(length);
        if self.to_write.is_empty() {
            // What a slow reader made it grow to is given back.
            self.to_write = BytesMut::new();
        }
    }
}

async fn read<R: AsyncRead + Unpin>(
    reader: &mut R,
    buffer: &mut BytesMut,
    limit: usize,
) -> io::Result<usize> {
    let mut limited = bytes::BufMut::limit(buffer, limit);
    reader.read_buf(&mut limited).await
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    async fn told(news: &mut UnboundedReceiver<NewsOf>) -> News {
        news.recv().await.unwrap().1
    }

    #[tokio::test]
    async fn it_reads_what_it_has_credit_for() {
        let (socket, mut application) = duplex(1 << 20);
        let (sender, mut news) = unbounded_channel();
        let orders = spawn(socket, 7, sender);
        application.write_all(&[1; 100_000]).await.unwrap();
        orders.send(Order::Credit(5000)).unwrap();
        let mut heard = 0;
        while heard < 5000 {
            let News::Read(bytes) = told(&mut news).await else { panic!("it reads") };
            heard += bytes.len();
        }
        assert_eq!(heard, 5000);
        tokio::task::yield_now().await;
        assert!(news.try_recv().is_err(), "no more than it may");
        orders.send(Order::Credit(200_000)).unwrap();
        drop(application);
        loop {
            match told(&mut news).await {
                News::Read(bytes) => heard += bytes.len(),
                News::Eof => break,
                other @ (News::Wrote(_) | News::Gone) => panic!("{other:?}"),
            }
        }
        assert_eq!(heard, 100_000);
    }

    #[tokio::test]
    async fn what_an_application_has_said_is_read_though_it_hears_no_more() {
        let (socket, mut application) = duplex(1000);
        let (sender, mut news) = unbounded_channel();
        let orders = spawn(socket, 7, sender);
        application.write_all(&[3; 900]).await.unwrap();
        drop(application);
        orders.send(Order::Write(Bytes::from_static(b"too late"))).unwrap();
        assert!(matches!(told(&mut news).await, News::Wrote(8)));
        orders.send(Order::Write(Bytes::from_static(b"later still"))).unwrap();
        assert!(matches!(told(&mut news).await, News::Wrote(11)));
        orders.send(Order::Credit(2000)).unwrap();
        assert!(matches!(told(&mut news).await, News::Read(bytes) if bytes == [3; 900].as_slice()));
        assert!(matches!(told(&mut news).await, News::Eof));
        assert!(matches!(told(&mut news).await, News::Gone));
    }

    #[tokio::test]
    async fn it_writes_everything_before_it_closes() {
        let (socket, mut application) = duplex(1000);
        let (sender, mut news) = unbounded_channel();
        let orders = spawn(socket, 7, sender);
        orders.send(Order::Write(vec![2; 100_000].into())).unwrap();
        orders.send(Order::Close).unwrap();
        let mut heard = Vec::new();
        application.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, vec![2; 100_000]);
        let mut written = 0;
        while let News::Wrote(length) = told(&mut news).await {
            written += length;
        }
        assert_eq!(written, 100_000);
    }

    #[tokio::test]
    async fn without_orders_it_resets_behind_what_it_was_given() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut application = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let (sender, mut news) = unbounded_channel();
        let orders = spawn(socket, 7, sender);
        orders.send(Order::Write(Bytes::from_static(b"last words"))).unwrap();
        drop(orders);
        let mut heard = [0; 10];
        application.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"last words");
        let end = application.read(&mut heard).await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
        assert!(matches!(told(&mut news).await, News::Wrote(10)));
        assert!(matches!(told(&mut news).await, News::Gone));
    }
}
