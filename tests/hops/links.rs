//! The link below a chain: cut during a transfer, and ended by a signal.

use std::time::{Duration, Instant};

use fumidai::sim::faults::{CutKind, CutWhen};
use fumidai::sim::{Detach, SimConfig, SimEvent};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::time::timeout;

use crate::network::Machine;
use crate::openssh::script;
use crate::run::{PATIENCE, Running};
use crate::services::{MIB, digest, noise};
use crate::world::World;

const LARGE: usize = 6 * MIB;
/// Time limit for the exit after a signal.
const EXIT_LIMIT: Duration = Duration::from_secs(2);

/// Alternates resets and closes by the service.
fn cuts(config: &mut SimConfig) {
    // The real agent's payload size is slow in a debug build.
    config.agent.payload_size = 16 << 10;
    for number in 0..2 {
        config.faults.cut(CutWhen::Bytes(700_000 + number * 12_345), CutKind::Reset, 1);
        config.faults.cut(CutWhen::Bytes(900_000 + number * 54_321), CutKind::Bye, 1);
    }
}

fn count_of_cuts(world: &World) -> usize {
    let journal = world.bench.simulator.journal();
    journal.count(|event| matches!(event, SimEvent::Detached { why: Detach::Cut(_), .. }))
}

async fn upload(world: &World) {
    let data = noise(1, LARGE);
    let sent = world.run("ssh third sha256sum").input(data.clone()).finish().await.exits(0).silent();
    assert_eq!(sent.text(), format!("{}  -\n", digest(&data)));
}

async fn download(world: &World) {
    let data = noise(2, LARGE);
    let file = world.bench.write("large", &data);
    let fetched = world.run(&format!("ssh third cat {}", file.display())).finish().await.exits(0).silent();
    assert_eq!((fetched.stdout.len(), digest(&fetched.stdout)), (LARGE, digest(&data)));
}

#[tokio::test]
async fn an_upload_over_three_hops_survives_cuts() {
    let world = World::new().by_ssh_only().configure(cuts).start().await;
    upload(&world).await;
    assert_eq!((count_of_cuts(&world), world.connections()), (4, [1, 1, 1]));
    world.bench.settle().await;
}

#[tokio::test]
async fn a_download_over_three_hops_survives_cuts() {
    let world = World::new().by_ssh_only().configure(cuts).start().await;
    download(&world).await;
    assert_eq!((count_of_cuts(&world), world.connections()), (4, [1, 1, 1]));
    world.bench.settle().await;
}

#[tokio::test]
async fn transfers_by_the_agent_survive_cuts() {
    let world = World::new().configure(cuts).start().await;
    upload(&world).await;
    assert_eq!((count_of_cuts(&world), world.connections()), (4, [0, 1, 1]));
    world.bench.simulator.change_faults(|faults| faults.cut(CutWhen::Bytes(2_000_000), CutKind::Reset, 1));
    download(&world).await;
    assert_eq!((count_of_cuts(&world), world.connections()), (5, [0, 2, 2]));
    world.bench.settle().await;
}

#[tokio::test]
async fn a_login_at_a_hop_survives_cuts_by_time() {
    // Each link is cut shortly after it opens: during the key exchange or the logins.
    let by_time = |config: &mut SimConfig| {
        config.faults.cut(CutWhen::After(Duration::from_millis(60)), CutKind::Reset, 1);
        config.faults.cut(CutWhen::After(Duration::from_millis(90)), CutKind::Bye, 1);
    };
    let world = World::new().by_ssh_only().configure(by_time).start().await;
    let mut ssh = world.run("ssh third cat").start();
    for kind in [CutKind::Reset, CutKind::Bye] {
        let is_cut = |event: &SimEvent| matches!(event, SimEvent::Detached { why: Detach::Cut(cut), .. } if *cut == kind);
        world.bench.see("a cut", is_cut).await;
    }
    ssh.round_trip(&noise(1, 1000)).await;
    ssh.close_and_finish().await.exits(0).silent();
    assert_eq!(world.connections(), [1, 1, 1]);
    world.bench.settle().await;
}

/// Checks that a process exits on a signal, and ends its session.
async fn assert_exits(world: &World, running: Running, signal: Signal) {
    let asked = Instant::now();
    running.signal(signal);
    let finished = running.finish().await.exits(128 + signal.as_raw()).silent();
    assert!(asked.elapsed() < EXIT_LIMIT, "exited after {:?}", asked.elapsed());
    assert_eq!(finished.text(), "");
    world.bench.settle().await;
}

/// Connects to the third machine with an askpass program that never exits. The returned reader reaches EOF when the
/// program exits.
async fn start_with_open_question(world: &World) -> (Running, BufReader<Receiver>) {
    let (fifo, program) = (world.bench.path("asks"), world.bench.path("askpass"));
    world.run("mkfifo asks").finish().await.exits(0);
    let mut questions = BufReader::new(OpenOptions::new().open_receiver(&fifo).unwrap());
    script(&program, &format!("exec 9> {}; echo asks >&9; exec sleep 1000", fifo.display()));
    let run = world.run("fumidai connect third").env("SSH_ASKPASS", program);
    let running = run.env("SSH_ASKPASS_REQUIRE", "force").start();
    let mut line = String::new();
    while line.is_empty() {
        // A FIFO without a writer returns EOF.
        tokio::task::yield_now().await;
        timeout(PATIENCE, questions.read_line(&mut line)).await.expect("askpass starts").unwrap();
    }
    (running, questions)
}

#[tokio::test]
async fn a_signal_withdraws_a_question() {
    for signal in [Signal::TERM, Signal::HUP] {
        let world = World::new().by_ssh_only().start().await;
        let identity = world.app.path("identity");
        let lock = format!("ssh-keygen -q -p -P '' -N 'open sesame' -f {}", identity.display());
        world.run(&lock).finish().await.exits(0);
        world.use_fumidai_for_all_after("Host appserver\n    BatchMode no\n").await;
        let (running, mut questions) = start_with_open_question(&world).await;
        assert_exits(&world, running, signal).await;
        let ended = timeout(PATIENCE, questions.read_line(&mut String::new())).await;
        assert_eq!(ended.expect("askpass exits").unwrap(), 0);
    }
}

#[tokio::test]
async fn a_signal_ends_a_login_that_hangs() {
    for signal in [Signal::TERM, Signal::HUP] {
        let world = World::new().by_ssh_only().start().await;
        // A hop that reads and never answers.
        let (listener, host, port, _) = world.listen(crate::network::Machine::App, 2222);
        world.configure(&world.hosts("", "").replace(
            &format!("address = '{}'\nport = {}\n", world.app.host, world.app.port),
            &format!("address = '{host}'\nport = {port}\nroute = 'ssh'\n"),
        ));
        let running = world.run("fumidai connect third").start();
        let (_silent, _) = listener.accept().await.unwrap();
        assert_exits(&world, running, signal).await;
    }
}

#[tokio::test]
async fn a_signal_ends_a_transfer() {
    for signal in [Signal::TERM, Signal::HUP] {
        for route in ["", "route = 'ssh'\n"] {
            let world = World::new().app(route).start().await;
            let echo = world.echo(Machine::Third, 7);
            let (host, port) = echo.split_once(':').unwrap();
            world.configure(
                &world.hosts(route, &format!("[hosts.echo]\naddress = '{host}'\nvia = 'appserver'\n")),
            );
            let mut running = world.run(&format!("fumidai connect echo {port}")).start();
            running.round_trip(&noise(1, MIB / 2)).await;
            assert_exits(&world, running, signal).await;
        }
    }
}

#[tokio::test]
async fn input_before_eof_survives_an_outage() {
    let world = World::new().by_ssh_only().start().await;
    let (listener, host, port, _) = world.listen(Machine::Third, 9);
    world.configure(
        &world.hosts("route = 'ssh'\n", &format!("[hosts.sink]\naddress = '{host}'\nvia = 'appserver'\n")),
    );
    let mut running = world.run(&format!("fumidai connect sink {port}")).start();
    running.say(b"hello").await;
    let (mut sink, _) = listener.accept().await.unwrap();
    sink.read_exact(&mut [0; 5]).await.unwrap();
    // The failed attempts take longer than the linger time of `connect`.
    world.bench.simulator.change_faults(|faults| {
        faults.upgrades.push(fumidai::sim::faults::UpgradeFault { status: 503, times: 5 });
    });
    world.bench.simulator.cut_all(CutKind::Reset);
    let is_refusal = |event: &SimEvent| matches!(event, SimEvent::Upgrade { status: 503, .. });
    world.bench.see("a refusal", is_refusal).await;
    let data = noise(1, 400_000);
    running.say(&data).await;
    running.close_and_finish().await.exits(0).silent();
    let mut received = Vec::new();
    timeout(PATIENCE, sink.read_to_end(&mut received)).await.unwrap().unwrap();
    assert_eq!((received.len(), digest(&received)), (data.len(), digest(&data)));
    world.bench.settle().await;
}

#[tokio::test]
async fn a_signal_during_an_outage_ends_it() {
    let world = World::new().by_ssh_only().start().await;
    let echo = world.echo(Machine::Third, 7);
    let (host, port) = echo.split_once(':').unwrap();
    world.configure(
        &world.hosts("route = 'ssh'\n", &format!("[hosts.echo]\naddress = '{host}'\nvia = 'appserver'\n")),
    );
    let mut running = world.run(&format!("fumidai connect echo {port}")).start();
    running.round_trip(b"hello").await;
    world.bench.simulator.change_faults(|faults| {
        faults.upgrades.push(fumidai::sim::faults::UpgradeFault { status: 503, times: 1000 });
    });
    world.bench.simulator.cut_all(CutKind::Reset);
    let is_refusal = |event: &SimEvent| matches!(event, SimEvent::Upgrade { status: 503, .. });
    world.bench.see("a refusal", is_refusal).await;
    assert_exits(&world, running, Signal::TERM).await;
}
