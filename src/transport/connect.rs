//! Opens the connections of the API calls and the websocket: TCP, the proxy's tunnel, TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Uri;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};

use super::attempts::{alternate, first};
use super::connect_error::ConnectError;
use super::io::Io;
use super::issuer::Issuer;
use super::proxy::{Proxies, Proxy, ProxyKind};
use super::socks::socks;
use super::tls::Roots;
use super::tunnel::tunnel;

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
            None => tcp(url.host().unwrap_or_default(), port(url)).await,
            Some(proxy) if proxy.is_http() => {
                tunnel(self.connect_to(proxy).await?, proxy, &host_and_port(url)).await
            }
            Some(proxy) => through_socks(proxy, url).await,
        }
    }

    /// Opens a stream to an HTTP proxy.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub async fn connect_to(&self, proxy: &Proxy) -> Result<Box<dyn Io>, ConnectError> {
        let stream = tcp(&proxy.host, proxy.port).await?;
        if proxy.kind != ProxyKind::Https {
            return Ok(stream);
        }
        self.encrypt(&proxy.host, stream).await.map_err(ConnectError::of_proxy)
    }

    /// Does the TLS handshake with a host.
    ///
    /// # Errors
    /// [`ConnectError::Tls`], [`ConnectError::NotTls`] or [`ConnectError::Setup`]
    pub async fn encrypt(&self, host: &str, stream: Box<dyn Io>) -> Result<Box<dyn Io>, ConnectError> {
        let connector = self.roots.connector()?;
        let stream = connector.connect(server_name(host)?, stream).await.map_err(ConnectError::tls)?;
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
        let stream = connector.connect(name, stream).await.map_err(ConnectError::tls);
        (stream.map(|stream| Box::new(stream) as Box<dyn Io>), witness.issuer())
    }
}

/// Opens a TCP connection to a host, at the first of its addresses that answers.
async fn tcp(host: &str, port: u16) -> Result<Box<dyn Io>, ConnectError> {
    let addresses = addresses(host, port).await?;
    let has_several = addresses.len() > 1;
    let attempts = addresses.into_iter().map(|address| async move {
        let stream = TcpStream::connect(address).await;
        let place = if has_several { format!("{}: ", address.ip()) } else { String::new() };
        stream.map_err(|error| ConnectError::Network(format!("{place}{error}")))
    });
    let stream = first(attempts).await.unwrap_or_else(|| Err(no_address()))?;
    stream.set_nodelay(true).map_err(|error| ConnectError::network(&error))?;
    Ok(Box::new(stream))
}

/// Resolves a name, and orders its addresses.
async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let found = lookup_host((bare(host), port)).await;
    let found = found.map_err(|error| ConnectError::Network(format!("cannot resolve {host}: {error}")))?;
    Ok(alternate(found.collect()))
}

fn server_name(host: &str) -> Result<ServerName<'static>, ConnectError> {
    let invalid = |error| ConnectError::Tls(io::Error::new(io::ErrorKind::InvalidData, error));
    ServerName::try_from(bare(host).to_owned()).map_err(invalid)
}

fn no_address() -> ConnectError {
    ConnectError::Network("the host has no address".to_owned())
}

/// Opens a stream through a SOCKS proxy, to the first address that the proxy reaches; the host is resolved here, or left to
/// the proxy.
async fn through_socks(proxy: &Proxy, url: &Uri) -> Result<Box<dyn Io>, ConnectError> {
    let open = async |to: String| socks(tcp(&proxy.host, proxy.port).await?, proxy, &to).await;
    if proxy.kind != ProxyKind::Socks5 {
        return open(host_and_port(url)).await;
    }
    let addresses = addresses(url.host().unwrap_or_default(), port(url)).await?;
    let attempts = addresses.into_iter().map(|address| open(address.to_string()));
    first(attempts).await.unwrap_or_else(|| Err(no_address()))
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
            ("socks5h", "the proxy asks for a login (SOCKS: name or password rejected)"),
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
}
