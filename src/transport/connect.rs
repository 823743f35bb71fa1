//! Opens the connections of the API calls and the websocket: TCP, the proxy's tunnel, TLS.

use std::error::Error;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::lookup_host;
use tower_service::Service;

use super::issuer::Issuer;
use super::proxy::{Proxies, Proxy, ProxyKind};
use super::tls::{Roots, TlsError};

/// The longest answer of a proxy to CONNECT, in bytes.
const LONGEST_ANSWER: usize = 16 << 10;
/// The most headers of that answer.
const MOST_HEADERS: usize = 64;

/// A stream of bytes.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Why a connection could not be opened.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The system cannot reach the host or the proxy, or the SOCKS proxy refused.
    #[error("{0}")]
    Network(String),
    /// The proxy rejects the login, or wants one: these are the schemes that it accepts.
    #[error("the proxy asks for a login (HTTP 407{})", by(.0))]
    Login(Vec<String>),
    /// The proxy refuses the connection.
    #[error("the proxy refused the connection with HTTP {0}")]
    Refused(u16),
    /// The proxy does not speak HTTP, or closed the connection.
    #[error("the proxy did not answer in HTTP")]
    NotHttp,
    /// TLS with the proxy failed.
    #[error("TLS with the proxy: {0}")]
    ProxyTls(String),
    /// TLS with the host failed.
    #[error("{0}")]
    Tls(#[source] io::Error),
    /// TLS cannot be set up on this machine.
    #[error(transparent)]
    Setup(#[from] TlsError),
}

/// Opens connections.
#[derive(Clone, Debug)]
pub struct Connector {
    roots: Arc<Roots>,
    proxies: Arc<Proxies>,
}

impl Connector {
    /// Creates a connector that trusts `roots` and uses `proxies`.
    pub fn new(roots: Arc<Roots>, proxies: Arc<Proxies>) -> Self {
        Self { roots, proxies }
    }

    /// Returns the proxy for a URL.
    pub fn proxy(&self, url: &Uri) -> Option<&Proxy> {
        self.proxies.for_url(url)
    }

    /// Opens a stream to the host of a URL, `http` or `https`, without TLS to that host.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub async fn connect(&self, url: &Uri) -> Result<Box<dyn Io>, ConnectError> {
        match self.proxy(url) {
            None => tcp(url.clone()).await,
            Some(proxy) if proxy.is_http() => tunnel(self.connect_to(proxy).await?, proxy, url).await,
            Some(proxy) => socks(proxy, url).await,
        }
    }

    /// Opens a stream to an HTTP proxy.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub async fn connect_to(&self, proxy: &Proxy) -> Result<Box<dyn Io>, ConnectError> {
        let stream = tcp(proxy.url()).await?;
        if proxy.kind != ProxyKind::Https {
            return Ok(stream);
        }
        self.encrypt(&proxy.host, stream).await.map_err(ConnectError::of_proxy)
    }

    /// Does the TLS handshake with a host.
    ///
    /// # Errors
    /// [`ConnectError::Tls`] or [`ConnectError::Setup`]
    pub async fn encrypt(&self, host: &str, stream: Box<dyn Io>) -> Result<Box<dyn Io>, ConnectError> {
        let connector = self.roots.connector()?;
        let stream = connector.connect(server_name(host)?, stream).await.map_err(ConnectError::Tls)?;
        Ok(Box::new(stream))
    }

    /// Does the same, and returns who issued the certificate of the host, also of one that is not trusted.
    ///
    /// # Errors
    /// [`ConnectError::Tls`] or [`ConnectError::Setup`]
    pub async fn encrypt_and_tell(
        &self,
        host: &str,
        stream: Box<dyn Io>,
    ) -> (Result<Box<dyn Io>, ConnectError>, Option<Issuer>) {
        let (connector, witness) = match self.roots.witness() {
            Ok(pair) => pair,
            Err(error) => return (Err(error.into()), None),
        };
        let name = match server_name(host) {
            Ok(name) => name,
            Err(error) => return (Err(error), None),
        };
        let stream = connector.connect(name, stream).await.map_err(ConnectError::Tls);
        (stream.map(|stream| Box::new(stream) as Box<dyn Io>), witness.issuer())
    }
}

impl ConnectError {
    /// Creates the error for a proxy's answer with the status 407.
    pub fn login<'a>(authenticate: impl Iterator<Item = &'a [u8]>) -> Self {
        Self::Login(authenticate.filter_map(scheme).collect())
    }

    /// Converts an error of TLS with a host to one with a proxy.
    fn of_proxy(self) -> Self {
        if let Self::Tls(error) = self { Self::ProxyTls(error.to_string()) } else { self }
    }

    /// Returns true if the same attempt cannot succeed later.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Login(_) | Self::ProxyTls(_) | Self::Setup(_))
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, ConnectError> {
    let invalid = |error| ConnectError::Tls(io::Error::new(io::ErrorKind::InvalidData, error));
    ServerName::try_from(bare(host).to_owned()).map_err(invalid)
}

fn http_connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector
}

async fn tcp(url: Uri) -> Result<Box<dyn Io>, ConnectError> {
    let stream = http_connector().call(url).await.map_err(|error| network(&error))?;
    Ok(Box::new(stream.into_inner()))
}

/// Opens a stream through a SOCKS proxy, to the first address that it reaches.
async fn socks(proxy: &Proxy, url: &Uri) -> Result<Box<dyn Io>, ConnectError> {
    let mut last = ConnectError::Network("the host has no address".to_owned());
    for authority in socks_destinations(proxy, url).await? {
        match socks_to(proxy, authority).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Returns the host and port of a URL; the host is resolved here, or left to the proxy.
async fn socks_destinations(proxy: &Proxy, url: &Uri) -> Result<Vec<String>, ConnectError> {
    if proxy.kind != ProxyKind::Socks5 {
        return Ok(vec![host_and_port(url)]);
    }
    let found = lookup_host((bare(url.host().unwrap_or_default()), port(url))).await;
    Ok(found.map_err(|error| network(&error))?.map(|address| address.to_string()).collect())
}

async fn socks_to(proxy: &Proxy, authority: String) -> Result<Box<dyn Io>, ConnectError> {
    let mut socks = SocksV5::new(proxy.url(), Given(Some(tcp(proxy.url()).await?)));
    if let Some(login) = &proxy.login {
        socks = socks.with_auth(login.user.clone(), login.password.clone());
    }
    let to = Uri::builder().scheme("https").authority(authority).path_and_query("/").build();
    let stream = socks.call(to.map_err(|error| network(&error))?).await.map_err(|error| network(&error))?;
    Ok(Box::new(stream.into_inner()))
}

/// Gives an open connection to what speaks SOCKS over it.
struct Given(Option<Box<dyn Io>>);

impl Service<Uri> for Given {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<Box<dyn Io>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

/// Asks an HTTP proxy for a tunnel to the host of `url`.
async fn tunnel(mut stream: Box<dyn Io>, proxy: &Proxy, url: &Uri) -> Result<Box<dyn Io>, ConnectError> {
    let to = host_and_port(url);
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
    if let Some(login) = proxy.authorization() {
        request.extend([b"Proxy-Authorization: ", login.as_bytes(), b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    stream.write_all(&request).await.map_err(|error| network(&error))?;
    read_answer(&mut stream).await?;
    Ok(stream)
}

/// Reads the answer to CONNECT. Nothing follows it before the client has sent something.
async fn read_answer(stream: &mut Box<dyn Io>) -> Result<(), ConnectError> {
    let mut answer = Vec::new();
    while answer.len() < LONGEST_ANSWER {
        if stream.read_buf(&mut answer).await.map_err(|error| network(&error))? == 0 {
            break;
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
    let asks = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("proxy-authenticate");
    Some(match response.code {
        Some(200..300) => Ok(()),
        Some(407) => {
            Err(ConnectError::login(response.headers.iter().filter(|one| asks(one)).map(|one| one.value)))
        }
        Some(code) => Err(ConnectError::Refused(code)),
        None => Err(ConnectError::NotHttp),
    })
}

/// Returns the scheme of a `Proxy-Authenticate`, such as `Basic`, `NTLM` or `Negotiate`.
fn scheme(authenticate: &[u8]) -> Option<String> {
    let word = std::str::from_utf8(authenticate).ok()?.split([' ', ',']).next()?;
    let is_token = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    is_token.then(|| word.to_owned())
}

fn by(schemes: &[String]) -> String {
    if schemes.is_empty() { String::new() } else { format!(", by {}", schemes.join(" or ")) }
}

fn host_and_port(url: &Uri) -> String {
    format!("{}:{}", url.host().unwrap_or_default(), port(url))
}

/// Returns a host without the brackets of IPv6.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn port(url: &Uri) -> u16 {
    let default = if url.scheme_str() == Some("https") { 443 } else { 80 };
    url.port_u16().unwrap_or(default)
}

/// Converts an error and its sources.
fn network(error: &dyn Error) -> ConnectError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    ConnectError::Network(text)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::tests::{LittleProxy, ProxyRequest, identity};
    use super::super::tls::Bundle;
    use super::*;

    fn connector(variable: &str, roots: Roots) -> Connector {
        let proxies = Proxies::new(&[("ALL_PROXY", OsString::from(variable))]).expect("valid");
        Connector::new(Arc::new(roots), Arc::new(proxies))
    }

    /// Sends a line to `host` and returns what comes back.
    async fn exchange(connector: &Connector, host: &str, port: u16) -> Result<String, ConnectError> {
        let url: Uri = format!("https://{host}:{port}").parse().expect("a URL");
        let mut stream = connector.connect(&url).await?;
        stream.write_all(b"echo\n").await.expect("the far end reads");
        stream.shutdown().await.expect("the far end reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("the far end answers");
        Ok(text)
    }

    #[tokio::test]
    async fn every_kind_of_proxy_carries_a_connection_with_its_login() {
        let (server, bundle) = identity("localhost");
        for (scheme, tls) in [("http", None), ("https", Some(server)), ("socks5", None), ("socks5h", None)] {
            let proxy = LittleProxy::start(Some("me:p@ss"), tls).await;
            let roots = Roots::new(Some(Bundle::parse(bundle.as_bytes()).expect("a certificate")));
            let connector = connector(&format!("{scheme}://me:p@ss@localhost:{}", proxy.port), roots);
            let text = exchange(&connector, "localhost", 7).await.expect(scheme);
            assert_eq!(text, "echo\n", "{scheme}");
            let asked = proxy.asked();
            let [ProxyRequest { to, is_allowed: true }] = asked.as_slice() else {
                panic!("{scheme}: {asked:?}")
            };
            let (host, port) = to.rsplit_once(':').expect("a host and a port");
            let is_name = host.parse::<std::net::IpAddr>().is_err();
            assert_eq!((port, is_name), ("7", scheme != "socks5"), "{scheme}: {to}");
        }
    }

    #[tokio::test]
    async fn a_login_that_is_refused_is_an_error_with_the_schemes_that_are_asked_for() {
        let proxy = LittleProxy::start(Some("me:right"), None).await;
        for (scheme, words) in [
            ("http", "the proxy asks for a login (HTTP 407, by Negotiate or NTLM)"),
            ("socks5h", "SOCKS error: credentials not accepted"),
        ] {
            let connector =
                connector(&format!("{scheme}://me:wrong@127.0.0.1:{}", proxy.port), Roots::default());
            let error = exchange(&connector, "aws.example", 443).await.expect_err(scheme);
            assert_eq!(error.to_string(), words);
        }
    }

    #[tokio::test]
    async fn a_proxy_with_an_unknown_certificate_is_not_used() {
        let (server, _) = identity("localhost");
        let proxy = LittleProxy::start(None, Some(server)).await;
        let (_, other) = identity("localhost");
        let roots = Roots::new(Some(Bundle::parse(other.as_bytes()).expect("a certificate")));
        let connector = connector(&format!("https://localhost:{}", proxy.port), roots);
        let error = exchange(&connector, "aws.example", 443).await.expect_err("it is not trusted");
        assert!(error.to_string().starts_with("TLS with the proxy: invalid peer certificate"), "{error}");
        assert!(proxy.asked().is_empty());
    }

    #[test]
    fn an_answer_to_connect_has_a_meaning_when_it_is_complete() {
        assert!(meaning(b"HTTP/1.1 200 OK\r\nVia: x\r\n").is_none());
        assert!(matches!(meaning(b"HTTP/1.1 200 OK\r\n\r\n"), Some(Ok(()))));
        for (answer, words) in [
            ("SSH-2.0-x\r\n", "the proxy did not answer in HTTP"),
            ("HTTP/1.1 403 No\r\n\r\n", "the proxy refused the connection with HTTP 403"),
            ("HTTP/1.1 407 No\r\n\r\n", "the proxy asks for a login (HTTP 407)"),
            (
                "HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm=\"a b\"\r\n\r\n",
                "the proxy asks for a login (HTTP 407, by Basic)",
            ),
        ] {
            let error = meaning(answer.as_bytes()).expect("complete").expect_err("a refusal");
            assert_eq!(error.to_string(), words);
        }
    }
}
