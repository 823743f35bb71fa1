//! What connections through `fumidai forward` carry, and what becomes of one when the others are slow, broken or gone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fumidai::sim::{SimConfig, SimEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::bench::Bench;
use crate::forwarding::{dial, exchange, is_reset, rest, round_trip};
use crate::run::PATIENCE;
use crate::services::{MIB, closed_port, digest, digester, echo, noise, serve, source, source_then_wait};
use crate::tools::tool;

const PORT: u16 = 7777;
const ECHO: u16 = 7;
const TO_ECHO: &str = "0:7";
const TO_PORT: &str = "0:7777";
/// More than every buffer on the way together.
const BULK: usize = 24 * MIB;
/// What the process may have at most.
const MEMORY: usize = 64 * MIB;

/// A bench with a service and an echo, and an agent that reads much at once: small messages cost a debug build too much.
async fn bench(service: SocketAddr) -> Bench {
    let bench = Bench::new().port(PORT, service).port(ECHO, echo().await);
    bench.agent(|agent| agent.payload_size = 16 << 10).start().await
}

/// Takes nothing, and says nothing.
async fn deaf() -> SocketAddr {
    serve(|stream| async move {
        let _stream = stream;
        std::future::pending().await
    })
    .await
}

/// Sends bulk to a client that sends `b`, and echoes the bytes of others.
async fn bulk_or_echo(data: Vec<u8>) -> SocketAddr {
    let data = std::sync::Arc::new(data);
    serve(move |mut stream| {
        let data = data.clone();
        async move {
            let mut first = [0];
            if stream.read_exact(&mut first).await.is_err() {
                return;
            }
            if first == *b"b" {
                let _ = stream.write_all(&data).await;
                let _ = stream.shutdown().await;
                return;
            }
            let _ = stream.write_all(&first).await;
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        }
    })
    .await
}

/// Reads nothing from a client that sends `d`, and echoes the bytes of others.
async fn deaf_or_echo() -> SocketAddr {
    serve(|mut stream| async move {
        let mut first = [0];
        if stream.read_exact(&mut first).await.is_err() {
            return;
        }
        if first == *b"d" {
            std::future::pending::<()>().await;
        }
        let _ = stream.write_all(&first).await;
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    })
    .await
}

#[tokio::test]
async fn frames_may_be_split_anywhere() {
    for payload_size in [1, 7, 1024] {
        let bench = Bench::new().port(ECHO, echo().await);
        let bench = bench.agent(|agent| agent.payload_size = payload_size).start().await;
        let forward = bench.forward(&["-L", TO_ECHO]).await;
        let exchanges = (0..4).map(|seed| {
            let local = forward.local[0].clone();
            async move { exchange(dial(&local).await, &noise(seed, 500 * payload_size.min(100))).await }
        });
        futures_util::future::join_all(exchanges).await;
        forward.end().await;
        bench.settle().await;
    }
}

#[tokio::test]
async fn a_slow_reader_is_waited_for_and_others_go_on() {
    let data = noise(1, BULK);
    let bench = bench(bulk_or_echo(data.clone()).await).await;
    let forward = bench.forward(&["-L", TO_PORT]).await;
    let mut fast = forward.dial().await;
    round_trip(&mut fast, b"fast").await;
    let mut slow = forward.dial().await;
    slow.write_all(b"b").await.unwrap();
    // Its session stands still once the buffers are full; connections that are made then go to another.
    let mut new = loop {
        let mut stream = forward.dial().await;
        if timeout(Duration::from_millis(500), round_trip(&mut stream, &noise(2, 10_000))).await.is_ok()
            && bench.started() == 2
        {
            break stream;
        }
    };
    round_trip(&mut new, b"hello").await;
    let (heard, ()) = tokio::join!(rest(&mut slow), round_trip(&mut fast, b"after"));
    assert_eq!((heard.len(), digest(&heard)), (data.len(), digest(&data)));
    assert!(forward.peak() < MEMORY, "{} bytes", forward.peak());
    assert_eq!((bench.started(), forward.notes().as_str()), (2, ""));
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_destination_that_does_not_read_stops_neither_others_nor_new_ones() {
    let bench = bench(deaf_or_echo().await).await;
    let forward = bench.forward(&["-L", TO_PORT]).await;
    let mut early = forward.dial().await;
    round_trip(&mut early, b"early").await;
    let mut stuck = forward.dial().await;
    stuck.write_all(b"d").await.unwrap();
    let filling = async { stuck.write_all(&vec![0; 64 * MIB]).await };
    let filled = timeout(Duration::from_secs(2), filling).await;
    assert!(filled.is_err(), "it takes only what can be sent");
    // What is stuck in the agent is stuck; a connection made now goes elsewhere.
    let mut new = forward.dial().await;
    round_trip(&mut new, &noise(2, 100_000)).await;
    assert_eq!(bench.started(), 2);
    assert!(forward.peak() < MEMORY, "{} bytes", forward.peak());
    drop(stuck);
    forward.end().await;
    bench.settle().await;
}

/// The longest of some round trips of 100 bytes.
async fn latency(stream: &mut TcpStream) -> Duration {
    let mut longest = Duration::ZERO;
    for seed in 0..20 {
        let asked = Instant::now();
        round_trip(stream, &noise(seed, 100)).await;
        longest = longest.max(asked.elapsed());
    }
    longest
}

#[tokio::test]
async fn a_small_request_does_not_wait_for_bulk() {
    let data = noise(1, BULK);
    let bench = bench(bulk_or_echo(data.clone()).await).await;
    let forward = bench.forward(&["-L", TO_PORT]).await;
    let mut small = forward.dial().await;
    round_trip(&mut small, b"hello").await;
    let mut download = forward.dial().await;
    download.write_all(b"b").await.unwrap();
    let (slowest, heard) = tokio::join!(latency(&mut small), rest(&mut download));
    assert!(slowest < Duration::from_secs(1), "{slowest:?} beside a download");
    assert_eq!(digest(&heard), digest(&data));
    let upload = exchange(forward.dial().await, &data);
    let (slowest, ()) = tokio::join!(latency(&mut small), upload);
    assert!(slowest < Duration::from_secs(1), "{slowest:?} beside an upload");
    assert!(forward.peak() < MEMORY, "{} bytes", forward.peak());
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn two_hundred_open_connections_cost_little() {
    let bench = bench(echo().await).await;
    let forward = bench.forward(&["-L", TO_ECHO]).await;
    let data = noise(6, 20_000);
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(forward.dial().await);
    }
    futures_util::future::join_all(open.iter_mut().map(|stream| round_trip(stream, &data))).await;
    futures_util::future::join_all(open.iter_mut().map(|stream| round_trip(stream, b"again"))).await;
    assert!(forward.peak() < MEMORY, "{} bytes", forward.peak());
    assert_eq!(bench.started(), 1);
    let finished = forward.end().await;
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    bench.settle().await;
}

/// Says something two seconds after it was asked.
async fn late(answer: &'static [u8]) -> SocketAddr {
    serve(move |mut stream| async move {
        let mut question = [0; 9];
        if stream.read_exact(&mut question).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_late_reply_reaches_a_client_that_has_ended_its_input() {
    let bench = bench(late(b"the answer").await).await;
    let forward = bench.forward(&["-L", TO_PORT]).await;
    let port = forward.port().to_string();
    let nc = bench.run(&tool("nc")).args(["-N", "127.0.0.1", &port]).input("question\n").finish();
    let address = format!("TCP:127.0.0.1:{port}");
    let socat = bench.run(&tool("socat")).args(["-t", "30", "-", &address]).input("question\n").finish();
    let (nc, socat) = tokio::join!(nc, socat);
    assert_eq!((nc.exits(0).silent().text(), socat.exits(0).silent().text()), ("the answer", "the answer"));
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_connection_without_input_ends_by_linger() {
    let bench = bench(deaf().await).await;
    let forward = bench.forward(&["-L", TO_PORT, "--linger", "1"]).await;
    let mut client = forward.dial().await;
    client.write_all(b"and that is all").await.unwrap();
    client.shutdown().await.unwrap();
    let asked = Instant::now();
    assert_eq!(rest(&mut client).await, b"");
    assert!(asked.elapsed() >= Duration::from_millis(900), "{:?}", asked.elapsed());
    let session = bench.session();
    assert_eq!(bench.simulator.record(&session).unwrap().streams[&3].bytes_written, 15);
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_reset_of_the_application_ends_the_stream() {
    let ended = std::sync::Arc::new(tokio::sync::Notify::new());
    let tell = ended.clone();
    let service = serve(move |mut stream| {
        let tell = tell.clone();
        async move {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes).await;
            tell.notify_one();
        }
    });
    let bench = bench(service.await).await;
    let forward = bench.forward(&["-L", TO_PORT]).await;
    let mut client = forward.dial().await;
    client.write_all(b"hello").await.unwrap();
    bench.see("a dial", |event| matches!(event, SimEvent::Dialed { .. })).await;
    client.set_zero_linger().unwrap();
    drop(client);
    timeout(PATIENCE, ended.notified()).await.expect("the destination sees the end");
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_destination_that_closes_or_resets_ends_the_connection() {
    let service = serve(|mut stream| async move {
        let mut word = [0];
        let _ = stream.read_exact(&mut word).await;
        let _ = stream.write_all(b"last words").await;
        if word == *b"r" {
            stream.set_zero_linger().unwrap();
        }
    });
    let bench = bench(service.await).await;
    let forward = bench.forward(&["-L", TO_PORT]).await;
    let mut client = forward.dial().await;
    client.write_all(b"c").await.unwrap();
    assert_eq!(rest(&mut client).await, b"last words");
    let mut client = forward.dial().await;
    client.write_all(b"r").await.unwrap();
    assert!(b"last words".starts_with(rest(&mut client).await.as_slice()));
    assert_eq!(bench.started(), 1);
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn transfers_in_both_directions_are_exact() {
    let data = noise(3, 4 * MIB + 1);
    let bench = bench(digester(data.len()).await).await;
    let forward = bench.forward(&["-L", TO_PORT]).await;
    let uploads = (0..4).map(|_| async {
        let mut client = forward.dial().await;
        client.write_all(&data).await.unwrap();
        assert_eq!(rest(&mut client).await, digest(&data).into_bytes());
    });
    futures_util::future::join_all(uploads).await;
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_source_that_closes_is_read_to_its_end() {
    let data = noise(4, 4 * MIB + 1);
    let bench = bench(source(data.clone()).await).await;
    let forward = bench.forward(&["-L", TO_PORT]).await;
    let mut clients = [forward.dial().await, forward.dial().await, forward.dial().await];
    let heard = futures_util::future::join_all(clients.iter_mut().map(rest)).await;
    assert!(heard.iter().all(|heard| digest(heard) == digest(&data)));
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_port_that_refuses_is_told_and_works_once_it_is_open() {
    let port = closed_port().await;
    let bench = Bench::new().port(PORT, port).start().await;
    let mut forward = bench.forward(&["-L", TO_PORT]).await;
    for _ in 0..2 {
        let mut client = forward.dial().await;
        let from = client.local_addr().unwrap();
        is_reset(&mut client).await;
        let cause = forward.failure().await;
        let expected = format!(
            "connection from {from}: localhost:7777 refused it, or i-0123456789abcdef0 cannot reach it"
        );
        assert_eq!(cause, expected);
        assert!(forward.notes().ends_with(&expected), "{}", forward.notes());
    }
    let listener = TcpListener::bind(port).await.unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"open now").await.unwrap();
    };
    let mut client = forward.dial().await;
    let (heard, ()) = tokio::join!(rest(&mut client), serve);
    assert_eq!(heard, b"open now");
    assert_eq!(bench.started(), 1);
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn hosts_that_cannot_be_reached_reset_their_connections_only() {
    let bench = bench(source_then_wait(noise(5, 1000)).await).await;
    let specs = ["-L", "0:no-such-host.invalid:80", "-L", "0:169.254.169.254:80", "-L", TO_ECHO];
    let mut forward = bench.forward(&specs).await;
    is_reset(&mut dial(&forward.local[0]).await).await;
    let cause = forward.failure().await;
    assert!(cause.contains("no-such-host.invalid:80 refused it, or "), "{cause}");
    is_reset(&mut dial(&forward.local[1]).await).await;
    let cause = forward.failure().await;
    assert!(cause.starts_with("169.254.169.254:80: ") && cause.contains("is forbidden"), "{cause}");
    round_trip(&mut dial(&forward.local[2]).await, b"hello").await;
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn an_agent_that_ignores_the_host_is_refused_before_any_byte() {
    let host = |config: &mut SimConfig| config.agent.agent_version = "3.1.1187.0".to_owned();
    let bench = Bench::new().port(ECHO, echo().await).configure(host).start().await;
    for eager in [false, true] {
        let mut forward = bench.forward_command(["-L", "0:db.internal:7"]);
        if eager {
            forward = forward.args(["--eager"]);
        }
        let forward = crate::forwarding::Forward::start(forward, 1).await;
        let client = if eager { None } else { Some(forward.dial().await) };
        if let Some(mut client) = client {
            client.write_all(b"for the database").await.unwrap();
            is_reset(&mut client).await;
        }
        let finished = forward.running.finish().await.exits(15);
        assert!(
            finished.stderr.contains("3.1.1187.0") && finished.stderr.contains("3.1.1188.0"),
            "{}",
            finished.stderr
        );
    }
    let dials = bench.simulator.journal().count(|event| matches!(event, SimEvent::Dialed { .. }));
    assert_eq!(dials, 0);
    // The target's own ports need no host.
    let forward = bench.forward(&["-L", TO_ECHO]).await;
    round_trip(&mut forward.dial().await, b"hello").await;
    forward.end().await;
    bench.settle().await;
}
