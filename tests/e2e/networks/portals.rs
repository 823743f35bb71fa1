//! A captive portal, or a proxy that blocks: it answers in place of AWS, and the message says so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fumidai::sim::faults::CutKind;
use fumidai::sim::{ONLINE_TARGET, SimEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::{ECHO, connect, names, secure};
use crate::authority::Authority;
use crate::bench::Bench;
use crate::run::until;
use crate::services::{echo, serve};

const REDIRECT: &str =
    "HTTP/1.1 302 Found\r\nLocation: http://login.hotel.example/\r\nContent-Length: 0\r\n\r\n";
const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>";
/// It has what every answer of an AWS API has, but for the body.
const PAGE_OF_MOTO: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nx-amzn-requestid: 1\r\n\
    Content-Length: 13\r\n\r\n<html></html>";
const LOGIN: &str = "HTTP/1.1 511 Network Authentication Required\r\nContent-Length: 0\r\n\r\n";
const PORTAL_HINT: &str = "log in to the network in a browser";

/// What answers every request with the same text, and counts the connections.
struct Portal {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
}

impl Portal {
    async fn start(answer: &'static str) -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let address = serve(move |mut client| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move {
                // It answers what is no request, such as TLS, too.
                let _ = client.read(&mut [0; 4096]).await;
                let _ = client.write_all(answer.as_bytes()).await;
                let _ = client.read(&mut [0]).await;
            }
        })
        .await;
        Self { address, count }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

async fn read_head(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    Ok(head)
}

#[tokio::test]
async fn a_portal_that_answers_a_call_or_a_tunnel_is_named_at_once() {
    let (bench, _) = secure("localhost").await;
    for (answer, words) in [
        (REDIRECT, "a captive portal or proxy answered: HTTP 302 to http://login.hotel.example/"),
        (PAGE, "a captive portal or proxy answered: HTTP 200 with a web page"),
        (LOGIN, "a captive portal or proxy answered: HTTP 511 with a web page"),
    ] {
        for (variable, endpoint) in [
            ("HTTP_PROXY", "http://ssm.test"),
            ("HTTPS_PROXY", "https://ssm.test"),
            // Not through a proxy: the network leads every connection to the portal.
            ("NO_PROXY", ""),
        ] {
            let portal = Portal::start(answer).await;
            let place = format!("http://{}", portal.address);
            let endpoint = if endpoint.is_empty() { &place } else { endpoint };
            let run = connect(&bench).env(variable, &place).env("AWS_ENDPOINT_URL_SSM", endpoint);
            let finished = run.finish().await.exits(1);
            names(&finished, words, PORTAL_HINT);
            let start = format!("cannot reach the endpoint for StartSession, {endpoint}");
            assert!(finished.cause().starts_with(&start), "{}", finished.stderr);
            assert_eq!(portal.count(), 1, "the call is not tried again");
        }
    }
}

#[tokio::test]
async fn a_page_with_the_headers_of_aws_is_named_and_the_network_is_not_blamed() {
    let (bench, _) = secure("localhost").await;
    let portal = Portal::start(PAGE_OF_MOTO).await;
    let run = connect(&bench).env("AWS_ENDPOINT_URL_SSM", format!("http://{}", portal.address));
    let finished = run.finish().await.exits(1);
    names(&finished, "a captive portal or proxy answered: this is no answer of AWS", PORTAL_HINT);
    assert!(!finished.stderr.contains("malformed"), "{}", finished.stderr);
}

#[tokio::test]
async fn a_portal_without_tls_on_a_port_of_tls_is_named_at_once() {
    let (bench, _) = secure("localhost").await;
    let portal = Portal::start(PAGE).await;
    let endpoint = format!("https://{}", portal.address);
    let finished = connect(&bench).env("AWS_ENDPOINT_URL_SSM", &endpoint).finish().await.exits(1);
    names(&finished, "the answer is not TLS, a captive portal or proxy may have answered", PORTAL_HINT);
    assert_eq!(portal.count(), 1, "the call is not tried again");
}

/// What does TLS with a certificate for `host`, and answers with a page.
async fn page_over_tls(authority: &Authority, host: &str) -> SocketAddr {
    let acceptor = authority.acceptor(host);
    serve(move |client| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut client) = acceptor.accept(client).await else { return };
            let _ = client.read(&mut [0; 4096]).await;
            let _ = client.write_all(PAGE.as_bytes()).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_page_in_tls_is_no_answer_and_the_certificate_of_another_host_no_wrong_authority() {
    let (bench, authority) = secure("localhost").await;
    let run = |address: SocketAddr| {
        let endpoint = format!("https://localhost:{}", address.port());
        connect(&bench).env("AWS_ENDPOINT_URL_SSM", endpoint)
    };
    let blocking = page_over_tls(&authority, "localhost").await;
    let finished = run(blocking).finish().await.exits(1);
    names(&finished, "a captive portal or proxy answered: HTTP 200 with a web page", PORTAL_HINT);
    // DNS leads the name to the portal, which has a certificate of its own.
    let other = page_over_tls(&authority, "login.hotel.example").await;
    let finished = run(other).finish().await.exits(1);
    names(
        &finished,
        "certificate not valid for name \"localhost\"",
        "another machine answers: log in to the network",
    );
    assert!(!finished.stderr.contains("AWS_CA_BUNDLE"), "{}", finished.stderr);
}

/// A network whose portal answers some connections; the others reach the service.
struct Hotel {
    address: SocketAddr,
    is_closed: Arc<AtomicBool>,
    turned_away: Arc<AtomicUsize>,
}

impl Hotel {
    /// Starts an HTTP proxy that leads to the service; `blocks` decides by the head of a request, while it is closed.
    async fn start(service: SocketAddr, blocks: fn(&str) -> bool) -> Self {
        let (is_closed, turned_away) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (closed, turned) = (is_closed.clone(), turned_away.clone());
        let address = serve(move |client| {
            let (closed, turned) = (closed.clone(), turned.clone());
            let is_blocked = move |head: &str| {
                let is_blocked = closed.load(Ordering::Relaxed) && blocks(head);
                turned.fetch_add(usize::from(is_blocked), Ordering::Relaxed);
                is_blocked
            };
            async move {
                let _ = lead(client, service, is_blocked).await;
            }
        })
        .await;
        Self { address, is_closed, turned_away }
    }

    fn close(&self, is_closed: bool) {
        self.is_closed.store(is_closed, Ordering::Relaxed);
    }

    fn turned_away(&self) -> usize {
        self.turned_away.load(Ordering::Relaxed)
    }
}

async fn lead(mut client: TcpStream, to: SocketAddr, blocks: impl Fn(&str) -> bool) -> std::io::Result<()> {
    let mut head = read_head(&mut client).await?;
    if head.starts_with(b"CONNECT ") {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        head = read_head(&mut client).await?;
    }
    if blocks(&String::from_utf8_lossy(&head).to_lowercase()) {
        return client.write_all(PAGE.as_bytes()).await;
    }
    let mut service = TcpStream::connect(to).await?;
    service.write_all(&head).await?;
    copy_bidirectional(&mut client, &mut service).await.map(drop)
}

async fn plain() -> Bench {
    Bench::new().port(ECHO, echo().await).start().await
}

#[tokio::test]
async fn a_page_in_place_of_the_websocket_is_named_at_once() {
    let bench = plain().await;
    let hotel = Hotel::start(bench.simulator.address(), |head| head.contains("upgrade: websocket")).await;
    let proxy = format!("http://{}", hotel.address);
    let run = bench.connect(ECHO, &[]).without("NO_PROXY").env("HTTP_PROXY", proxy);
    let finished = run.finish().await.exits(1);
    let cause =
        "a captive portal or proxy answered the upgrade to a websocket in place of 127.0.0.1: HTTP 200";
    names(&finished, cause, "ask for websockets to that host to be let pass by the proxy");
    assert_eq!(hotel.turned_away(), 1, "the upgrade is not tried again");
    bench.settle().await;
}

#[tokio::test]
async fn a_session_outlasts_a_portal_until_the_user_has_logged_in() {
    let bench = plain().await;
    let hotel = Hotel::start(bench.simulator.address(), |_| true).await;
    hotel.close(false);
    let proxy = format!("http://{}", hotel.address);
    let mut connect = bench.connect(ECHO, &[]).without("NO_PROXY").env("HTTP_PROXY", proxy).start();
    connect.round_trip(b"before").await;
    hotel.close(true);
    bench.simulator.cut_all(CutKind::Reset);
    until("the portal answers in place of AWS", || hotel.turned_away() >= 2).await;
    hotel.close(false);
    connect.round_trip(b"after").await;
    connect.close_and_finish().await.exits(0).silent();
    let upgrades = bench.simulator.journal().count(|event| matches!(event, SimEvent::Upgrade { .. }));
    assert_eq!(upgrades, 2);
    bench.settle().await;
}

#[tokio::test]
async fn doctor_names_the_portal_as_the_broken_link() {
    let (bench, _) = secure("localhost").await;
    for (answer, detail) in
        [(REDIRECT, "HTTP 302 to http://login.hotel.example/"), (PAGE, "HTTP 200 with a web page")]
    {
        let portal = Portal::start(answer).await;
        let run = bench.fumidai(["doctor", ONLINE_TARGET]).without("NO_PROXY");
        let finished = run.env("HTTPS_PROXY", format!("http://{}", portal.address)).finish().await.exits(1);
        let text = finished.text();
        assert!(text.contains(&format!("a captive portal or proxy answered: {detail}")), "{text}");
        assert!(text.contains(PORTAL_HINT), "{text}");
    }
}
