//! The server's end of a connection, TCP or TLS, with faults below HTTP and websocket.
//!
//! It can break after a number of bytes, in the middle of a frame if need be, and hide the client's pings.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

const PING: u8 = 0x9;

/// A connection with faults.
#[derive(Debug)]
pub struct FaultStream {
    io: Io,
    /// Bytes until the stream breaks, or until `passed` is notified.
    bytes_left: Option<u64>,
    passed: Option<Arc<Notify>>,
    pings: Option<PingFilter>,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl FaultStream {
    /// Wraps a plain connection.
    pub fn plain(stream: TcpStream) -> Self {
        Self { io: Io::Plain(stream), bytes_left: None, passed: None, pings: None }
    }

    /// Wraps a TLS connection.
    pub fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { io: Io::Tls(Box::new(stream)), bytes_left: None, passed: None, pings: None }
    }

    /// Breaks the stream after so many more bytes, both directions together.
    pub fn break_after(&mut self, bytes: u64) {
        self.bytes_left = Some(bytes);
    }

    /// Notifies after so many more bytes, both directions together; the stream goes on.
    pub fn notify_after(&mut self, bytes: u64, passed: Arc<Notify>) {
        (self.bytes_left, self.passed) = (Some(bytes), Some(passed));
    }

    /// Hides the client's ping frames from the reader. The next byte read must begin a frame.
    pub fn ignore_pings(&mut self) {
        self.pings = Some(PingFilter::default());
    }

    /// Removes hidden frames from bytes that were read before the websocket began.
    pub fn filter(&mut self, bytes: &[u8]) -> Vec<u8> {
        match &mut self.pings {
            Some(filter) => filter.pass(bytes),
            None => bytes.to_vec(),
        }
    }

    /// Returns whether the stream has broken.
    pub fn is_broken(&self) -> bool {
        self.bytes_left == Some(0)
    }

    /// Makes the close of this stream a TCP reset.
    pub fn reset_on_close(&self) {
        let tcp = match &self.io {
            Io::Plain(tcp) => tcp,
            Io::Tls(tls) => tls.get_ref().0,
        };
        if let Err(error) = tcp.set_zero_linger() {
            tracing::debug!(%error, "SO_LINGER was not set");
        }
    }

    fn allowance(&self, wanted: usize) -> io::Result<usize> {
        match self.bytes_left {
            None => Ok(wanted),
            Some(0) => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the scripted cut")),
            Some(left) => Ok(wanted.min(usize::try_from(left).unwrap_or(usize::MAX))),
        }
    }

    fn spend(&mut self, count: usize) {
        if let Some(left) = &mut self.bytes_left {
            *left = left.saturating_sub(count as u64);
        }
        if self.bytes_left == Some(0)
            && let Some(passed) = self.passed.take()
        {
            self.bytes_left = None;
            passed.notify_one();
        }
    }

    fn poll_read_io(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let allowed = self.allowance(out.remaining())?;
        let mut part = out.take(allowed);
        let polled = match &mut self.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut part),
            Io::Tls(tls) => Pin::new(tls).poll_read(cx, &mut part),
        };
        let bytes = part.filled().to_vec();
        ready!(polled)?;
        self.spend(bytes.len());
        let kept = if bytes.is_empty() { bytes } else { self.filter(&bytes) };
        out.put_slice(&kept);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for FaultStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        loop {
            let left = self.bytes_left;
            ready!(self.poll_read_io(cx, out))?;
            // A read of pings only must not return zero bytes, which means EOF.
            let was_end = self.pings.is_none() || self.pings.as_mut().is_some_and(PingFilter::saw_nothing);
            if out.filled().len() > before || was_end || (left.is_some() && left == self.bytes_left) {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for FaultStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = self.allowance(bytes.len())?;
        let bytes = &bytes[..allowed];
        let written = match &mut self.io {
            Io::Plain(tcp) => ready!(Pin::new(tcp).poll_write(cx, bytes))?,
            Io::Tls(tls) => ready!(Pin::new(tls.as_mut()).poll_write(cx, bytes))?,
        };
        self.spend(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Io::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Io::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}

/// Parses the frames of a client and removes its pings.
#[derive(Debug, Default)]
struct PingFilter {
    head: Vec<u8>,
    payload_left: u64,
    dropping: bool,
    last_read: usize,
}

impl PingFilter {
    fn pass(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        self.last_read = bytes.len();
        let mut out = Vec::with_capacity(bytes.len());
        while let [first, rest @ ..] = bytes {
            if self.payload_left > 0 {
                let count = bytes.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                if !self.dropping {
                    out.extend_from_slice(&bytes[..count]);
                }
                self.payload_left -= count as u64;
                bytes = &bytes[count..];
                continue;
            }
            self.head.push(*first);
            bytes = rest;
            if let Some(length) = payload_length(&self.head) {
                self.dropping = self.head[0] & 0x0f == PING;
                self.payload_left = length;
                if !self.dropping {
                    out.append(&mut self.head);
                }
                self.head.clear();
            }
        }
        out
    }

    fn saw_nothing(&mut self) -> bool {
        std::mem::take(&mut self.last_read) == 0
    }
}

/// Returns the payload's length once the head of a frame is complete, mask included.
fn payload_length(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (length, extra) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(*head.get(2..)?.first_chunk()?)), 2),
        127 => (u64::from_be_bytes(*head.get(2..)?.first_chunk()?), 8),
        short => (u64::from(short), 0),
    };
    (head.len() == 2 + extra + mask).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..126 => out.push(0x80 | short as u8),
            long => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(long as u16).to_be_bytes());
            }
        }
        out.extend_from_slice(&[1, 2, 3, 4]);
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn pings_are_removed_however_the_bytes_are_split() {
        let kept = [frame(2, &[7; 300]), frame(1, b"hello")].concat();
        let all = [frame(9, b"keepalive"), frame(2, &[7; 300]), frame(9, b""), frame(1, b"hello")].concat();
        for size in [1, 2, 7, all.len()] {
            let mut filter = PingFilter::default();
            let passed: Vec<u8> = all.chunks(size).flat_map(|chunk| filter.pass(chunk)).collect();
            assert_eq!(passed, kept, "in pieces of {size}");
        }
    }
}
