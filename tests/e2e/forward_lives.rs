//! The sessions of `fumidai forward`: cut and resumed, ended and opened again, and all ended when it ends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fumidai::sim::faults::{ApiEffect, ApiFault, CutKind, CutWhen};
use fumidai::sim::link::LinkConfig;
use fumidai::sim::{AgentLoss, Detach, Faults, SessionInfo, SimConfig, SimEvent};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::Bench;
use crate::forwarding::{Forward, dial, exchange, is_reset, rest, round_trip};
use crate::run::{PATIENCE, until};
use crate::services::{MIB, digest, digester, echo, noise, serve, source};

const ECHO: u16 = 7;
const PORT: u16 = 7777;
const TO_ECHO: &[&str] = &["-L", "0:7"];
/// What the log says once a session's end is known here, too.
const OVER: &str = "a session of the forward has ended";
const TIMED_OUT: &str = "Your session timed out due to inactivity and has been terminated.";

async fn bench() -> Bench {
    Bench::new().port(ECHO, echo().await).start().await
}

/// A service beside the echo, faults, and an agent that reads much more in a second than the real one; so it has to mend
/// much more after a cut, and does not take a tenth of a second for each message.
async fn bench_with(service: SocketAddr, faults: impl FnOnce(&mut Faults)) -> Bench {
    let bench = Bench::new().port(ECHO, echo().await).port(PORT, service).faults(faults);
    let quick = |config: &mut SimConfig| {
        config.agent = config.agent.clone().quick_to_resend();
        config.agent.payload_size = 16 << 10;
        config.agent.read_interval = Duration::from_micros(500);
    };
    bench.configure(quick).start().await
}

/// Says something in a connection of its own, and waits until nothing is left of that.
async fn talk(bench: &Bench, forward: &Forward) {
    let client = talking(forward).await;
    client.set_zero_linger().unwrap();
    drop(client);
    let is_closed = |session: &SessionInfo| {
        let record = bench.simulator.record(&session.id).unwrap();
        record.streams.values().all(|stream| stream.fin_received)
    };
    until("its stream ends", || bench.simulator.open_sessions().iter().all(is_closed)).await;
}

fn cuts(bench: &Bench) -> usize {
    bench.simulator.journal().count(|event| matches!(event, SimEvent::Detached { why: Detach::Cut(_), .. }))
}

/// Three connections at once send and receive so much.
async fn exchanges(forward: &Forward, length: usize) {
    let each = (0..3).map(|seed| async move { exchange(forward.dial().await, &noise(seed, length)).await });
    futures_util::future::join_all(each).await;
}

/// A connection in which something has been said.
async fn talking(forward: &Forward) -> TcpStream {
    let mut client = forward.dial().await;
    round_trip(&mut client, b"before").await;
    client
}

#[tokio::test]
async fn cuts_by_bytes_are_not_noticed() {
    let data = noise(1, 8 * MIB);
    let bench = bench_with(digester(data.len()).await, |faults| {
        for (bytes, how) in [(1_500_000, CutKind::Reset), (1_600_001, CutKind::Bye)].repeat(2) {
            faults.cut(CutWhen::Bytes(bytes), how, 1);
        }
    })
    .await;
    let forward = bench.forward(&["-L", "0:7", "-L", "0:7777"]).await;
    let upload = async {
        let mut client = dial(&forward.local[1]).await;
        client.write_all(&data).await.unwrap();
        assert_eq!(rest(&mut client).await, digest(&data).into_bytes());
    };
    tokio::join!(upload, exchanges(&forward, MIB));
    assert_eq!((cuts(&bench), bench.started(), forward.notes().as_str()), (4, 2, ""));
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn cuts_by_time_are_not_noticed() {
    let data = noise(2, 12 * MIB);
    let bench = bench_with(source(data.clone()).await, |faults| {
        faults.cut(CutWhen::After(Duration::from_millis(150)), CutKind::Bye, 2);
        faults.cut(CutWhen::After(Duration::from_millis(100)), CutKind::Reset, 2);
    })
    .await;
    let forward = bench.forward(&["-L", "0:7777"]).await;
    let (mut one, mut other) = (forward.dial().await, forward.dial().await);
    let (one, other) = tokio::join!(rest(&mut one), rest(&mut other));
    assert_eq!((digest(&one), digest(&other)), (digest(&data), digest(&data)));
    assert_eq!((cuts(&bench), bench.started(), forward.notes().as_str()), (4, 1, ""));
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_black_hole_is_noticed_and_left() {
    let bench = bench_with(echo().await, |faults| {
        faults.cut(CutWhen::Bytes(1_000_000), CutKind::BlackHole, 1);
    })
    .await;
    let forward = bench.forward(&["-L", "0:7", "--keepalive", "1"]).await;
    exchanges(&forward, MIB).await;
    assert_eq!((cuts(&bench), bench.started()), (1, 1));
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_bad_link_is_not_noticed() {
    let link = LinkConfig {
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(1),
        loss: 0.005,
        duplicate: 0.01,
        reorder: 0.02,
        reorder_depth: 20,
        ..LinkConfig::default()
    };
    let bench = bench_with(echo().await, |faults| faults.set_link(link)).await;
    let forward = bench.forward(TO_ECHO).await;
    exchanges(&forward, 2 * MIB).await;
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_session_may_be_resumed_at_another_address() {
    let bench = bench().await;
    let forward = bench.forward(TO_ECHO).await;
    let mut client = talking(&forward).await;
    bench.simulator.change_faults(|faults| {
        let (operation, effect) = ("ResumeSession".to_owned(), ApiEffect::NewStreamUrl);
        faults.api.push(ApiFault { operation, effect, times: 1 });
    });
    bench.simulator.cut_all(CutKind::Reset);
    round_trip(&mut client, &noise(1, 100_000)).await;
    round_trip(&mut talking(&forward).await, b"and a new one").await;
    assert_eq!((bench.started(), bench.simulator.journal().calls("ResumeSession")), (1, 1));
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_connection_that_is_made_while_the_link_is_down_waits() {
    let bench = bench().await;
    let forward = bench.forward(TO_ECHO).await;
    let mut client = talking(&forward).await;
    bench.simulator.change_faults(|faults| {
        let effect = ApiEffect::Delay(Duration::from_millis(700));
        faults.api.push(ApiFault { operation: "ResumeSession".to_owned(), effect, times: 1 });
    });
    bench.simulator.cut_all(CutKind::Reset);
    bench.see("the cut", |event| matches!(event, SimEvent::Detached { why: Detach::Cut(_), .. })).await;
    tokio::join!(async { drop(talking(&forward).await) }, round_trip(&mut client, b"after"));
    assert_eq!(bench.started(), 1);
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn an_agent_that_dies_takes_its_connections_and_the_next_one_has_another() {
    let bench = bench().await;
    let mut forward = bench.forward(TO_ECHO).await;
    let mut client = talking(&forward).await;
    let mut waiting = talking(&forward).await;
    bench.simulator.lose_agent(&bench.session(), AgentLoss::Closed);
    // An end in order would pass off half an answer as the whole.
    tokio::join!(is_reset(&mut client), is_reset(&mut waiting));
    let cause = forward.failure().await;
    assert!(cause.starts_with("localhost:7: the session was ended by the far side: "), "{cause}");
    assert!(cause.ends_with("; 2 connections were reset"), "{cause}");
    drop(talking(&forward).await);
    assert_eq!(bench.started(), 2);
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn connections_wait_while_an_agent_comes_back() {
    let bench = bench().await;
    let forward = bench.forward(&["-v", "-L", "0:7"]).await;
    talk(&bench, &forward).await;
    bench.simulator.change_faults(|faults| {
        faults.fail_api("StartSession", "TargetNotConnected", "i-0123456789abcdef0 is not connected.", 2);
    });
    bench.simulator.lose_agent(&bench.session(), AgentLoss::Closed);
    forward.logs(OVER, 1).await;
    let (mut one, mut other) = tokio::join!(talking(&forward), talking(&forward));
    tokio::join!(round_trip(&mut one, b"one"), round_trip(&mut other, b"other"));
    assert_eq!((bench.started(), bench.simulator.sessions().len()), (4, 2));
    assert!(!forward.notes().contains("fumidai: "), "{}", forward.notes());
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn connections_do_not_wait_for_an_agent_without_limit() {
    let bench = bench().await;
    let mut forward = bench.forward(&["-v", "-L", "0:7", "--connect-timeout", "2"]).await;
    talk(&bench, &forward).await;
    bench.simulator.change_faults(|faults| {
        faults.fail_api("StartSession", "TargetNotConnected", "i-0123456789abcdef0 is not connected.", 100);
    });
    bench.simulator.lose_agent(&bench.session(), AgentLoss::Closed);
    forward.logs(OVER, 1).await;
    let asked = Instant::now();
    is_reset(&mut forward.dial().await).await;
    assert!(asked.elapsed() > Duration::from_millis(1500), "{:?}", asked.elapsed());
    let cause = forward.failure().await;
    assert!(cause.contains("TargetNotConnected"), "{cause}");
    bench.simulator.change_faults(|faults| faults.api.clear());
    drop(talking(&forward).await);
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn an_agent_that_dies_without_a_message_does_not_hold_up_new_connections() {
    let bench = bench().await;
    let forward = bench.forward(TO_ECHO).await;
    let mut client = talking(&forward).await;
    bench.simulator.lose_agent(&bench.session(), AgentLoss::Silent);
    client.write_all(b"not received").await.unwrap();
    loop {
        let mut stream = forward.dial().await;
        if timeout(Duration::from_millis(500), round_trip(&mut stream, b"hello")).await.is_ok() {
            break;
        }
    }
    assert_eq!(bench.started(), 2);
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn an_idle_session_that_is_ended_is_opened_again_without_a_message() {
    let bench = bench().await;
    let forward = bench.forward(&["-v", "-L", "0:7"]).await;
    for (ended, output) in [TIMED_OUT, "", "Session terminated by its owner"].iter().enumerate() {
        talk(&bench, &forward).await;
        let open = bench.simulator.open_sessions();
        let [session] = open.as_slice() else { panic!("{open:?}") };
        bench.simulator.end_session(&session.id, output);
        forward.logs(OVER, ended + 1).await;
    }
    talk(&bench, &forward).await;
    assert_eq!(bench.started(), 4);
    let said = forward.end().await.stderr;
    assert_eq!(said.lines().filter(|line| line.starts_with("fumidai: ")).count(), 1, "{said}");
    bench.settle().await;
}

#[tokio::test]
async fn an_idle_session_with_a_connection_is_reported_with_a_hint_to_hold_it() {
    let bench = bench().await;
    bench.simulator.change_faults(|faults| faults.idle_timeout = Some(Duration::from_secs(1)));
    let mut forward = bench.forward(TO_ECHO).await;
    is_reset(&mut talking(&forward).await).await;
    let cause = forward.failure().await;
    assert!(cause.contains("timed out due to inactivity"), "{cause}");
    bench.simulator.change_faults(|faults| faults.idle_timeout = None);
    drop(talking(&forward).await);
    let notes = forward.notes();
    assert!(notes.contains("use `--hold` to keep a session with open connections active"), "{notes}");
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn an_old_agent_has_a_session_for_each_connection() {
    let speaks_first = serve(|mut stream| async move {
        stream.write_all(b"welcome").await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    });
    let bench = Bench::new().port(ECHO, speaks_first.await);
    let bench = bench.agent(|agent| agent.agent_version = "3.0.196.0".to_owned()).start().await;
    let forward = bench.forward(TO_ECHO).await;
    let welcomed = async |seed| {
        let mut client = forward.dial().await;
        let mut welcome = [0; 7];
        client.read_exact(&mut welcome).await.unwrap();
        assert_eq!(&welcome, b"welcome");
        round_trip(&mut client, &noise(seed, 50_000)).await;
        client
    };
    let both = async { tokio::join!(welcomed(1), welcomed(2)) };
    let both = timeout(PATIENCE, both).await.expect("two connections at once");
    assert_eq!(bench.started(), 2);
    drop(both);
    for seed in 3..6 {
        drop(timeout(PATIENCE, welcomed(seed)).await.expect("one after another"));
    }
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn signals_end_every_session_side_by_side() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let bench = bench_with(echo().await, |_| {}).await;
        let forward = bench.forward(&["-L", "0:7", "-L", "0:7777", "--sessions", "2"]).await;
        let mut clients = Vec::new();
        for local in forward.local.iter().chain(&forward.local) {
            let mut client = dial(local).await;
            round_trip(&mut client, b"hello").await;
            clients.push(client);
        }
        assert_eq!(bench.started(), 4);
        let said = forward.end_by(signal).await.stderr;
        assert_eq!(said.lines().count(), 2, "{said}");
        let ends = bench.simulator.journal().count(|event| matches!(event, SimEvent::Ended { .. }));
        assert_eq!(ends, 4, "they are ended when the process is gone");
        for client in &mut clients {
            is_reset(client).await;
        }
    }
}

#[tokio::test]
async fn a_signal_in_a_black_hole_ends_the_sessions_by_the_api() {
    let bench = bench().await;
    let forward = bench.forward(TO_ECHO).await;
    let _client = talking(&forward).await;
    bench.simulator.cut_all(CutKind::BlackHole);
    bench.see("the cut", |event| matches!(event, SimEvent::Detached { why: Detach::Cut(_), .. })).await;
    forward.end().await;
    assert_eq!(bench.simulator.journal().calls("TerminateSession"), 1);
    bench.settle().await;
}

#[tokio::test]
async fn a_signal_while_a_session_starts_leaves_none() {
    let bench = bench().await;
    bench.simulator.change_faults(|faults| {
        let (operation, effect) = ("StartSession".to_owned(), ApiEffect::Delay(Duration::from_millis(600)));
        faults.api.push(ApiFault { operation, effect, times: 1 });
    });
    let forward = bench.forward(TO_ECHO).await;
    let mut client = forward.dial().await;
    bench.see("the call", |event| matches!(event, SimEvent::Api { .. })).await;
    forward.end().await;
    is_reset(&mut client).await;
    bench.settle().await;
}

#[tokio::test]
async fn connections_are_spread_over_sessions() {
    let bench = bench().await;
    let forward = bench.forward(&["-L", "0:7", "--sessions", "4", "--eager"]).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(talking(&forward).await);
    }
    let sessions = bench.simulator.sessions();
    let opened: Vec<u64> =
        sessions.iter().map(|info| bench.simulator.record(&info.id).unwrap().streams_opened).collect();
    assert_eq!(opened, [2, 2, 2, 2]);
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn who_looks_for_leftover_sockets_opens_no_session_of_a_forward_that_lives() {
    let bench = bench().await;
    let socket = bench.path("echo.sock");
    let text = format!(
        "[forwards.echo]\ntarget = '{}'\nlocal = '{}'\nremote = '{ECHO}'\n",
        fumidai::sim::ONLINE_TARGET,
        socket.display()
    );
    let config = bench.write("config.toml", text);
    let command = |words: &[&str]| bench.fumidai(words.iter().copied()).env("FUMIDAI_CONFIG", &config);
    let forward = Forward::start(command(&["forward", "echo"]), 1).await;
    let found = command(&["doctor"]).finish().await;
    assert!(!found.text().contains("echo.sock"), "{}", found.text());
    let second = command(&["forward", "echo"]).finish().await.exits(1);
    assert!(second.cause().starts_with("cannot listen on "), "{}", second.stderr);
    forward.end().await;
    assert_eq!(bench.started(), 0);
}

#[tokio::test]
async fn a_session_without_connections_ends_and_the_next_connection_opens_another() {
    let bench = bench().await;
    let forward = bench.forward(&["-L", "0:7", "--idle-close", "1"]).await;
    assert_eq!(bench.started(), 0, "none is open before the first connection");
    let mut long = talking(&forward).await;
    drop(talking(&forward).await);
    round_trip(&mut long, b"in use").await;
    drop(long);
    until("the session ends", || bench.simulator.open_sessions().is_empty()).await;
    talking(&forward).await;
    assert_eq!((bench.started(), forward.notes().as_str()), (2, ""));
    forward.end().await;
    bench.settle().await;
}
