//! The simulator as others use it: the AWS CLI against its API, `fumidai-sim serve`, and the demo.

use std::path::Path;
use std::process::Stdio;

use fumidai::sim::faults::CutKind;
use fumidai::sim::{OFFLINE_TARGET, ONLINE_TARGET};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::bench::Bench;
use crate::run::Run;
use crate::services::echo;
use crate::tools::{aws_cli, search_path};

const ECHO: u16 = 7;
const SIM: &str = env!("CARGO_BIN_EXE_fumidai-sim");

async fn aws(bench: &Bench, args: &[&str]) -> Value {
    let run = bench.run(&aws_cli()).args(["--output", "json", "ssm"]).args(args);
    let finished = run.finish().await.exits(0);
    serde_json::from_slice(&finished.stdout).unwrap()
}

#[tokio::test]
async fn the_aws_cli_sees_and_ends_our_session() {
    let bench = Bench::new().port(ECHO, echo().await).start().await;
    let mut connect = bench.connect(ECHO, &[]).start();
    connect.round_trip(b"hello").await;
    let session = bench.session();
    let listed = aws(&bench, &["describe-sessions", "--state", "Active"]).await;
    assert_eq!(listed["Sessions"][0]["SessionId"], session.as_str());
    assert_eq!(listed["Sessions"][0]["Status"], "Connected");
    assert_eq!(listed["Sessions"][0]["Target"], ONLINE_TARGET);
    let ended = aws(&bench, &["terminate-session", "--session-id", &session]).await;
    assert_eq!(ended["SessionId"], session.as_str());
    connect.finish().await.exits(0).silent();
    let listed = aws(&bench, &["describe-sessions", "--state", "History"]).await;
    assert_eq!(listed["Sessions"][0]["Status"], "Terminated");
    bench.settle().await;
}

#[tokio::test]
async fn the_aws_cli_asks_whether_a_target_is_connected() {
    let bench = Bench::new().start().await;
    for (target, status) in [(ONLINE_TARGET, "connected"), (OFFLINE_TARGET, "notconnected")] {
        let answer = aws(&bench, &["get-connection-status", "--target", target]).await;
        assert_eq!(answer["Status"], status);
    }
}

/// A bare environment: the program brings its own simulator.
fn simulator(args: &[&str]) -> Run {
    Run::new(Path::new(SIM)).args(args).env("PATH", search_path())
}

#[tokio::test]
async fn the_demo_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let finished = simulator(&["demo"]).env("TMPDIR", folder.path()).finish().await.exits(0).silent();
    let said = finished.text();
    assert!(said.contains("hello from the far side") && said.contains("exit status 3"), "{said}");
    let digests: Vec<&str> =
        said.lines().filter_map(|line| line.trim().strip_prefix("sha256 ")?.split(' ').next()).collect();
    assert_eq!(digests.len(), 5, "{said}");
    assert!(digests[..3].iter().all(|digest| *digest == digests[0]) && digests[3] == digests[4], "{said}");
    assert!(said.contains("The websocket was reset") && said.contains("all of them are ended"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the demo leaves nothing behind");
}

/// Reads `export NAME='value';` lines.
fn exports(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("export ")?.strip_suffix("';"));
    lines.filter_map(|line| line.split_once("='")).collect()
}

#[tokio::test]
async fn a_served_simulator_is_usable_by_its_exports_and_ends_on_a_signal() {
    let echo = echo().await;
    let map = format!("{ECHO}={echo}");
    for signal in [Signal::INT, Signal::TERM] {
        let folder = tempfile::tempdir().unwrap();
        let mut serve = simulator(&["serve", "--map", &map]).env("TMPDIR", folder.path()).start();
        let mut text = String::new();
        // It lets go of its standard output once it is ready.
        serve.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
        let exports = exports(&text);
        assert!(exports.contains(&("FUMIDAI_SIM_PID", &serve.id().to_string())), "{text}");
        let connect = Run::new(Path::new(SIM)).args(["fumidai", "connect", ONLINE_TARGET, "7"]);
        let connect = exports.iter().fold(connect, |run, (name, value)| run.env(name, value));
        let connect = connect.env("HOME", folder.path()).env("XDG_STATE_HOME", folder.path());
        let finished = connect.input("served").finish().await.exits(0).silent();
        assert_eq!(finished.text(), "served");
        serve.signal(signal);
        let finished = serve.finish().await.exits(0);
        assert!(finished.stderr.contains("serving on http://127.0.0.1:"), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn one_binary_carries_fumidai_too() {
    let bench = Bench::new().port(ECHO, echo().await).start().await;
    let run = bench.run(Path::new(SIM)).args(["fumidai", "connect", ONLINE_TARGET, "7"]);
    let mut connect = run.stdin(Stdio::piped()).start();
    connect.round_trip(b"before").await;
    bench.simulator.cut_all(CutKind::Bye);
    connect.round_trip(b"after").await;
    connect.close_and_finish().await.exits(0).silent();
    bench.settle().await;
}
