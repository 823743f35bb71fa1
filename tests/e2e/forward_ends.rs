//! How a local client ends its connection to `fumidai forward`, and what the destination sees of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;

use crate::bench::Bench;
use crate::forwarding::{Forward, dial, rest, round_trip};
use crate::run::{Run, until};
use crate::services::{MIB, echo, serve};
use crate::tools::tool;

const PORT: u16 = 7777;
const ECHO: u16 = 7;
/// With this linger time, a connection ends because its client has closed.
const LONG: [&str; 2] = ["--linger", "600"];

/// Reads from its clients. To one whose input begins with `q` it answers when it is allowed to.
#[derive(Clone, Default)]
struct Service {
    open: Arc<AtomicUsize>,
    seen: Arc<AtomicUsize>,
    received: Arc<AtomicUsize>,
    answer: Arc<Notify>,
}

impl Service {
    async fn start(&self) -> SocketAddr {
        let service = self.clone();
        serve(move |stream| service.clone().handle(stream)).await
    }

    async fn handle(self, mut stream: TcpStream) {
        self.open.fetch_add(1, Ordering::SeqCst);
        self.seen.fetch_add(1, Ordering::SeqCst);
        let mut bytes = vec![0; 1 << 16];
        while let Ok(length @ 1..) = stream.read(&mut bytes).await {
            self.received.fetch_add(length, Ordering::SeqCst);
            if bytes[0] == b'q' {
                self.answer.notified().await;
                let _ = stream.write_all(b"late").await;
                break;
            }
        }
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    async fn has_seen(&self, clients: usize) {
        until("every client is connected", || self.seen.load(Ordering::SeqCst) == clients).await;
    }

    async fn has_open(&self, clients: usize) {
        until("the closed clients are closed", || self.open.load(Ordering::SeqCst) == clients).await;
    }
}

async fn bench(service: &Service) -> Bench {
    let bench = Bench::new().port(PORT, service.start().await).port(ECHO, echo().await);
    bench.agent(|agent| agent.payload_size = 16 << 10).start().await
}

#[tokio::test]
async fn closed_clients_are_closed_at_the_destination_at_once() {
    let service = Service::default();
    let bench = bench(&service).await;
    let socket = format!("{}:7777", bench.path("socket").display());
    let forward = bench.forward(&["-L", "0:7777", "-L", &socket, LONG[0], LONG[1]]).await;
    let (mut tcp, mut unix) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        tcp.push(forward.dial().await);
        unix.push(UnixStream::connect(&forward.local[1]).await.unwrap());
    }
    service.has_seen(80).await;
    drop(tcp);
    service.has_open(40).await;
    drop(unix);
    service.has_open(0).await;
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn what_a_closed_client_has_sent_is_delivered_first() {
    let service = Service::default();
    let bench = bench(&service).await;
    let forward = bench.forward(&["-L", "0:7777", LONG[0], LONG[1]]).await;
    for round in 1..=3 {
        let mut client = forward.dial().await;
        client.write_all(&vec![0; MIB]).await.unwrap();
        drop(client);
        service.has_seen(round).await;
        service.has_open(0).await;
        assert_eq!(service.received.load(Ordering::SeqCst), round * MIB);
    }
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_client_that_has_ended_its_output_has_its_answer_after_others_were_closed() {
    let service = Service::default();
    let bench = bench(&service).await;
    let socket = format!("{}:7777", bench.path("socket").display());
    let forward = bench.forward(&["-L", "0:7777", "-L", &socket, LONG[0], LONG[1]]).await;
    let mut tcp = forward.dial().await;
    let mut unix = UnixStream::connect(&forward.local[1]).await.unwrap();
    tcp.write_all(b"q").await.unwrap();
    unix.write_all(b"q").await.unwrap();
    tcp.shutdown().await.unwrap();
    unix.shutdown().await.unwrap();
    service.has_seen(2).await;
    for round in 1..=3 {
        // One that closes some time after the end of its output.
        let mut client = forward.dial().await;
        client.shutdown().await.unwrap();
        service.has_seen(2 + round).await;
        drop(client);
        service.has_open(2).await;
    }
    service.answer.notify_waiters();
    assert_eq!((rest(&mut tcp).await, rest(&mut unix).await), (b"late".to_vec(), b"late".to_vec()));
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_client_that_is_killed_while_it_reads_is_closed_at_once() {
    let service = Service::default();
    let bench = bench(&service).await;
    let forward = bench.forward(&["-L", "0:7777", LONG[0], LONG[1]]).await;
    let client = bench.run(&tool("nc")).args(["-d", "127.0.0.1", &forward.port().to_string()]).start();
    service.has_seen(1).await;
    client.signal(Signal::KILL);
    service.has_open(0).await;
    forward.end().await;
    bench.settle().await;
}

/// A forward whose process may have that many descriptors.
async fn limited(bench: &Bench, descriptors: usize, args: &[&str]) -> Forward {
    let fumidai = env!("CARGO_BIN_EXE_fumidai");
    let limited = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    let run: Run = bench.run("/bin/sh".as_ref()).args(["-c", &limited, fumidai, "forward"]);
    Forward::start(run.args([fumidai::sim::ONLINE_TARGET]).args(args), 2).await
}

#[tokio::test]
async fn the_oldest_half_closed_connections_make_room_when_descriptors_run_short() {
    let service = Service::default();
    let bench = bench(&service).await;
    let forward = limited(&bench, 40, &["-L", "0:7777", "-L", "0:7", LONG[0], LONG[1]]).await;
    let mut busy = dial(&forward.local[1]).await;
    round_trip(&mut busy, b"before").await;
    let mut half_closed = Vec::new();
    for number in 1..=60 {
        let mut client = forward.dial().await;
        client.shutdown().await.unwrap();
        service.has_seen(number).await;
        half_closed.push(client);
    }
    assert_eq!(rest(&mut half_closed[0]).await, b"", "the oldest is closed");
    let mut new = dial(&forward.local[1]).await;
    round_trip(&mut new, b"new").await;
    round_trip(&mut busy, b"the one that is open stays").await;
    let open = service.open.load(Ordering::SeqCst);
    assert!((10..40).contains(&open), "{open} of 60 are kept");
    let youngest = half_closed.last_mut().unwrap();
    assert!(youngest.try_read(&mut [0]).is_err(), "the youngest is kept");
    forward.end().await;
    bench.settle().await;
}
