//! What stands between fumidai and the service: a recorder of the API's words, and proxies.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::services::serve;

/// A plain relay that keeps what the other side answers.
pub struct Recorder {
    pub address: SocketAddr,
    answers: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    pub async fn start(service: SocketAddr) -> Self {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let kept = answers.clone();
        let address = serve(move |client| {
            let kept = kept.clone();
            async move {
                let _ = relay(client, service, &kept).await;
            }
        })
        .await;
        Self { address, answers }
    }

    /// Returns a string of the JSON answers so far, as the value of `"TokenValue"`.
    pub fn string(&self, key: &str) -> String {
        let answers = String::from_utf8_lossy(&self.answers.lock().unwrap()).into_owned();
        let start = format!("\"{key}\":\"");
        let (_, rest) = answers.split_once(&start).expect("it was answered");
        rest.split('"').next().unwrap().to_owned()
    }
}

async fn relay(client: TcpStream, service: SocketAddr, kept: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_service, mut to_service) = TcpStream::connect(service).await?.into_split();
    let back = async {
        let mut buffer = vec![0; 65536];
        loop {
            let length = from_service.read(&mut buffer).await?;
            if length == 0 {
                return to_client.shutdown().await;
            }
            kept.lock().unwrap().extend_from_slice(&buffer[..length]);
            to_client.write_all(&buffer[..length]).await?;
        }
    };
    tokio::try_join!(tokio::io::copy(&mut from_client, &mut to_service), back).map(drop)
}

/// A CONNECT proxy that asks for a name and a password, or a SOCKS proxy.
pub struct Proxy {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// One CONNECT: whereto, and whether it was let through.
pub type Request = (String, bool);

impl Proxy {
    pub async fn start(user: &str, password: &str) -> Self {
        let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = requests.clone();
        let address = serve(move |client| {
            let (kept, expected) = (kept.clone(), expected.clone());
            async move {
                let _ = tunnel(client, &expected, &kept).await;
            }
        })
        .await;
        Self { address, requests }
    }

    pub async fn socks() -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = requests.clone();
        let address = serve(move |client| {
            let kept = kept.clone();
            async move {
                let _ = socks(client, &kept).await;
            }
        })
        .await;
        Self { address, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn tunnel(client: TcpStream, expected: &str, kept: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let (mut target, mut is_allowed) = (String::new(), false);
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        } else if let Some(rest) = line.strip_prefix("CONNECT ") {
            target = rest.split(' ').next().unwrap_or_default().to_owned();
        } else if let Some((name, value)) = line.split_once(": ") {
            is_allowed |= name.eq_ignore_ascii_case("proxy-authorization") && value == expected;
        }
    }
    kept.lock().unwrap().push((target.clone(), is_allowed));
    if !is_allowed {
        return client
            .write_all(
                b"HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm=\"x\"\r\ncontent-length: 0\r\n\r\n",
            )
            .await;
    }
    let mut service = TcpStream::connect(&target).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut client, &mut service).await.map(drop)
}

/// Carries one connection by SOCKS 5, without a login.
async fn socks(mut client: TcpStream, kept: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    read_field(&mut client, 1).await?;
    client.write_all(&[5, 0]).await?;
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => Ipv4Addr::from(client.read_u32().await?).to_string(),
        4 => format!("[{}]", Ipv6Addr::from(client.read_u128().await?)),
        _ => read_field(&mut client, 0).await?,
    };
    let target = format!("{host}:{}", client.read_u16().await?);
    kept.lock().unwrap().push((target.clone(), true));
    let mut service = TcpStream::connect(&target).await?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    tokio::io::copy_bidirectional(&mut client, &mut service).await.map(drop)
}

/// Reads a field that begins with its length, behind `skip` bytes.
async fn read_field(client: &mut TcpStream, skip: usize) -> std::io::Result<String> {
    client.read_exact(&mut vec![0; skip]).await?;
    let mut bytes = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
