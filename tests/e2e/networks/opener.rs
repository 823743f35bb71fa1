//! A company's proxy that opens TLS: it shows a certificate of its own authority and reads what passes.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::authority::Authority;
use crate::services::serve;

pub struct Opener {
    pub address: SocketAddr,
    pub authority: Arc<Authority>,
}

impl Opener {
    /// Starts the proxy; it verifies the services behind it by `connector`.
    pub async fn start(connector: TlsConnector) -> Self {
        let authority = Arc::new(Authority::new());
        let own = authority.clone();
        let address = serve(move |client| {
            let (authority, connector) = (own.clone(), connector.clone());
            async move {
                let _ = open(client, &authority, &connector).await;
            }
        })
        .await;
        Self { address, authority }
    }
}

async fn open(client: TcpStream, authority: &Authority, connector: &TlsConnector) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let target = tunnel_target(&mut client).await?;
    let host = target.rsplit_once(':').map_or(target.as_str(), |(host, _)| host).to_owned();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    let mut client = authority.acceptor(&host).accept(client).await?;
    let service = TcpStream::connect(&target).await?;
    let name = ServerName::try_from(host).unwrap();
    let mut service = connector.connect(name, service).await?;
    tokio::io::copy_bidirectional(&mut client, &mut service).await.map(drop)
}

/// Reads the head of a request; returns the target of CONNECT.
pub async fn tunnel_target(client: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut target = String::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await?;
        if line.trim_end().is_empty() {
            return Ok(target);
        }
        if let Some(rest) = line.strip_prefix("CONNECT ") {
            target = rest.split(' ').next().unwrap_or_default().to_owned();
        }
    }
}
