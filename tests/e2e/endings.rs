//! What must not go wrong at the end: nothing received is lost, nothing started is left, nothing shared is changed.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fumidai::channel::PathKnowledge;
use fumidai::sim::faults::{ApiEffect, ApiFault, CutKind, CutWhen, Oversized};
use fumidai::sim::{Faults, ONLINE_TARGET, SimEvent};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::Signal;

use crate::bench::Bench;
use crate::services::{MIB, digest, echo, noise, source, source_then_wait};

const PORT: u16 = 7777;

fn script(faults: &mut Faults, operation: &str, effect: ApiEffect) {
    faults.api.push(ApiFault { operation: operation.to_owned(), effect, times: 1 });
}

#[tokio::test]
async fn an_outage_is_not_taken_for_silence() {
    let data = noise(1, 3 * MIB);
    let bench = Bench::new().port(PORT, source_then_wait(data.clone()).await).agent(|agent| {
        *agent = agent.clone().quick_to_resend();
        agent.read_interval = Duration::from_micros(500);
        agent.payload_size = 4096;
    });
    let bench = bench.faults(|faults| {
        faults.cut(CutWhen::Bytes(1_000_000), CutKind::Reset, 1);
        script(faults, "ResumeSession", ApiEffect::Delay(Duration::from_millis(2500)));
    });
    let bench = bench.start().await;
    let finished = bench.connect(PORT, &[]).finish().await.exits(0).silent();
    assert_eq!(digest(&finished.stdout), digest(&data));
    bench.settle().await;
}

#[tokio::test]
async fn what_waits_for_a_slow_reader_is_written_after_the_end() {
    let data = noise(2, 2 * MIB);
    let bench = Bench::new().port(PORT, source(data.clone()).await).start().await;
    let mut connect = bench.connect(PORT, &[]).start();
    connect.hear(1).await;
    let session = bench.session();
    // The test does not read now, so that what arrives waits; all of it has been sent once the agent has ended.
    bench
        .see("the end", |event| matches!(event, SimEvent::Ended { session: ended, .. } if *ended == session))
        .await;
    let rest = connect.finish().await.exits(0);
    assert_eq!(digest(&rest.stdout), digest(&data[1..]));
    bench.settle().await;
}

#[tokio::test]
async fn a_lost_session_still_gives_what_it_has_received() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    let mut connect = bench.connect(PORT, &[]).start();
    let data = noise(3, MIB);
    connect.say(&data[..600_000]).await;
    connect.hear(1).await;
    let session = bench.session();
    let sent = || bench.simulator.record(&session).unwrap().bytes_sent;
    while sent() < 600_000 {
        tokio::task::yield_now().await;
    }
    bench
        .simulator
        .change_faults(|faults| faults.fail_api("ResumeSession", "DoesNotExistException", "gone", 9));
    bench.simulator.cut_all(CutKind::Bye);
    let finished = connect.finish().await.exits(17);
    assert!(data[1..600_000].starts_with(&finished.stdout));
    assert!(finished.stdout.len() > 65_536, "{} bytes: more than the pipe held", finished.stdout.len());
}

#[tokio::test]
async fn a_start_that_is_not_answered_is_not_repeated() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    bench
        .simulator
        .change_faults(|faults| script(faults, "StartSession", ApiEffect::Delay(Duration::from_secs(17))));
    let finished = bench.connect(PORT, &[]).finish().await.exits(16);
    assert_eq!(finished.cause(), "no answer to StartSession within 15 s");
    assert_eq!(bench.simulator.journal().calls("StartSession"), 1);
}

#[tokio::test]
async fn slow_credentials_do_not_keep_a_session_open() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    let keys = bench.simulator.credentials();
    let json = format!(
        r#"{{"Version":1,"AccessKeyId":"{}","SecretAccessKey":"{}"}}"#,
        keys.access_key_id, keys.secret_access_key
    );
    let (keys, config) = (bench.write("keys", json), bench.path("aws_config"));
    let process = format!("[default]\ncredential_process = sh -c 'sleep 3; cat {}'\n", keys.display());
    let config = bench.write(config.file_name().unwrap().to_str().unwrap(), process);
    let slow = bench.connect(PORT, &[]).env("AWS_CONFIG_FILE", config);
    let mut connect = slow.without("AWS_ACCESS_KEY_ID").without("AWS_SECRET_ACCESS_KEY").start();
    connect.round_trip(b"hello").await;
    bench.simulator.cut_all(CutKind::BlackHole);
    connect.say(b"unacknowledged").await;
    connect.signal(Signal::TERM);
    connect.finish().await.exits(143).silent();
    bench.settle().await;
}

#[tokio::test]
async fn a_session_that_answers_without_a_token_is_ended_all_the_same() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    bench.simulator.change_faults(|faults| script(faults, "ResumeSession", ApiEffect::EmptyToken));
    let mut connect = bench.connect(PORT, &[]).start();
    connect.round_trip(b"hello").await;
    bench.simulator.cut_all(CutKind::Reset);
    connect.finish().await.exits(17);
    assert_eq!(bench.simulator.journal().calls("TerminateSession"), 1);
    bench.settle().await;
}

#[tokio::test]
async fn a_path_that_has_come_to_refuse_a_size_is_reported() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    let mut connect = bench.connect(PORT, &[]).start();
    let learned = bench.path("home/fumidai/path.json");
    while !std::fs::read_to_string(&learned).is_ok_and(|text| text.contains(r#""proven":32768"#)) {
        connect.round_trip(&noise(5, MIB)).await;
    }
    bench.simulator.change_faults(|faults| faults.limits.message_size = Some(2048));
    bench.simulator.cut_all(CutKind::Reset);
    connect.say(&noise(6, MIB / 8)).await;
    let finished = connect.finish().await.exits(17);
    let hint = "fumidai: hint: the service may refuse large messages: try `--max-payload 1024`";
    assert!(finished.stderr.contains(hint), "{}", finished.stderr);
    assert!(!std::fs::read_to_string(learned).unwrap().contains(r#""proven":32768"#));
    bench.settle().await;
}

#[tokio::test]
async fn what_earlier_sessions_learned_of_a_path_loses_nothing_when_it_is_wrong() {
    for oversized in [Oversized::Close, Oversized::Drop] {
        outdated_knowledge(oversized).await;
    }
}

async fn outdated_knowledge(oversized: Oversized) {
    let bench = Bench::new().port(PORT, echo().await).faults(|faults| {
        faults.limits.message_size = Some(2048);
        faults.limits.oversized = oversized;
    });
    let bench = bench.start().await;
    let learned = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let known = PathKnowledge { proven: Some(32_768), refused: None };
    let entry = format!(
        r#"{{"127.0.0.1":{{"proven":{},"refused":null,"learned":{learned}}}}}"#,
        known.proven.unwrap()
    );
    std::fs::create_dir_all(bench.path("home/fumidai")).unwrap();
    let file = bench.write("home/fumidai/path.json", entry);
    let data = noise(4, MIB);
    let finished = bench.connect(PORT, &[]).input(data.clone()).finish().await.exits(0);
    assert!(finished.stdout == data);
    assert!(!std::fs::read_to_string(file).unwrap().contains(r#""proven":32768"#));
    bench.settle().await;
}

#[tokio::test]
async fn one_socket_as_both_ends_keeps_its_flags() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    let (ours, theirs) = UnixStream::pair().unwrap();
    let output = std::fs::File::from(OwnedFd::from(theirs.try_clone().unwrap()));
    let kept = theirs.try_clone().unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    let options = ["--linger", "0"];
    bench.connect(PORT, &options).stdin(OwnedFd::from(theirs)).finish_into(output).await.exits(0).silent();
    assert!(
        !fcntl_getfl(&kept).unwrap().contains(OFlags::NONBLOCK),
        "every process that shares the socket has the flag"
    );
    assert_eq!(bench.simulator.sessions()[0].target, ONLINE_TARGET);
    bench.settle().await;
}
