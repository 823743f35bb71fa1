//! `fumidai forward -D`: SOCKS5 and HTTP CONNECT, with curl and by hand.

use std::net::SocketAddr;

use fumidai::sim::{SimConfig, SimEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bench::Bench;
use crate::forwarding::{Forward, rest, round_trip};
use crate::run::Finished;
use crate::services::{MIB, closed_port, digest, echo, noise, serve};
use crate::tools::tool;

const HTTP: u16 = 80;
const CLOSED: u16 = 81;
const ECHO: u16 = 7;
const HOSTS: [&str; 4] = ["web.internal", "db.internal", "10.1.2.3", "cache.internal"];
const PROXY: &[&str] = &["-D", "0"];

/// Answers every request with a page, then closes.
async fn web(page: Vec<u8>) -> SocketAddr {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", page.len());
    let answer = [head.into_bytes(), page].concat();
    serve(move |mut stream| {
        let answer = answer.clone();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

/// Hosts that only the far side knows, each with a page, an echo and a port that refuses.
async fn bench(page: &[u8]) -> Bench {
    let (web, echo, closed) = (web(page.to_vec()).await, echo().await, closed_port().await);
    let map = |config: &mut SimConfig| {
        for host in HOSTS {
            for (port, service) in [(HTTP, web), (ECHO, echo), (CLOSED, closed)] {
                config.hosts.insert((host.to_owned(), port), service);
            }
        }
    };
    Bench::new().configure(map).agent(|agent| agent.payload_size = 16 << 10).start().await
}

async fn curl(bench: &Bench, forward: &Forward, scheme: &str, url: &str) -> Finished {
    let proxy = format!("{scheme}://{}", forward.local[0]);
    let args = ["-sS", "--noproxy", "", "--proxytunnel", "--proxy", &proxy, url];
    bench.run(&tool("curl")).without("NO_PROXY").args(args).finish().await
}

/// Asks by SOCKS5, and returns the code of the answer.
async fn ask(forward: &Forward, host: &str, port: u16) -> (TcpStream, u8) {
    let mut stream = forward.dial().await;
    stream.write_all(&[5, 1, 0]).await.unwrap();
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [5, 0]);
    let length = u8::try_from(host.len()).unwrap();
    let request = [&[5, 1, 0, 3, length], host.as_bytes(), &port.to_be_bytes()].concat();
    stream.write_all(&request).await.unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await.unwrap();
    (stream, answer[1])
}

#[tokio::test]
async fn curl_reaches_names_of_the_far_side_by_socks_and_by_connect() {
    let page = noise(1, MIB);
    let bench = bench(&page).await;
    let forward = bench.forward(PROXY).await;
    for scheme in ["socks5h", "socks4a", "http"] {
        for host in ["web.internal", "10.1.2.3"] {
            let got = curl(&bench, &forward, scheme, &format!("http://{host}/")).await.exits(0).silent();
            assert_eq!(digest(&got.stdout), digest(&page), "{scheme} {host}");
        }
    }
    let got = curl(&bench, &forward, "socks4", "http://10.1.2.3/").await.exits(0).silent();
    assert_eq!(digest(&got.stdout), digest(&page), "an address by SOCKS4");
    assert_eq!(bench.started(), 2, "one session for each destination");
    let hosts: Vec<_> = bench.parameters();
    assert!(hosts.iter().all(|(document, _)| document == "AWS-StartPortForwardingSessionToRemoteHost"));
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_destination_of_the_target_itself_needs_no_host() {
    let page = noise(1, 1000);
    let web = web(page.clone()).await;
    let bench = Bench::new().port(HTTP, web).start().await;
    let forward = bench.forward(PROXY).await;
    let got = curl(&bench, &forward, "socks5h", "http://localhost/").await.exits(0);
    assert_eq!(got.stdout, page);
    assert_eq!(bench.parameters()[0].0, "AWS-StartPortForwardingSession");
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_refusal_has_its_code_or_resets() {
    let bench = bench(b"page").await;
    let mut forward = bench.forward(PROXY).await;
    let (mut stream, code) = ask(&forward, "db.internal", CLOSED).await;
    let end = stream.read(&mut [0]).await;
    match code {
        5 => assert_eq!(end.unwrap(), 0),
        code => assert!(code == 0 && end.is_err(), "{code} {end:?}"),
    }
    let cause = forward.failure().await;
    assert!(cause.contains("db.internal:81 refused it"), "{cause}");
    // What curl makes of it: no page, one way or the other.
    for scheme in ["socks5h", "http"] {
        let got = curl(&bench, &forward, scheme, "http://db.internal:81/").await;
        assert!(!got.status.success() && got.stdout.is_empty(), "{got:?}");
    }
    let (mut stream, code) = ask(&forward, "db.internal", ECHO).await;
    assert_eq!(code, 0);
    round_trip(&mut stream, b"it lives on").await;
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_session_that_cannot_be_had_is_told_in_words() {
    let bench = bench(b"page").await;
    bench.simulator.change_faults(|faults| {
        faults.fail_api("StartSession", "AccessDeniedException", "not authorized", 2);
    });
    let forward = bench.forward(PROXY).await;
    let (mut stream, code) = ask(&forward, "db.internal", ECHO).await;
    assert_eq!((code, rest(&mut stream).await), (1, Vec::new()));
    let got = curl(&bench, &forward, "http", "http://db.internal/").await;
    assert!(!got.status.success() && got.stderr.contains("504"), "{got:?}");
    let (mut stream, code) = ask(&forward, "db.internal", ECHO).await;
    assert_eq!(code, 0);
    round_trip(&mut stream, b"now").await;
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn no_more_destinations_are_open_than_may_be() {
    let bench = bench(b"page").await;
    let forward = bench.forward(&["-D", "0", "--max-sessions", "2"]).await;
    let (mut first, _) = ask(&forward, HOSTS[0], ECHO).await;
    let (mut second, _) = ask(&forward, HOSTS[1], ECHO).await;
    round_trip(&mut first, b"first").await;
    round_trip(&mut second, b"second").await;
    // The third waits until one of the others is idle.
    let release = async {
        let is_third = |event: &SimEvent| matches!(event, SimEvent::Api { operation, .. } if operation == "StartSession");
        assert_eq!(bench.simulator.journal().count(is_third), 2);
        round_trip(&mut second, b"still").await;
        first.set_zero_linger().unwrap();
        drop(first);
    };
    let ((mut third, code), ()) = tokio::join!(ask(&forward, HOSTS[2], ECHO), release);
    assert_eq!(code, 0);
    round_trip(&mut third, b"third").await;
    round_trip(&mut second, b"and second").await;
    bench.see("the end of the first", |event| matches!(event, SimEvent::Ended { .. })).await;
    assert_eq!((bench.started(), bench.simulator.open_sessions().len()), (3, 2));
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn what_is_no_request_for_a_proxy_is_refused() {
    let bench = bench(b"page").await;
    let forward = bench.forward(PROXY).await;
    let mut stream = forward.dial().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: db.internal\r\n\r\n").await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with(b"HTTP/1.1 405 "), "{}", String::from_utf8_lossy(&answer));
    forward.end().await;
    assert_eq!(bench.started(), 0);
}

#[tokio::test]
async fn other_protocols_are_closed_at_once_and_logged() {
    let bench = bench(b"page").await;
    let forward = bench.forward(&["-v", "-D", "0"]).await;
    for (bytes, seen) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00"[..], "the client sent a TLS handshake"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "the client sent an ssh identification"),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", r"the client sent `\x00\x00\x00\x08\x04\xd2\x16/`"),
    ] {
        let mut stream = forward.dial().await;
        stream.write_all(bytes).await.unwrap();
        assert_eq!(rest(&mut stream).await, b"", "{seen}");
        forward.logs(seen, 1).await;
    }
    let mut bind = forward.dial().await;
    bind.write_all(b"\x04\x02\x00\x50\x0a\x00\x00\x01\x00").await.unwrap();
    assert_eq!(rest(&mut bind).await, b"\x00\x5b\x00\x00\x00\x00\x00\x00");
    forward.end().await;
    assert_eq!(bench.started(), 0);
}

#[tokio::test]
async fn a_refusal_has_the_code_of_socks4() {
    let bench = bench(b"page").await;
    bench.simulator.change_faults(|faults| {
        faults.fail_api("StartSession", "AccessDeniedException", "not authorized", 1);
    });
    let forward = bench.forward(PROXY).await;
    let mut stream = forward.dial().await;
    stream.write_all(b"\x04\x01\x00\x07\x00\x00\x00\x01me\x00db.internal\x00").await.unwrap();
    assert_eq!(rest(&mut stream).await, b"\x00\x5b\x00\x00\x00\x00\x00\x00");
    forward.end().await;
    assert_eq!(bench.started(), 1);
}
