//! `fumidai forward` to a target behind hops: logs in to the target itself, whose sshd connects to the remote.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::ChildStdout;
use tokio::time::timeout;

use crate::network::Machine;
use crate::run::{Finished, PATIENCE, Running};
use crate::services::{MIB, digest, noise};
use crate::world::{BY_AGENT, World};

/// Time limit for the exit after a signal.
const EXIT_LIMIT: Duration = Duration::from_secs(2);

/// A `fumidai forward` process that listens.
pub struct Forward {
    running: Running,
    lines: Lines<BufReader<ChildStdout>>,
    pub local: Vec<String>,
}

impl Forward {
    /// Runs `fumidai forward` with these arguments, and waits for that number of listeners.
    pub async fn start(world: &World, arguments: &str, listeners: usize) -> Self {
        let mut running = world.run(&format!("fumidai forward --json {arguments}")).start();
        let lines = BufReader::new(running.stdout.take().unwrap()).lines();
        let mut forward = Self { running, lines, local: Vec::new() };
        for _ in 0..listeners {
            let line = forward.event().await;
            assert_eq!(line["event"], "listening", "{line}");
            forward.local.push(line["local"].as_str().unwrap().to_owned());
        }
        forward
    }

    async fn event(&mut self) -> Value {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("an event in time").unwrap();
        serde_json::from_str(&line.expect("the process runs")).unwrap()
    }

    /// Returns cause and exit code of the next `failed` event.
    async fn failure(&mut self) -> (String, Value) {
        loop {
            let line = self.event().await;
            if line["event"] == "failed" {
                return (line["cause"].as_str().unwrap().to_owned(), line["exit"].clone());
            }
        }
    }

    async fn dial(&self, number: usize) -> TcpStream {
        TcpStream::connect(&self.local[number]).await.unwrap()
    }

    pub async fn interrupt(self) -> Finished {
        let asked = Instant::now();
        self.running.signal(Signal::INT);
        let finished = self.running.finish().await.exits(130);
        assert!(asked.elapsed() < EXIT_LIMIT, "exited after {:?}", asked.elapsed());
        finished
    }
}

/// Sends bytes to an echo server and receives them, concurrently.
async fn round_trip(stream: &mut TcpStream, length: usize) {
    let data = noise(5, length);
    let mut received = vec![0; length];
    let (mut reader, mut writer) = stream.split();
    let work = async { tokio::join!(writer.write_all(&data), reader.read_exact(&mut received)) };
    let (wrote, read) = timeout(PATIENCE, work).await.expect("it answers");
    wrote.and(read.map(drop)).unwrap();
    assert_eq!(digest(&received), digest(&data));
}

/// Requests an IPv4 address from a SOCKS5 proxy; returns the reply code.
async fn ask_proxy(stream: &mut TcpStream, address: &str) -> u8 {
    let address: std::net::SocketAddrV4 = address.parse().unwrap();
    stream.write_all(&[5, 1, 0]).await.unwrap();
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await.unwrap();
    assert_eq!(chosen, [5, 0]);
    let mut request = vec![5, 1, 0, 1];
    request.extend(address.ip().octets());
    request.extend(address.port().to_be_bytes());
    stream.write_all(&request).await.unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await.unwrap();
    answer[1]
}

/// Writes an address in the usual form, as a SOCKS client does.
fn numeric(world: &World, address: &str) -> String {
    let (host, port) = address.split_once(':').unwrap();
    let last = host.strip_prefix("127.").filter(|rest| !rest.contains('.'));
    match (&*world.network, last) {
        (crate::network::Network::Loopback, Some(last)) => format!("127.0.0.{last}:{port}"),
        _ => address.to_owned(),
    }
}

#[tokio::test]
async fn a_port_that_only_the_last_hop_reaches_is_forwarded() {
    let world = World::new().start().await;
    let echo = world.echo(Machine::Third, 7);
    let (_, port) = echo.split_once(':').unwrap();
    let host = if echo.starts_with("127.") { echo.split(':').next().unwrap() } else { "localhost" };
    let forward = Forward::start(&world, &format!("third -L 0:{host}:{port} -L 0:{echo}"), 2).await;
    assert_eq!(world.bench.simulator.sessions().len(), 0, "no hop is connected before the first client");
    let (mut one, mut two) = (forward.dial(0).await, forward.dial(1).await);
    tokio::join!(round_trip(&mut one, MIB), round_trip(&mut two, MIB));
    assert_eq!((world.connections(), world.documents().as_slice()), ([0, 1, 1], &[BY_AGENT.to_owned()][..]));
    forward.interrupt().await;
    world.bench.settle().await;
}

#[tokio::test]
async fn eof_of_one_direction_is_forwarded() {
    let world = World::new().by_ssh_only().start().await;
    let echo = world.echo(Machine::Third, 7);
    let forward = Forward::start(&world, &format!("appserver -L 0:{echo}"), 1).await;
    let mut stream = forward.dial(0).await;
    stream.write_all(b"all of it").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut received = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut received)).await.unwrap().unwrap();
    assert_eq!(received, "all of it");
    forward.interrupt().await;
    world.bench.settle().await;
}

#[tokio::test]
async fn a_silent_peer_is_closed_after_the_end_of_input() {
    let world = World::new().by_ssh_only().start().await;
    let (listener, host, port, _) = world.listen(Machine::Third, 9);
    let forward = Forward::start(&world, &format!("appserver -L 0:{host}:{port} --linger 1"), 1).await;
    let mut stream = forward.dial(0).await;
    stream.shutdown().await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    assert_eq!(peer.read(&mut [0]).await.unwrap(), 0, "the peer receives EOF and sends nothing");
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0])).await.unwrap().unwrap(), 0);
    forward.interrupt().await;
    world.bench.settle().await;
}

#[tokio::test]
async fn a_reader_that_stops_does_not_hold_up_new_connections() {
    let world = World::new().by_ssh_only().start().await;
    let (listener, host, port, _) = world.listen(Machine::Third, 9);
    let endless = tokio::spawn(async move {
        let (mut source, _) = listener.accept().await.unwrap();
        while source.write_all(&[7; 1 << 16]).await.is_ok() {}
    });
    let echo = world.echo(Machine::Third, 7);
    let forward = Forward::start(&world, &format!("appserver -L 0:{host}:{port} -L 0:{echo}"), 2).await;
    let _stopped = forward.dial(0).await;
    while world.connections()[0] < 2 {
        let mut stream = forward.dial(1).await;
        let _ = timeout(Duration::from_millis(300), round_trip(&mut stream, 1000)).await;
    }
    round_trip(&mut forward.dial(1).await, 1000).await;
    assert_eq!(world.connections()[0], 2, "one more hop connection is enough");
    forward.interrupt().await;
    endless.await.unwrap();
    world.bench.settle().await;
}

#[tokio::test]
async fn a_proxy_connects_to_every_address_that_the_hop_reaches() {
    let world = World::new().start().await;
    let echo = numeric(&world, &world.echo(Machine::Third, 7));
    let (closed, host, port, _) = world.listen(Machine::Third, 9);
    drop(closed);
    let forward = Forward::start(&world, "appserver -D 0", 1).await;
    let mut stream = forward.dial(0).await;
    assert_eq!(ask_proxy(&mut stream, &echo).await, 0);
    round_trip(&mut stream, MIB / 4).await;
    let mut refused = forward.dial(0).await;
    let answer = ask_proxy(&mut refused, &numeric(&world, &format!("{host}:{port}"))).await;
    assert_eq!(answer, 5, "connection refused");
    round_trip(&mut stream, MIB / 4).await;
    forward.interrupt().await;
    world.bench.settle().await;
}

#[tokio::test]
async fn a_forward_of_the_config_file_uses_its_targets_via() {
    let world = World::new().by_ssh_only().start().await;
    let echo = world.echo(Machine::Third, 7);
    let more = format!("[forwards.orders]\ntarget = 'third'\nlocal = '127.0.0.1:0'\nremote = '{echo}'\n");
    world.configure(&world.hosts("route = 'ssh'\n", &more));
    let forward = Forward::start(&world, "orders --eager", 1).await;
    let mut stream = forward.dial(0).await;
    round_trip(&mut stream, MIB / 4).await;
    assert_eq!(world.connections(), [1, 1, 1]);
    forward.interrupt().await;
    world.bench.settle().await;
}

#[tokio::test]
async fn a_lost_hop_is_connected_again() {
    for number in 0..3 {
        let world = World::new().by_ssh_only().start().await;
        let echo = world.echo(Machine::Third, 7);
        let forward = Forward::start(&world, &format!("third -L 0:{echo}"), 1).await;
        let mut stream = forward.dial(0).await;
        round_trip(&mut stream, 1000).await;
        world.nodes()[number].cut();
        let lost = timeout(PATIENCE, stream.read(&mut [0])).await.unwrap();
        assert!(lost.is_err(), "a lost connection is reset, not ended");
        let mut stream = forward.dial(0).await;
        round_trip(&mut stream, 1000).await;
        assert_eq!(world.connections(), [2, 2, 2]);
        forward.interrupt().await;
        world.bench.settle().await;
    }
}

#[tokio::test]
async fn a_refused_port_is_a_reset_and_one_line() {
    let world = World::new().start().await;
    let echo = world.echo(Machine::Third, 7);
    let (closed, host, port, _) = world.listen(Machine::Third, 9);
    drop(closed);
    let mut forward = Forward::start(&world, &format!("third -L 0:{host}:{port} -L 0:{echo}"), 2).await;
    let mut refused = forward.dial(0).await;
    assert!(timeout(PATIENCE, refused.read(&mut [0])).await.unwrap().is_err());
    let (cause, exit) = forward.failure().await;
    let expected = format!("`third` cannot open a connection to {host}:{port}: Connection refused");
    assert!(cause.ends_with(&expected), "{cause}");
    assert_eq!(exit, 15);
    let mut stream = forward.dial(1).await;
    round_trip(&mut stream, 1000).await;
    let finished = forward.interrupt().await;
    let lines = finished.stderr.lines().filter(|line| line.contains("cannot open a connection")).count();
    assert_eq!(lines, 1, "{}", finished.stderr);
    assert_eq!(world.connections(), [0, 1, 1], "a refusal keeps the hop connection");
    world.bench.settle().await;
}

#[tokio::test]
async fn a_hop_that_is_down_is_reported_and_retried() {
    let mut world = World::new().by_ssh_only().start().await;
    let echo = world.echo(Machine::Third, 7);
    let mut forward = Forward::start(&world, &format!("third -L 0:{echo}"), 1).await;
    world.app.stop().await;
    for _ in 0..2 {
        let mut stream = forward.dial(0).await;
        assert!(timeout(PATIENCE, stream.read(&mut [0])).await.unwrap().is_err());
        let (cause, exit) = forward.failure().await;
        assert!(cause.contains("`bastion` cannot open a connection to"), "{cause}");
        assert_eq!(exit, 15);
    }
    forward.interrupt().await;
    world.bench.settle().await;
}

#[tokio::test]
async fn an_interrupt_during_the_logins_ends_the_session() {
    let world = World::new().by_ssh_only().start().await;
    let (silent, host, port, _) = world.listen(Machine::App, 2222);
    world.configure(&world.hosts("", "").replace(
        &format!("address = '{}'\nport = {}\n", world.app.host, world.app.port),
        &format!("address = '{host}'\nport = {port}\nroute = 'ssh'\n"),
    ));
    let forward = Forward::start(&world, "third -L 0:localhost:22", 1).await;
    let _stream = forward.dial(0).await;
    let (_connection, _) = silent.accept().await.unwrap();
    forward.interrupt().await;
    world.bench.settle().await;
}

#[tokio::test]
async fn connections_that_wait_for_the_same_login_share_its_failure() {
    let world = World::new().by_ssh_only().start().await;
    let (silent, host, port, _) = world.listen(Machine::App, 2222);
    world.configure(&world.hosts("", "").replace(
        &format!("address = '{}'\nport = {}\n", world.app.host, world.app.port),
        &format!("address = '{host}'\nport = {port}\nroute = 'ssh'\n"),
    ));
    let mut forward = Forward::start(&world, "third -L 0:localhost:22 --connect-timeout 2", 1).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(forward.dial(0).await);
    }
    let (_connection, _) = silent.accept().await.unwrap();
    for mut stream in streams {
        assert!(timeout(PATIENCE, stream.read(&mut [0])).await.unwrap().is_err());
        let (cause, exit) = forward.failure().await;
        assert!(cause.contains("`appserver` did not answer for 2 s while exchanging keys"), "{cause}");
        assert_eq!(exit, 16);
    }
    assert_eq!(world.bench.simulator.sessions().len(), 1);
    forward.interrupt().await;
    world.bench.settle().await;
}

/// Lets clients connect again and again, each as soon as it was reset, until that many attempts were made.
async fn retry_until(forward: &Forward, attempts: usize, made: impl Fn() -> usize) {
    let client = async || {
        loop {
            let mut stream = forward.dial(0).await;
            let end = timeout(PATIENCE, stream.read(&mut [0])).await.expect("an end in time");
            assert!(!matches!(end, Ok(1..)), "there is nothing to be read");
        }
    };
    let enough = async {
        while made() < attempts {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = futures_util::future::join_all((0..4).map(|_| client())) => {}
        enough = timeout(PATIENCE, enough) => enough.expect("the attempts are made in time"),
    }
}

/// The pauses before the second and the third attempt.
const PAUSES: Duration = Duration::from_secs(3);

#[tokio::test]
async fn clients_in_a_loop_cause_a_denied_session_only_after_pauses() {
    let world = World::new().by_ssh_only().start().await;
    world.bench.simulator.change_faults(|faults| {
        faults.fail_api("StartSession", "AccessDeniedException", "not authorized", 1000);
    });
    let forward = Forward::start(&world, "third -L 0:localhost:22", 1).await;
    let began = Instant::now();
    let calls = || world.bench.simulator.journal().calls("StartSession");
    retry_until(&forward, 3, calls).await;
    assert!(began.elapsed() >= PAUSES, "3 calls within {:?}", began.elapsed());
    forward.interrupt().await;
    assert_eq!(calls(), 3);
}

#[tokio::test]
async fn clients_in_a_loop_cause_a_login_that_fails_only_after_pauses() {
    let world = World::new().by_ssh_only().start().await;
    std::fs::remove_file(world.third.path("authorized_keys")).unwrap();
    let forward = Forward::start(&world, "third -L 0:localhost:22", 1).await;
    let began = Instant::now();
    retry_until(&forward, 3, || world.third.connections()).await;
    assert!(began.elapsed() >= PAUSES, "3 logins within {:?}", began.elapsed());
    forward.interrupt().await;
    assert_eq!(world.connections(), [3, 3, 3]);
    world.bench.settle().await;
}

#[tokio::test]
async fn clients_in_a_loop_cause_a_login_that_is_lost_at_once_only_after_pauses() {
    let world = World::new().by_ssh_only().start().await;
    let (listener, host, port, _) = world.listen(Machine::Third, 9);
    let forward = Forward::start(&world, &format!("third -L 0:{host}:{port}"), 1).await;
    let began = Instant::now();
    let cutting = async {
        loop {
            let _connection = listener.accept().await.unwrap();
            world.third.cut();
        }
    };
    tokio::select! {
        () = cutting => {}
        // The second one is opened at once.
        () = retry_until(&forward, 4, || world.third.connections()) => {}
    }
    assert!(began.elapsed() >= PAUSES, "4 logins within {:?}", began.elapsed());
    forward.interrupt().await;
    world.bench.settle().await;
}

#[tokio::test]
async fn a_closed_client_is_closed_at_the_destination_at_once() {
    let world = World::new().by_ssh_only().start().await;
    let (listener, host, port, _) = world.listen(Machine::Third, 9);
    let forward = Forward::start(&world, &format!("third -L 0:{host}:{port} --linger 600"), 1).await;
    let mut half_closed = forward.dial(0).await;
    half_closed.shutdown().await.unwrap();
    let (mut late, _) = listener.accept().await.unwrap();
    for _ in 0..10 {
        let mut client = forward.dial(0).await;
        client.write_all(b"a job").await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        drop(client);
        let mut received = String::new();
        timeout(PATIENCE, peer.read_to_string(&mut received)).await.unwrap().unwrap();
        assert_eq!(received, "a job");
        // The destination may send until its connection is closed.
        let closed = async { while peer.write_all(b"an answer").await.is_ok() {} };
        timeout(PATIENCE, closed).await.expect("it is closed in both directions");
    }
    late.write_all(b"late").await.unwrap();
    drop(late);
    let mut answer = String::new();
    timeout(PATIENCE, half_closed.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "late");
    forward.interrupt().await;
    world.bench.settle().await;
}
