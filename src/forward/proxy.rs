//! What a local client asks of a proxy: SOCKS5 (RFC 1928), SOCKS4, SOCKS4a or HTTP's CONNECT, on one port.
//!
//! Owns the protocols only; the destination is connected to by [`Pools`](super::Pools) or a hop. Names are passed on as
//! they are: they are resolved at the far side.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
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

use crate::session::close;

use super::connection::ProxyAnswer;

/// The first byte of a SOCKS5 client.
const SOCKS5: u8 = 5;
/// The first byte of a SOCKS4 client, the only command that is served, and the two replies
/// (<https://www.openssh.org/txt/socks4.protocol>).
const SOCKS4: u8 = 4;
const SOCKS4_CONNECT: u8 = 1;
const SOCKS4_GRANTED: u8 = 90;
const SOCKS4_REJECTED: u8 = 91;
/// The first byte of a TLS client: the type of a handshake's record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;
/// So many bytes of another protocol are logged.
const SHOWN: usize = 16;
/// A name of the DNS is shorter.
const LONGEST_NAME: usize = 255;
/// No method of HTTP is longer (UPDATEREDIRECTREF).
const LONGEST_METHOD: usize = 17;
/// A client that has connected asks within this time.
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
    /// Its SOCKS5 request is not valid, or offers no way to do without a password.
    #[error(transparent)]
    Socks(#[from] SocksServerError),
    /// Its request is not one for a connection to a port.
    #[error("{0} request that is not one for a connection to a port")]
    Unsupported(Protocol),
    /// It uses a protocol that the proxy does not have.
    #[error("{0}, which is not a request for a proxy")]
    Foreign(Foreign),
    /// Its connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A protocol in which a proxy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SOCKS4 or SOCKS4a.
    Socks4,
    /// RFC 1928.
    Socks5,
    /// HTTP.
    Http,
}

/// What a client sent in place of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// A TLS handshake.
    Tls,
    /// The identification of an ssh client.
    Ssh,
    /// Other bytes, the first of them.
    Bytes(Vec<u8>),
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socks4 => "a SOCKS4",
            Self::Socks5 => "a SOCKS5",
            Self::Http => "an HTTP",
        })
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls => f.write_str("the client sent a TLS handshake"),
            Self::Ssh => f.write_str("the client sent an ssh identification"),
            Self::Bytes(bytes) => write!(f, "the client sent `{}`", bytes.escape_ascii()),
        }
    }
}

/// Reads what the client asks for; returns its destination and the answers that it understands. A client that is turned
/// away has received the refusal of its protocol, if that has one.
pub(super) async fn read_request(socket: &mut TcpStream) -> Result<(Asked, ProxyAnswer), ProxyError> {
    let request = async {
        let mut first = [0];
        let length = socket.peek(&mut first).await?;
        match first {
            _ if length == 0 => Err(ProxyError::Io(io::ErrorKind::UnexpectedEof.into())),
            [SOCKS4] => socks4(socket).await,
            [SOCKS5] => socks5(socket).await,
            _ => connect(socket).await,
        }
    };
    timeout(REQUEST_TIMEOUT, request).await.unwrap_or(Err(ProxyError::Timeout))
}

/// Closes the connection of a client that was turned away, behind what it was answered.
pub(super) async fn turn_away(socket: TcpStream, from: &str, error: &ProxyError) {
    tracing::info!(from, %error, "a client of the proxy was turned away");
    close(socket).await;
}

/// SOCKS4, whose clients send an address, and SOCKS4a, whose clients may send a name behind an address that is not one.
async fn socks4(socket: &mut TcpStream) -> Result<(Asked, ProxyAnswer), ProxyError> {
    let reply = |code: u8| Bytes::copy_from_slice(&[0, code, 0, 0, 0, 0, 0, 0]);
    let asked = socks4_request(socket).await?;
    let Some(asked) = asked else {
        // The client may have closed.
        let _ = socket.write_all(&reply(SOCKS4_REJECTED)).await;
        return Err(ProxyError::Unsupported(Protocol::Socks4));
    };
    let (refused, failed) = (reply(SOCKS4_REJECTED), reply(SOCKS4_REJECTED));
    Ok((asked, ProxyAnswer { accepted: reply(SOCKS4_GRANTED), refused, failed }))
}

/// Returns `None` for a request that is read and not served.
async fn socks4_request(socket: &mut TcpStream) -> io::Result<Option<Asked>> {
    let mut request = [0; 8];
    socket.read_exact(&mut request).await?;
    let [_version, command, port @ .., a, b, c, d] = request;
    let port = u16::from_be_bytes(port);
    if command != SOCKS4_CONNECT || port == 0 || string(socket).await?.is_none() {
        return Ok(None);
    }
    let host = match [a, b, c, d] {
        [0, 0, 0, 1..=u8::MAX] => string(socket).await?,
        address => Some(Ipv4Addr::from(address).to_string()),
    };
    Ok(host.filter(|host| !host.is_empty()).map(|host| Asked { host, port }))
}

/// Reads a string that ends with a zero byte; `None` is one that is not a text, or too long.
async fn string(socket: &mut TcpStream) -> io::Result<Option<String>> {
    let mut text = Vec::new();
    loop {
        match socket.read_u8().await? {
            0 => return Ok(String::from_utf8(text).ok()),
            _ if text.len() == LONGEST_NAME => return Ok(None),
            byte => text.push(byte),
        }
    }
}

async fn socks5(socket: &mut TcpStream) -> Result<(Asked, ProxyAnswer), ProxyError> {
    let opened = Socks5ServerProtocol::accept_no_auth(socket).await?;
    let (request, command, address) = opened.read_command().await?;
    let asked = match address {
        TargetAddr::Ip(address) => Asked { host: address.ip().to_string(), port: address.port() },
        TargetAddr::Domain(host, port) => Asked { host, port },
    };
    let refusal = match command {
        Socks5Command::TCPConnect if asked.port == 0 || asked.host.is_empty() => ReplyError::GeneralFailure,
        Socks5Command::TCPConnect => return Ok((asked, socks5_answer())),
        Socks5Command::TCPBind | Socks5Command::UDPAssociate => ReplyError::CommandNotSupported,
    };
    // The client may have closed.
    let _ = request.reply_error(&refusal).await;
    Err(ProxyError::Unsupported(Protocol::Socks5))
}

fn socks5_answer() -> ProxyAnswer {
    let reply = |code: u8| Bytes::copy_from_slice(&[SOCKS5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
    ProxyAnswer {
        accepted: reply(ReplyError::Succeeded.as_u8()),
        refused: reply(ReplyError::ConnectionRefused.as_u8()),
        failed: reply(ReplyError::GeneralFailure.as_u8()),
    }
}

async fn connect(socket: &mut TcpStream) -> Result<(Asked, ProxyAnswer), ProxyError> {
    let head = head(socket).await?;
    let Some(asked) = asked_by(&head) else {
        // The client may have closed.
        let _ = socket.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\n\r\n").await;
        return Err(ProxyError::Unsupported(Protocol::Http));
    };
    let answer = ProxyAnswer {
        accepted: Bytes::from_static(b"HTTP/1.1 200 Connection established\r\n\r\n"),
        refused: Bytes::from_static(b"HTTP/1.1 502 Connection refused\r\n\r\n"),
        failed: Bytes::from_static(b"HTTP/1.1 504 Not connected\r\n\r\n"),
    };
    Ok((asked, answer))
}

/// Reads a request's head byte by byte: what comes after it is not ours. It stops at the first byte that a head of HTTP
/// does not have there.
async fn head(socket: &mut TcpStream) -> Result<Vec<u8>, ProxyError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == LONGEST_REQUEST {
            return Err(ProxyError::Unsupported(Protocol::Http));
        }
        head.push(socket.read_u8().await?);
        if !is_http(&head) {
            return Err(ProxyError::Foreign(Foreign::of(head, socket)));
        }
    }
    Ok(head)
}

/// Returns false if no request of HTTP begins like this.
fn is_http(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let method = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_method = method.iter().all(u8::is_ascii_alphabetic) && method.len() <= LONGEST_METHOD;
    is_method && (line == head || line.windows(6).any(|part| part == b" HTTP/"))
}

impl Foreign {
    /// Takes the bytes that were read, and a few of those that have arrived behind them.
    fn of(mut bytes: Vec<u8>, socket: &TcpStream) -> Self {
        let mut more = [0; SHOWN];
        let length = socket.try_read(&mut more).unwrap_or_default();
        bytes.extend_from_slice(&more[..length]);
        bytes.truncate(SHOWN);
        match bytes.as_slice() {
            [TLS_HANDSHAKE, ..] => Self::Tls,
            [b'S', b'S', b'H', b'-', ..] => Self::Ssh,
            _ => Self::Bytes(bytes),
        }
    }
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

    async fn asked_with(words: &[u8]) -> (Result<(Asked, ProxyAnswer), ProxyError>, Vec<u8>) {
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
        assert!(matches!(result, Err(ProxyError::Unsupported(Protocol::Http))));
        assert!(answer.starts_with(b"HTTP/1.1 405 "), "{answer:?}");
        let (result, _) = asked_with(b"CONNECT [10.0.0.9]:80 HTTP/1.1\r\n\r\n").await;
        assert_eq!(result.unwrap().0, asked("10.0.0.9", 80));
        assert!(asked_with(b"CONNECT db HTTP/1.1\r\n\r\n").await.0.is_err());
    }

    #[tokio::test]
    async fn socks4_asks_by_address_and_socks4a_by_name() {
        let (result, answer) = asked_with(b"\x04\x01\x00\x50\x0a\x00\x00\x01user\x00").await;
        let (wants, answers) = result.unwrap();
        assert_eq!((wants, answer.as_slice()), (asked("10.0.0.1", 80), &b""[..]));
        assert_eq!(answers.accepted.as_ref(), b"\x00\x5a\x00\x00\x00\x00\x00\x00");
        assert_eq!((answers.refused[1], answers.failed[1]), (91, 91));
        let (result, _) = asked_with(b"\x04\x01\x0c\xea\x00\x00\x00\x01\x00db.internal\x00").await;
        assert_eq!(result.unwrap().0, asked("db.internal", 3306));
        let (result, _) = asked_with(b"\x04\x01\x00\x50\x00\x00\x00\x00\x00").await;
        assert_eq!(result.unwrap().0, asked("0.0.0.0", 80), "not the form of a name");
    }

    #[tokio::test]
    async fn socks4_that_wants_more_is_refused_in_its_words() {
        let long: &[u8] = &[&b"\x04\x01\x00\x50\x00\x00\x00\x01\x00"[..], &[b'a'; 300]].concat();
        for request in [
            &b"\x04\x02\x00\x50\x0a\x00\x00\x01\x00"[..],
            b"\x04\x01\x00\x00\x0a\x00\x00\x01\x00",
            b"\x04\x01\x00\x50\x00\x00\x00\x01\x00\x00",
            b"\x04\x01\x00\x50\x00\x00\x00\x01\x00\xff\x00",
            long,
        ] {
            let (result, answer) = asked_with(request).await;
            assert!(matches!(result, Err(ProxyError::Unsupported(Protocol::Socks4))), "{result:?}");
            assert_eq!(answer[..2], [0, 91], "{request:?}");
        }
        assert!(matches!(asked_with(b"\x04\x01").await.0, Err(ProxyError::Io(_))));
    }

    /// The client stays and waits: the refusal must not wait for more of it.
    #[tokio::test]
    async fn other_protocols_are_refused_at_their_first_bytes() {
        for (bytes, seen) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], Foreign::Tls),
            (b"SSH-2.0-OpenSSH_9.9\r\n", Foreign::Ssh),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Foreign::Bytes(b"\x00\x00\x00\x08\x04\xd2\x16\x2f".into())),
            (b"*1\r\n$4\r\nPING\r\n", Foreign::Bytes(b"*1\r\n$4\r\nPING\r\n".into())),
            (b"QUIT\r\n", Foreign::Bytes(b"QUIT\r\n".into())),
            (b"GET /\r\n", Foreign::Bytes(b"GET /\r\n".into())),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut socket, _) = listener.accept().await.unwrap();
            client.write_all(bytes).await.unwrap();
            match read_request(&mut socket).await {
                Err(ProxyError::Foreign(foreign)) => assert_eq!(foreign, seen),
                other => panic!("{other:?}"),
            }
        }
        let error = ProxyError::Foreign(Foreign::Bytes(b"a\x1b\n".into()));
        assert_eq!(error.to_string(), r"the client sent `a\x1b\n`, which is not a request for a proxy");
    }
}
