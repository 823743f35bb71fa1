//! As much of an HTTP/1.1 server as an API of small JSON requests and a websocket upgrade need.
//!
//! A request's head is read by `httparse`, its body by Content-Length; `Expect: 100-continue` is answered. Bytes read
//! beyond the request stay in the caller's buffer, where the next request or the first websocket frame begins.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::sim::sigv4::header;

const LONGEST_HEAD: usize = 64 * 1024;
const LONGEST_BODY: usize = 1024 * 1024;
const MOST_HEADERS: usize = 64;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query exactly as on the wire.
    pub target: String,
    /// The headers in the order of the wire.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// Returns the first value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.headers, name)
    }

    /// Says whether a comma-separated header has a token.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let value = self.header(name).unwrap_or_default();
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
    }

    /// Returns the path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// Reads the next request; `None` at the end of the connection.
///
/// # Errors
/// Those of the stream, and `InvalidData` for what is not HTTP or is too long.
pub async fn read_request<S>(stream: &mut S, buffer: &mut BytesMut) -> io::Result<Option<Request>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = loop {
        if let Some(request) = parse_head(buffer)? {
            break request;
        }
        if buffer.len() > LONGEST_HEAD {
            return Err(invalid("the head is too long"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let length = content_length(&request)?;
    if length > buffer.len() && request.has_token("expect", "100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    request.body = buffer.split_to(length).freeze();
    Ok(Some(request))
}

/// Writes a response with a body.
///
/// # Errors
/// Those of the stream.
pub async fn respond<S: AsyncWrite + Unpin>(
    stream: &mut S,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<()> {
    let mut out = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    if status != 101 {
        out.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    out.push_str("\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    stream.write_all(&out).await?;
    stream.flush().await
}

fn parse_head(buffer: &mut BytesMut) -> io::Result<Option<Request>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(buffer).map_err(|error| invalid(&error.to_string()))? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        target: head.path.unwrap_or_default().to_owned(),
        headers: head.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect(),
        body: Bytes::new(),
    };
    let _ = buffer.split_to(length);
    Ok(Some(request))
}

fn content_length(request: &Request) -> io::Result<usize> {
    let Some(length) = request.header("content-length") else { return Ok(0) };
    let length = length.parse().map_err(|_| invalid("content-length is not a number"))?;
    if length > LONGEST_BODY { Err(invalid("the body is too long")) } else { Ok(length) }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_follow_each_other_and_the_rest_stays() {
        let (mut client, mut server) = tokio::io::duplex(1024);
        let wire = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}GET /v1?x=+ HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\n\r\nrest";
        client.write_all(wire).await.unwrap();
        drop(client);
        let mut buffer = BytesMut::new();
        let first = read_request(&mut server, &mut buffer).await.unwrap().unwrap();
        assert_eq!((first.method.as_str(), first.body.as_ref()), ("POST", &b"{}"[..]));
        let second = read_request(&mut server, &mut buffer).await.unwrap().unwrap();
        assert_eq!((second.target.as_str(), second.path()), ("/v1?x=+", "/v1"));
        assert!(second.has_token("connection", "upgrade"));
        assert_eq!(buffer.as_ref(), b"rest");
    }

    #[tokio::test]
    async fn a_waiting_body_is_asked_for() {
        let (mut client, mut server) = tokio::io::duplex(1024);
        let head = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        client.write_all(head).await.unwrap();
        let answer = async {
            let mut buffer = [0; 25];
            client.read_exact(&mut buffer).await.unwrap();
            client.write_all(b"ok").await.unwrap();
            buffer
        };
        let mut buffer = BytesMut::new();
        let (answer, request) = tokio::join!(answer, read_request(&mut server, &mut buffer));
        assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(request.unwrap().unwrap().body, "ok");
    }

    #[tokio::test]
    async fn what_is_not_http_is_an_error() {
        let (mut client, mut server) = tokio::io::duplex(1024);
        client.write_all(b"SSH-2.0-x\r\n\r\n").await.unwrap();
        assert!(read_request(&mut server, &mut BytesMut::new()).await.is_err());
    }
}
