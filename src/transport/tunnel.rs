//! The tunnel through an HTTP proxy: CONNECT (RFC 9110, section 9.3.6).

use http::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect_error::ConnectError;
use super::foreign::ForeignAnswer;
use super::io::Io;
use super::proxy::Proxy;

/// The longest answer of a proxy to CONNECT, in bytes.
const LONGEST_ANSWER: usize = 16 << 10;
/// The most headers of that answer.
const MOST_HEADERS: usize = 64;

/// Asks an HTTP proxy for a tunnel to `HOST:PORT`.
pub(super) async fn tunnel(
    mut stream: Box<dyn Io>,
    proxy: &Proxy,
    to: &str,
) -> Result<Box<dyn Io>, ConnectError> {
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
    if let Some(login) = proxy.authorization() {
        request.extend([b"Proxy-Authorization: ", login.as_bytes(), b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    stream.write_all(&request).await.map_err(|error| ConnectError::network(&error))?;
    read_answer(&mut stream).await?;
    Ok(stream)
}

/// Reads the answer to CONNECT. Nothing follows it before the client has sent something.
async fn read_answer(stream: &mut Box<dyn Io>) -> Result<(), ConnectError> {
    let mut answer = Vec::new();
    while answer.len() < LONGEST_ANSWER {
        if stream.read_buf(&mut answer).await.map_err(|error| ConnectError::network(&error))? == 0 {
            return Err(if answer.is_empty() { ConnectError::Closed } else { ConnectError::NotHttp });
        }
        if let Some(result) = meaning(&answer) {
            return result;
        }
    }
    Err(ConnectError::NotHttp)
}

/// Returns what a proxy's answer means, or `None` if it is not complete.
fn meaning(answer: &[u8]) -> Option<Result<(), ConnectError>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(answer) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(_) => return Some(Err(ConnectError::NotHttp)),
    }
    let Some(code) = response.code else { return Some(Err(ConnectError::NotHttp)) };
    let headers = header_map(response.headers);
    // A refusal of the proxy itself may have a page too.
    let foreign = || ForeignAnswer::of(code, &headers).filter(|_| code < 400 || code == 511);
    Some(match (code, foreign()) {
        (401 | 407, _) => Err(ConnectError::login(code, &headers)),
        (_, Some(answer)) => Err(ConnectError::Foreign(answer)),
        (200..300, None) => Ok(()),
        (code, None) => Err(ConnectError::Refused(code)),
    })
}

fn header_map(headers: &[httparse::Header<'_>]) -> HeaderMap {
    let parse = |header: &httparse::Header<'_>| {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(header.value).ok()?))
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter().filter_map(parse) {
        map.append(name, value);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_connect_has_a_meaning_when_it_is_complete() {
        assert!(meaning(b"HTTP/1.1 200 OK\r\nVia: x\r\n").is_none());
        assert!(matches!(meaning(b"HTTP/1.1 200 OK\r\n\r\n"), Some(Ok(()))));
        for (answer, words) in [
            ("SSH-2.0-x\r\n", "the proxy did not answer in HTTP"),
            ("HTTP/1.1 403 No\r\n\r\n", "the proxy refused the connection with HTTP 403"),
            (
                "HTTP/1.1 403 No\r\nContent-Type: text/html\r\n\r\n",
                "the proxy refused the connection with HTTP 403",
            ),
            ("HTTP/1.1 407 No\r\n\r\n", "the proxy asks for a login (HTTP 407)"),
            (
                "HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm=\"a b\"\r\n\r\n",
                "the proxy asks for a login (HTTP 407, by Basic)",
            ),
            (
                "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM\r\n\r\n",
                "the proxy asks for a login (HTTP 407, by Negotiate or NTLM)",
            ),
            (
                "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Type: text/html\r\n\r\n",
                "the proxy asks for a login (HTTP 401, by Basic)",
            ),
            (
                "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n",
                "a captive portal or proxy answered: HTTP 302 to http://login.example/",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>",
                "a captive portal or proxy answered: HTTP 200 with a web page",
            ),
        ] {
            let error = meaning(answer.as_bytes()).expect("complete").expect_err("a refusal");
            assert_eq!(error.to_string(), words);
        }
    }
}
