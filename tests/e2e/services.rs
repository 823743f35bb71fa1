//! TCP servers as destinations of sessions, and test data.

use std::net::SocketAddr;
use std::sync::Arc;

use fumidai::sim::agent::message::sha256;
use fumidai::sim::rng::Rng;
use fumidai::sim::sigv4::hex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const MIB: usize = 1 << 20;

/// Serves the connections to a free port until the test's runtime ends.
pub async fn serve<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    address
}

/// Echoes the bytes that it receives.
pub async fn echo() -> SocketAddr {
    serve(|mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    })
    .await
}

/// Sends bytes, then closes.
pub async fn source(bytes: Vec<u8>) -> SocketAddr {
    let bytes = Arc::new(bytes);
    serve(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

/// Sends bytes, then waits until the client closes the connection.
pub async fn source_then_wait(data: Vec<u8>) -> SocketAddr {
    serve(move |mut stream| {
        let data = data.clone();
        async move {
            let _ = stream.write_all(&data).await;
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await
}

/// Receives `length` bytes, sends their digest, then closes.
pub async fn digester(length: usize) -> SocketAddr {
    serve(move |mut stream| async move {
        let mut bytes = vec![0; length];
        if stream.read_exact(&mut bytes).await.is_ok() {
            let _ = stream.write_all(digest(&bytes).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

/// Returns a port on which no process listens.
pub async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Returns pseudo-random bytes; the same seed gives the same bytes.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..length.div_ceil(8)).flat_map(|_| rng.next_u64().to_be_bytes()).take(length).collect()
}

pub fn digest(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}
