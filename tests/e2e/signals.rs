//! What ends fumidai from outside: the service hears of it within 1.5 s, and the process is gone within 2 s.

use std::time::{Duration, Instant};

use fumidai::sim::faults::{ApiEffect, ApiFault, CutKind, UpgradeFault};
use fumidai::sim::{Detach, SimEvent};
use rustix::process::Signal;

use crate::bench::{Bench, HOST};
use crate::run::{Finished, Running};
use crate::services::{MIB, echo, noise, serve};

const ECHO: u16 = 7;
const KNOWN: Duration = Duration::from_millis(1500);
const GONE: Duration = Duration::from_secs(2);

async fn bench() -> Bench {
    Bench::new().port(ECHO, echo().await).start().await
}

async fn talking(bench: &Bench) -> Running {
    let mut connect = bench.connect(ECHO, &[]).start();
    connect.round_trip(b"hello").await;
    connect
}

fn is_end(event: &SimEvent) -> bool {
    matches!(event, SimEvent::Ended { .. })
}

/// Sees what follows the end of a process that was asked to go at `asked`.
async fn leaves(bench: &Bench, connect: Running, asked: Instant) -> Finished {
    bench.see("the end of the session", is_end).await;
    let known = asked.elapsed();
    let finished = connect.finish().await;
    let gone = asked.elapsed();
    assert!(known < KNOWN, "the service knew after {known:?}");
    assert!(gone < GONE, "the process was gone after {gone:?}");
    bench.settle().await;
    finished
}

#[tokio::test]
async fn signals_end_the_session_at_the_service() {
    for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
        let bench = bench().await;
        let connect = talking(&bench).await;
        let asked = Instant::now();
        connect.signal(signal);
        leaves(&bench, connect, asked).await.exits(128 + signal.as_raw()).silent();
    }
}

#[tokio::test]
async fn a_signal_behind_data_that_nobody_takes_ends_the_session() {
    // A peer that reads nothing: our data stays unacknowledged, and the terminate flag queues behind it.
    let deaf = serve(|stream| async move {
        let _stream = stream;
        std::future::pending().await
    });
    let bench = Bench::new().port(ECHO, deaf.await).start().await;
    let mut connect = bench.connect(ECHO, &[]).start();
    let more_than_it_takes = vec![0; 64 * MIB];
    let filled = tokio::time::timeout(Duration::from_secs(2), connect.say(&more_than_it_takes)).await;
    assert!(filled.is_err(), "it takes only what can be sent");
    let asked = Instant::now();
    connect.signal(Signal::TERM);
    leaves(&bench, connect, asked).await.exits(143).silent();
    assert_eq!(bench.simulator.journal().calls("TerminateSession"), 1);
}

#[tokio::test]
async fn a_reader_that_goes_ends_the_session_without_a_write() {
    let bench = bench().await;
    let mut connect = talking(&bench).await;
    let asked = Instant::now();
    connect.stdout = None;
    leaves(&bench, connect, asked).await.exits(141).silent();
}

#[tokio::test]
async fn a_signal_during_start_session_ends_what_it_started() {
    let bench = bench().await;
    bench.simulator.change_faults(|faults| {
        let (operation, effect) = ("StartSession".to_owned(), ApiEffect::Delay(Duration::from_millis(600)));
        faults.api.push(ApiFault { operation, effect, times: 1 });
    });
    let connect = bench.connect(ECHO, &[]).start();
    bench.see("the call", |event| matches!(event, SimEvent::Api { .. })).await;
    let asked = Instant::now();
    connect.signal(Signal::TERM);
    leaves(&bench, connect, asked).await.exits(143).silent();
    assert_eq!(bench.simulator.journal().calls("TerminateSession"), 1);
}

#[tokio::test]
async fn a_signal_during_an_outage_ends_the_session_by_the_api() {
    let bench = bench().await;
    let connect = talking(&bench).await;
    bench.simulator.change_faults(|faults| faults.upgrades.push(UpgradeFault { status: 503, times: 1000 }));
    bench.simulator.cut_all(CutKind::Reset);
    bench.see("a refusal", |event| matches!(event, SimEvent::Upgrade { status: 503, .. })).await;
    let asked = Instant::now();
    connect.signal(Signal::HUP);
    leaves(&bench, connect, asked).await.exits(129).silent();
    assert_eq!(bench.simulator.journal().calls("TerminateSession"), 1);
}

#[tokio::test]
async fn a_signal_in_a_black_hole_ends_the_session_by_the_api() {
    let bench = bench().await;
    let connect = talking(&bench).await;
    bench.simulator.cut_all(CutKind::BlackHole);
    let is_cut = |event: &SimEvent| matches!(event, SimEvent::Detached { why: Detach::Cut(_), .. });
    bench.see("the cut", is_cut).await;
    let asked = Instant::now();
    connect.signal(Signal::TERM);
    leaves(&bench, connect, asked).await.exits(143).silent();
    assert_eq!(bench.simulator.journal().calls("TerminateSession"), 1);
}

#[tokio::test]
async fn an_ssh_that_is_killed_leaves_no_session() {
    let bench = Bench::new().sshd().start().await;
    let mut ssh = bench.ssh([HOST, "cat"]).start();
    ssh.round_trip(&noise(1, 1000)).await;
    let asked = Instant::now();
    ssh.signal(Signal::KILL);
    bench.see("the end of the session", is_end).await;
    let known = asked.elapsed();
    assert!(known < KNOWN + Duration::from_secs(1), "the service knew after {known:?}");
    bench.settle().await;
}

#[tokio::test]
async fn a_stop_from_the_terminal_does_not_stop_it() {
    let bench = bench().await;
    let mut connect = talking(&bench).await;
    connect.signal(Signal::TSTP);
    connect.round_trip(b"still here").await;
    connect.close_and_finish().await.exits(0).silent();
    bench.settle().await;
}
