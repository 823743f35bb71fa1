//! Proxies that refuse: by a scheme that fumidai has not, by a rule, or since they are none.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::TcpStream;

use super::opener::tunnel_target;
use super::{connect, names, secure};
use crate::services::serve;

/// A proxy that answers everything with one text.
async fn refusing(answer: &'static str) -> SocketAddr {
    serve(move |mut client| async move {
        let _ = client.read(&mut [0; 4096]).await;
        let _ = client.write_all(answer.as_bytes()).await;
    })
    .await
}

#[tokio::test]
async fn a_refusal_of_a_proxy_names_what_mends_it() {
    let (bench, _) = secure("localhost").await;
    for (answer, cause, hint) in [
        (
            "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
            "the proxy asks for a login (HTTP 407, by Negotiate or NTLM)",
            "fumidai logs in by `Basic` only: run a local proxy that logs in",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html>",
            "the proxy refused the connection with HTTP 403",
            "ask for the host to be allowed by the proxy",
        ),
        (
            "HTTP/1.1 405 Method Not Allowed\r\n\r\n",
            "the proxy refused the connection with HTTP 405",
            "check scheme, host and port in `HTTPS_PROXY`",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", "the proxy did not answer in HTTP", "check scheme, host and port"),
    ] {
        let proxy = format!("http://{}", refusing(answer).await);
        let finished = connect(&bench).env("HTTPS_PROXY", &proxy).finish().await.exits(1);
        names(&finished, &format!("through proxy {proxy}: {cause}"), hint);
    }
    // A proxy without TLS, by the wrong scheme.
    let proxy = format!("https://{}", refusing("HTTP/1.1 400 Bad Request\r\n\r\n").await);
    let finished = connect(&bench).env("HTTPS_PROXY", &proxy).finish().await.exits(1);
    names(&finished, "TLS with the proxy: it did not answer in TLS", "check scheme, host and port");
    assert!(bench.simulator.sessions().is_empty());
}

#[tokio::test]
async fn a_proxy_that_blocks_only_the_stream_is_a_failure_at_once() {
    let (bench, authority) = secure("localhost").await;
    let port = bench.simulator.address().port();
    // The API has another name than the stream, and the proxy has a rule for the first only.
    let api = serve_as(&authority, bench.simulator.address()).await;
    let proxy = serve(move |client| async move {
        let _ = allow_only(client, api).await;
    })
    .await;
    let proxy = format!("http://{proxy}");
    let run = connect(&bench).env("HTTPS_PROXY", &proxy);
    let run = run.env("AWS_ENDPOINT_URL_SSM", format!("https://127.0.0.1:{}", api.port()));
    let finished = run.finish().await.exits(1);
    let cause = format!(
        "cannot connect to localhost through proxy {proxy}: the proxy refused the connection with HTTP 403"
    );
    assert_eq!(finished.cause(), cause, "the stream is at port {port}");
    names(&finished, &cause, "ask for the host to be allowed by the proxy");
    bench.settle().await;
}

/// Serves the API by a certificate for its address.
async fn serve_as(authority: &crate::authority::Authority, service: SocketAddr) -> SocketAddr {
    let (acceptor, connector) = (authority.acceptor("127.0.0.1"), authority.connector());
    serve(move |client| {
        let (acceptor, connector) = (acceptor.clone(), connector.clone());
        async move {
            let Ok(mut client) = acceptor.accept(client).await else { return };
            let service = TcpStream::connect(service).await.unwrap();
            let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
            let mut service = connector.connect(name, service).await.unwrap();
            let _ = copy_bidirectional(&mut client, &mut service).await;
        }
    })
    .await
}

async fn allow_only(client: TcpStream, allowed: SocketAddr) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let target = tunnel_target(&mut client).await?;
    if target != allowed.to_string() {
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
    }
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let mut service = TcpStream::connect(allowed).await?;
    copy_bidirectional(&mut client, &mut service).await.map(drop)
}
