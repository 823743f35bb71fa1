//! What a local client asks of a proxy: SOCKS5 (RFC 1928) or HTTP's CONNECT, on one port.
//!
//! Owns the protocols only; the destination is connected to by [`Pools`](super::Pools) or a hop. Names are passed on as
//! they are: they are resolved at the far side.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use fast_socks5::ReplyError;
use fast_socks5::Socks5Command;
use fast_socks5::server::{Socks5ServerProtocol, SocksServerError};
use fast_socks5::util::target_addr::TargetAddr;
use http::uri::Authority;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::ProxyAnswer;

/// The first byte of a SOCKS5 client.
const SOCKS5: u8 = 5;
/// The time limit for the request of a client.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// A request that is longer was not made for a proxy.
const LONGEST_REQUEST: usize = 8 << 10;

/// The destination that a client requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a client was refused.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// It sent no request in time.
    #[error("no request within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// It does not use SOCKS5, or requests something other than a connection.
    #[error(transparent)]
    Socks(#[from] SocksServerError),
    /// It requests something other than a connection.
    #[error("neither SOCKS5 nor HTTP CONNECT")]
    Unknown,
    /// Its connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads what the client asks for; returns its destination and the answers that it understands.
pub(super) async fn read_request(socket: &mut TcpStream) -> Result<(Asked, ProxyAnswer), ProxyError> {
    let request = async {
        let mut first = [0];
        let length = socket.peek(&mut first).await?;
        match first {
            _ if length == 0 => Err(ProxyError::Io(io::ErrorKind::UnexpectedEof.into())),
            [SOCKS5] => socks(socket).await,
            _ => connect(socket).await,
        }
    };
    timeout(REQUEST_TIMEOUT, request).await.unwrap_or(Err(ProxyError::Timeout))
}

async fn socks(socket: &mut TcpStream) -> Result<(Asked, ProxyAnswer), ProxyError> {
    let opened = Socks5ServerProtocol::accept_no_auth(socket).await?;
    let (request, command, address) = opened.read_command().await?;
    if !matches!(command, Socks5Command::TCPConnect) {
        // Whether it receives that makes no difference to us.
        let _ = request.reply_error(&ReplyError::CommandNotSupported).await;
        return Err(ProxyError::Unknown);
    }
    let asked = match address {
        TargetAddr::Ip(address) => Asked { host: address.ip().to_string(), port: address.port() },
        TargetAddr::Domain(host, port) => Asked { host, port },
    };
    let reply = |code: u8| Bytes::copy_from_slice(&[SOCKS5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
    let refused = reply(ReplyError::ConnectionRefused.as_u8());
    let failed = reply(ReplyError::GeneralFailure.as_u8());
    Ok((asked, ProxyAnswer { accepted: reply(ReplyError::Succeeded.as_u8()), refused, failed }))
}

async fn connect(socket: &mut TcpStream) -> Result<(Asked, ProxyAnswer), ProxyError> {
    let head = head(socket).await?;
    let Some(asked) = asked_by(&head) else {
        let _ = socket.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\n\r\n").await;
        return Err(ProxyError::Unknown);
    };
    let answer = ProxyAnswer {
        accepted: Bytes::from_static(b"HTTP/1.1 200 Connection established\r\n\r\n"),
        refused: Bytes::from_static(b"HTTP/1.1 502 Connection refused\r\n\r\n"),
        failed: Bytes::from_static(b"HTTP/1.1 504 Not connected\r\n\r\n"),
    };
    Ok((asked, answer))
}

/// Reads a request's head byte by byte: what comes after it is not ours.
async fn head(socket: &mut TcpStream) -> Result<Vec<u8>, ProxyError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == LONGEST_REQUEST {
            return Err(ProxyError::Unknown);
        }
        head.push(socket.read_u8().await?);
    }
    Ok(head)
}

fn asked_by(head: &[u8]) -> Option<Asked> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let is_whole = request.parse(head).is_ok_and(|status| status.is_complete());
    let to: Authority =
        request.path.filter(|_| is_whole && request.method == Some("CONNECT"))?.parse().ok()?;
    let host = to.host().trim_start_matches('[').trim_end_matches(']');
    Some(Asked { host: host.to_owned(), port: to.port_u16().filter(|port| *port > 0)? })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn asked_with(words: &'static [u8]) -> (Result<(Asked, ProxyAnswer), ProxyError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        client.write_all(words).await.unwrap();
        client.shutdown().await.unwrap();
        let result = read_request(&mut socket).await;
        drop(socket);
        let mut answer = Vec::new();
        // A request that was not read to its end is answered by a reset, behind what was said.
        let _ = client.read_to_end(&mut answer).await;
        (result, answer)
    }

    fn asked(host: &str, port: u16) -> Asked {
        Asked { host: host.to_owned(), port }
    }

    #[tokio::test]
    async fn socks_asks_by_name_or_address() {
        let (result, answer) = asked_with(b"\x05\x01\x00\x05\x01\x00\x03\x02db\x0c\xea").await;
        let (wants, answers) = result.unwrap();
        assert_eq!((wants, answer.as_slice()), (asked("db", 3306), &b"\x05\x00"[..]));
        assert_eq!((answers.accepted[1], answers.refused[1], answers.failed[1]), (0, 5, 1));
        let (result, _) = asked_with(b"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50").await;
        assert_eq!(result.unwrap().0, asked("10.0.0.1", 80));
    }

    #[tokio::test]
    async fn socks_that_wants_more_is_refused() {
        let (result, answer) = asked_with(b"\x05\x01\x02").await;
        assert!(result.is_err());
        assert_eq!(answer, b"\x05\xff");
        let (result, answer) = asked_with(b"\x05\x01\x00\x05\x02\x00\x01\x0a\x00\x00\x01\x00\x50").await;
        assert!(result.is_err());
        assert_eq!(answer[3], 7, "{answer:?}");
    }

    #[tokio::test]
    async fn http_asks_by_connect() {
        let (result, _) = asked_with(b"CONNECT db:443 HTTP/1.1\r\nHost: db:443\r\n\r\n").await;
        assert_eq!(result.unwrap().0, asked("db", 443));
        let (result, _) = asked_with(b"CONNECT [::1]:443 HTTP/1.1\r\n\r\n").await;
        assert_eq!(result.unwrap().0, asked("::1", 443));
        let (result, answer) = asked_with(b"GET http://db/ HTTP/1.1\r\n\r\n").await;
        assert!(matches!(result, Err(ProxyError::Unknown)));
        assert!(answer.starts_with(b"HTTP/1.1 405 "), "{answer:?}");
        assert!(asked_with(b"CONNECT db HTTP/1.1\r\n\r\n").await.0.is_err());
        assert!(asked_with(b"\x16\x03\x01").await.0.is_err());
    }
}
