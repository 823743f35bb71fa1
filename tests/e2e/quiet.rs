//! What a session costs while it has nothing to do, and what it still does while it has too much: wake-ups and processor
//! time of the process, and its end under a flood.
//!
//! The pings of a second, quiet session measure the time: the machine may be slow.

use std::net::SocketAddr;

use fumidai::sim::{ONLINE_TARGET, SimEvent};
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;

use crate::bench::Bench;
use crate::forwarding::{dial, round_trip};
use crate::run::{Running, until};
use crate::services::{MIB, digest, echo, noise, serve, source, source_then_wait};

const ECHO: u16 = 7;
const SOURCE: u16 = 17;
const ENDING: u16 = 19;
/// A ping every second.
const KEEPALIVE: [&str; 2] = ["--keepalive", "1"];
/// The pings for which a process is watched.
const PINGS: usize = 4;
/// Wake-ups of all threads in the time of a ping. One comes from the ping, one from its answer, and some from the clocks.
const WAKE_UPS: u64 = 20;
/// Processor time in the time of a ping, in ticks of 10 ms; a busy loop has 100.
const TICKS: u64 = 10;

/// What a process has used: wake-ups and ticks.
struct Usage(u64, u64);

impl Usage {
    fn of(process: u32) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let statuses = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")));
        let wake_ups = statuses.map(|status| field(&status.unwrap(), "voluntary_ctxt_switches:")).sum();
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        // Fields 14 and 15 of proc_pid_stat(5); the first behind the name is the third.
        let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Self(wake_ups, ticks)
    }
}

fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    value.trim().parse().unwrap()
}

/// A quiet session whose pings are counted.
struct Witness {
    connect: Running,
    session: String,
}

impl Witness {
    /// Starts it. It is the first session.
    async fn start(bench: &Bench) -> Self {
        let mut connect = bench.connect(ECHO, &KEEPALIVE).start();
        connect.round_trip(b"hello").await;
        Self { session: bench.session(), connect }
    }

    fn pings(&self, bench: &Bench) -> usize {
        let is_ping =
            |event: &SimEvent| matches!(event, SimEvent::Pinged { session } if *session == self.session);
        bench.simulator.journal().count(is_ping)
    }

    /// Waits for so many pings.
    async fn pinged(&self, bench: &Bench, times: usize) {
        let before = self.pings(bench);
        until("the witness pings", || self.pings(bench) >= before + times).await;
    }

    /// Sees that processes hardly do anything.
    async fn sees_rest(&self, bench: &Bench, processes: &[(&str, u32)]) {
        // What has just been done may still have consequences.
        self.pinged(bench, 2).await;
        let before: Vec<_> = processes.iter().map(|(_, process)| Usage::of(*process)).collect();
        self.pinged(bench, PINGS).await;
        for ((what, process), Usage(wake_ups, ticks)) in processes.iter().zip(before) {
            let after = Usage::of(*process);
            let (wake_ups, ticks) = (after.0 - wake_ups, after.1 - ticks);
            // The watch begins and ends between two pings.
            let pings = PINGS as u64 + 1;
            assert!(wake_ups <= WAKE_UPS * pings, "{what}: {wake_ups} wake-ups");
            assert!(ticks <= TICKS * pings, "{what}: {ticks} ticks");
        }
    }

    async fn end(self) {
        self.connect.close_and_finish().await.exits(0).silent();
    }
}

#[tokio::test]
async fn sessions_that_are_quiet_or_closing_or_paused_rest() {
    let (data, long) = (noise(1, MIB), noise(2, 16 * MIB));
    let bench = Bench::new().port(ECHO, echo().await).port(ENDING, source(data.clone()).await);
    let bench = bench.port(SOURCE, source_then_wait(long.clone()).await);
    let bench = bench.agent(|agent| agent.payload_size = 32 << 10).start().await;
    let witness = Witness::start(&bench).await;
    let mut paused = bench.connect(SOURCE, &KEEPALIVE).start();
    let first = paused.hear(1).await;
    let closing = closing(&bench).await;
    witness
        .sees_rest(
            &bench,
            &[
                ("a quiet session", witness.connect.id()),
                ("a paused session", paused.id()),
                ("a closing session", closing.id()),
            ],
        )
        .await;
    assert_eq!(digest(&closing.finish().await.exits(0).silent().stdout), digest(&data));
    let rest = paused.hear(long.len() - 1).await;
    assert_eq!(digest(&[first, rest].concat()), digest(&long));
    paused.close_and_finish().await.exits(0).silent();
    witness.end().await;
    bench.settle().await;
}

/// A session that the service has closed, and whose output is not read yet.
async fn closing(bench: &Bench) -> Running {
    let closing = bench.connect(ENDING, &KEEPALIVE).start();
    bench.see("the end", |event| matches!(event, SimEvent::Ended { .. })).await;
    closing
}

#[tokio::test]
async fn forwards_that_are_quiet_or_half_closed_or_paused_rest() {
    let source = source_then_wait(noise(2, 16 * MIB)).await;
    let bench = Bench::new().port(ECHO, echo_and_wait().await).port(SOURCE, source);
    let bench = bench.agent(|agent| agent.payload_size = 32 << 10).start().await;
    let witness = Witness::start(&bench).await;
    let args = ["-L", "0:7", "-L", "0:17", KEEPALIVE[0], KEEPALIVE[1], "--linger", "600"];
    let forwards = [bench.forward(&args).await, bench.forward(&args).await, bench.forward(&args).await];
    let mut quiet = forwards[0].dial().await;
    round_trip(&mut quiet, b"hello").await;
    let mut half_closed = forwards[1].dial().await;
    round_trip(&mut half_closed, b"hello").await;
    half_closed.shutdown().await.unwrap();
    let paused = dial(&forwards[2].local[1]).await;
    until("something has arrived", || paused.try_read(&mut [0]).is_ok()).await;
    witness
        .sees_rest(
            &bench,
            &[
                ("a quiet forward", forwards[0].running.id()),
                ("a half-closed connection", forwards[1].running.id()),
                ("a paused client", forwards[2].running.id()),
            ],
        )
        .await;
    for forward in forwards {
        forward.end().await;
    }
    witness.end().await;
    bench.settle().await;
}

/// An echo that does not close when its input ends.
async fn echo_and_wait() -> SocketAddr {
    serve(|mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
        std::future::pending().await
    })
    .await
}

#[tokio::test]
async fn a_signal_ends_the_process_under_a_flood_of_tiny_messages() {
    let bench = Bench::new().port(ECHO, echo().await).faults(|faults| faults.flood = true).start().await;
    let mut connect = bench.connect(ECHO, &[]).start();
    connect.round_trip(b"connect works under it").await;
    let forward = bench.forward(&["-L", "0:7"]).await;
    round_trip(&mut forward.dial().await, b"forward works too").await;
    for (running, signal) in [(connect, Signal::HUP), (forward.running, Signal::TERM)] {
        running.signal(signal);
        running.finish().await.exits(128 + signal.as_raw());
    }
    bench.settle().await;
    assert_eq!(bench.simulator.open_sessions().len(), 0);
}

#[tokio::test]
async fn an_end_of_input_ends_the_session_under_a_flood_of_tiny_messages() {
    let bench = Bench::new().port(ECHO, echo().await).faults(|faults| faults.flood = true).start().await;
    let finished = bench.connect(ECHO, &[]).input("to the echo").finish().await.exits(0).silent();
    assert_eq!(finished.text(), "to the echo");
    bench.settle().await;
    let finished = bench.fumidai(["forward", ONLINE_TARGET, "-q", "-L", "0:7", "--exec", "exit 7"]);
    finished.finish().await.exits(7).silent();
}
