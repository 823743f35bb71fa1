//! What stands on the loopback in the tests of connections: a little proxy that speaks HTTP and SOCKS, with TLS or without.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::io::Io;

/// What a proxy was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyRequest {
    /// The host and port, or the URL of a request that is not CONNECT.
    pub to: String,
    /// Whether the login was right.
    pub is_allowed: bool,
}

/// A proxy on an ephemeral port. What is behind it is played here: an HTTP server on ports 80 and 443, else an echo.
pub struct LittleProxy {
    /// The port on which it listens.
    pub port: u16,
    asked: Arc<Mutex<Vec<ProxyRequest>>>,
}

impl LittleProxy {
    /// Starts a proxy that wants this login, `USER:PASSWORD`, and speaks TLS if it has an identity.
    pub async fn start(login: Option<&str>, tls: Option<TlsAcceptor>) -> Self {
        Self::listen(Setup { login: login.map(str::to_owned), tls, far_tls: None }).await
    }

    /// Starts a proxy in front of an HTTPS server.
    pub async fn with_far_end(far_tls: TlsAcceptor) -> Self {
        Self::listen(Setup { far_tls: Some(far_tls), ..Setup::default() }).await
    }

    async fn listen(setup: Setup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, setup.clone(), kept.clone()));
            }
        });
        Self { port, asked }
    }

    /// Returns what was asked for.
    pub fn asked(&self) -> Vec<ProxyRequest> {
        self.asked.lock().expect("no panic").clone()
    }
}

/// Makes a TLS server's side for a host, and the PEM to trust.
pub fn identity(host: &str) -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).expect("a pair");
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

type Kept = Arc<Mutex<Vec<ProxyRequest>>>;

/// How a proxy and what is behind it are played.
#[derive(Clone, Default)]
struct Setup {
    login: Option<String>,
    tls: Option<TlsAcceptor>,
    far_tls: Option<TlsAcceptor>,
}

type Client = BufReader<Box<dyn Io>>;

async fn serve(client: TcpStream, setup: Setup, kept: Kept) -> io::Result<()> {
    let mut client = BufReader::new(accept(setup.tls, Box::new(client)).await?);
    let opened = match client.read_u8().await? {
        5 => socks(&mut client, setup.login, &kept).await?,
        first => http(&mut client, first, setup.login, &kept).await?,
    };
    match opened.as_deref() {
        Some("80" | "443") => {
            let mut stream = BufReader::new(accept(setup.far_tls, Box::new(client)).await?);
            read_head(&mut stream).await?;
            answer(&mut stream, "200 OK", "", "from far end").await
        }
        Some(_) => echo(&mut client).await,
        None => Ok(()),
    }
}

async fn accept(tls: Option<TlsAcceptor>, stream: Box<dyn Io>) -> io::Result<Box<dyn Io>> {
    match tls {
        Some(tls) => Ok(Box::new(tls.accept(stream).await?)),
        None => Ok(stream),
    }
}

/// Reads a request of HTTP; returns the port to which a connection is open now.
async fn http(
    client: &mut Client,
    first: u8,
    login: Option<String>,
    kept: &Kept,
) -> io::Result<Option<String>> {
    let head = format!("{}{}", char::from(first), read_head(client).await?);
    let expected = login.map(|login| format!("Basic {}", BASE64_STANDARD.encode(login)));
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let sent = headers.find(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"));
    let is_allowed = sent.map(|(_, value)| value) == expected.as_deref();
    let mut words = head.split(' ');
    let (method, to) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
    kept.lock().expect("no panic").push(ProxyRequest { to: to.clone(), is_allowed });
    if !is_allowed {
        let asks = "Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n";
        return answer(client, "407 No", asks, "").await.map(|()| None);
    }
    if method != "CONNECT" {
        return answer(client, "200 OK", "", "from proxy").await.map(|()| None);
    }
    client.write_all(b"HTTP/1.1 200 OK\r\nVia: a little proxy\r\n\r\n").await?;
    Ok(port_of(&to))
}

async fn read_head(client: &mut Client) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

async fn answer(client: &mut Client, status: &str, headers: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    client.write_all(text.as_bytes()).await?;
    client.flush().await
}

/// Reads a request of SOCKS; returns the port to which a connection is open now.
async fn socks(client: &mut Client, login: Option<String>, kept: &Kept) -> io::Result<Option<String>> {
    field(client).await?;
    client.write_all(&[5, if login.is_some() { 2 } else { 0 }]).await?;
    let is_allowed = match login {
        Some(login) => check_login(client, &login).await?,
        None => true,
    };
    if !is_allowed {
        return Ok(None);
    }
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => Ipv4Addr::from(client.read_u32().await?).to_string(),
        4 => Ipv6Addr::from(client.read_u128().await?).to_string(),
        _ => field(client).await?,
    };
    let to = format!("{host}:{}", client.read_u16().await?);
    kept.lock().expect("no panic").push(ProxyRequest { to: to.clone(), is_allowed });
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok(port_of(&to))
}

fn port_of(to: &str) -> Option<String> {
    to.rsplit_once(':').map(|(_, port)| port.to_owned())
}

async fn check_login(client: &mut Client, login: &str) -> io::Result<bool> {
    client.read_u8().await?;
    let is_right = format!("{}:{}", field(client).await?, field(client).await?) == login;
    client.write_all(&[1, u8::from(!is_right)]).await?;
    Ok(is_right)
}

/// Reads a field that begins with its length.
async fn field(client: &mut Client) -> io::Result<String> {
    let mut bytes = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn echo(client: &mut Client) -> io::Result<()> {
    let (mut from, mut to) = tokio::io::split(client);
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}
