//! `fumidai connect` by itself: standard input and output of every kind, and how a session ends.

use std::fs::File;
use std::time::Duration;

use fumidai::sim::{SimConfig, SimEvent};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::Bench;
use crate::services::{MIB, closed_port, digest, digester, echo, noise, serve, source, source_then_wait};

const PORT: u16 = 7777;

#[tokio::test]
async fn a_reply_after_the_end_of_input_is_delivered() {
    let service = serve(|mut stream| async move {
        let mut question = [0; 8];
        stream.read_exact(&mut question).await.unwrap();
        stream.write_all(&noise(1, MIB)).await.unwrap();
        // The service keeps the connection open: the session ends by our silence.
        let _ = stream.read(&mut question).await;
    });
    let bench = Bench::new().port(PORT, service.await).start().await;
    let finished = bench.connect(PORT, &[]).input("question").finish().await.exits(0).silent();
    assert_eq!(digest(&finished.stdout), digest(&noise(1, MIB)));
    bench.settle().await;
}

#[tokio::test]
async fn silence_after_the_end_of_input_ends_the_session_by_linger() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    let brief = bench.connect(PORT, &["--linger", "1"]).input("x").finish().await.exits(0).silent();
    let patient = bench.connect(PORT, &["--linger", "4"]).input("x").finish().await.exits(0).silent();
    assert_eq!((brief.text(), patient.text()), ("x", "x"));
    assert!(patient.took >= Duration::from_secs(4), "{:?}", patient.took);
    bench.settle().await;
}

#[tokio::test]
async fn a_peer_that_closes_ends_the_session() {
    let data = noise(2, MIB);
    let bench = Bench::new().port(PORT, source(data.clone()).await).start().await;
    // Our input stays open.
    let finished = bench.connect(PORT, &[]).start().finish().await.exits(0).silent();
    assert_eq!(digest(&finished.stdout), digest(&data));
    bench.settle().await;
}

#[tokio::test]
async fn a_refused_port_is_told_with_hints() {
    let port = closed_port().await;
    let bench = Bench::new().port(PORT, port).start().await;
    let finished = bench.connect(PORT, &[]).start().finish().await.exits(15);
    let why = format!("Unable to connect to specified port: dial tcp {port}: connect: connection refused");
    assert_eq!(finished.cause(), format!("port 7777 of `i-0123456789abcdef0` cannot be reached: {why}"));
    let hint = "\nfumidai: hint: check that something listens on port 7777 there\n";
    assert!(finished.stderr.ends_with(hint), "{}", finished.stderr);
    assert_eq!(finished.stdout, b"");
    bench.settle().await;
}

#[tokio::test]
async fn files_can_be_standard_input_and_output() {
    let data = noise(3, 3 * MIB + 1);
    let bench = Bench::new().port(PORT, digester(data.len()).await).start().await;
    let (input, output) = (bench.write("input", &data), bench.path("output"));
    let connect = bench.connect(PORT, &[]).stdin(File::open(&input).unwrap());
    connect.finish_into(File::create(&output).unwrap()).await.exits(0).silent();
    assert_eq!(std::fs::read_to_string(&output).unwrap(), digest(&data));
    bench.settle().await;
}

#[tokio::test]
async fn input_from_dev_null_still_gets_what_the_peer_says() {
    let data = noise(4, MIB);
    let bench = Bench::new().port(PORT, source(data.clone()).await).start().await;
    let finished = bench.connect(PORT, &[]).finish().await.exits(0).silent();
    assert_eq!(digest(&finished.stdout), digest(&data));
    bench.settle().await;
}

#[tokio::test]
async fn a_terminate_by_the_service_is_reported() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    let mut connect = bench.connect(PORT, &[]).start();
    connect.round_trip(b"hello").await;
    bench.simulator.end_session(&bench.session(), "Your session timed out due to inactivity");
    let finished = connect.finish().await.exits(18);
    let cause = "the session was ended by the far side: Your session timed out due to inactivity";
    assert_eq!(finished.cause(), cause);
    bench.settle().await;
}

#[tokio::test]
async fn the_request_names_document_port_and_reason() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    let options = ["--reason", "ticket 4711", "--linger", "0"];
    bench.connect(PORT, &options).finish().await.exits(0).silent();
    let session = bench.simulator.sessions().remove(0);
    assert_eq!(session.document, "AWS-StartSSHSession");
    assert_eq!(session.parameters["portNumber"][0], "7777");
    assert_eq!(session.reason.as_deref(), Some("ticket 4711"));
    bench.settle().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_slow_reader_costs_no_memory_and_loses_nothing() {
    const LENGTH: usize = 64 * MIB;
    let data = noise(5, LENGTH);
    let port = source_then_wait(data.clone()).await;
    let large_reads = |config: &mut SimConfig| config.agent.payload_size = 16 << 10;
    let bench = Bench::new().port(PORT, port).configure(large_reads).start().await;
    let mut connect = bench.connect(PORT, &[]).start();
    connect.hear(1).await;
    until_nothing_moves(&bench).await;
    let rest = connect.hear(LENGTH - 1).await;
    assert_eq!(digest(&rest), digest(&data[1..]));
    let peak = peak_memory(connect.id());
    assert!(peak < 64 * MIB, "{peak}");
    connect.signal(Signal::TERM);
    connect.finish().await.exits(143).silent();
    bench.settle().await;
}

#[cfg(target_os = "linux")]
/// Waits until the agent has sent nothing for a second: everything between it and the reader is full.
async fn until_nothing_moves(bench: &Bench) {
    let session = bench.session();
    let mut before = 0;
    loop {
        let sent = bench.simulator.record(&session).unwrap().bytes_sent;
        if sent > 0 && sent == before {
            return;
        }
        before = sent;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[cfg(target_os = "linux")]
/// The most memory that a process has had, in bytes.
fn peak_memory(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn nothing_is_said_before_the_peer_can_hear_it() {
    // The agent throws away data that arrives before it believes its own handshake.
    let window = |config: &mut SimConfig| config.agent.complete_window = Duration::from_millis(5);
    let bench = Bench::new().port(PORT, echo().await).configure(window).start().await;
    for _ in 0..5 {
        let finished = bench.connect(PORT, &["--linger", "2"]).input("first words").finish().await.exits(0);
        assert_eq!(finished.text(), "first words");
    }
    bench.settle().await;
}

#[tokio::test]
async fn a_late_answer_of_the_port_loses_nothing() {
    let late = |config: &mut SimConfig| config.agent.not_ready_for = Duration::from_millis(700);
    let bench = Bench::new().port(PORT, echo().await).configure(late).start().await;
    let mut connect = bench.connect(PORT, &[]).start();
    connect.round_trip(&noise(6, 100_000)).await;
    connect.close_and_finish().await.exits(0).silent();
    bench.see("a dial", |event| matches!(event, SimEvent::Dialed { port: PORT, error: None, .. })).await;
    bench.settle().await;
}
