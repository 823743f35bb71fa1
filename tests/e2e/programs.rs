//! The simulator as its users run it: the AWS CLI against its API, `fumidai-sim serve`, and the demo.

use std::path::Path;
use std::process::Stdio;

use fumidai::sim::faults::CutKind;
use fumidai::sim::{OFFLINE_TARGET, ONLINE_TARGET};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::bench::Bench;
use crate::run::{PATIENCE, Run};
use crate::services::echo;
use crate::tools::{aws_cli, search_path};

const ECHO: u16 = 7;
const SIM: &str = env!("CARGO_BIN_EXE_fumidai-sim");

async fn aws(bench: &Bench, args: &[&str]) -> Value {
    let run = bench.run(&aws_cli()).args(["--output", "json"]).args(args);
    let finished = run.finish().await.exits(0);
    serde_json::from_slice(&finished.stdout).unwrap()
}

#[tokio::test]
async fn the_aws_cli_sees_and_ends_our_session() {
    let bench = Bench::new().port(ECHO, echo().await).start().await;
    let mut connect = bench.connect(ECHO, &[]).start();
    connect.round_trip(b"hello").await;
    let session = bench.session();
    let listed = aws(&bench, &["ssm", "describe-sessions", "--state", "Active"]).await;
    assert_eq!(listed["Sessions"][0]["SessionId"], session.as_str());
    assert_eq!(listed["Sessions"][0]["Status"], "Connected");
    assert_eq!(listed["Sessions"][0]["Target"], ONLINE_TARGET);
    let ended = aws(&bench, &["ssm", "terminate-session", "--session-id", &session]).await;
    assert_eq!(ended["SessionId"], session.as_str());
    connect.finish().await.exits(0).silent();
    let listed = aws(&bench, &["ssm", "describe-sessions", "--state", "History"]).await;
    assert_eq!(listed["Sessions"][0]["Status"], "Terminated");
    bench.settle().await;
}

#[tokio::test]
async fn the_aws_cli_asks_whether_a_target_is_connected() {
    let bench = Bench::new().start().await;
    for (target, status) in [(ONLINE_TARGET, "connected"), (OFFLINE_TARGET, "notconnected")] {
        let answer = aws(&bench, &["ssm", "get-connection-status", "--target", target]).await;
        assert_eq!(answer["Status"], status);
    }
}

#[tokio::test]
async fn the_aws_cli_gets_the_callers_identity() {
    let bench = Bench::new().start().await;
    let identity = aws(&bench, &["sts", "get-caller-identity"]).await;
    assert_eq!(identity["Account"], "123456789012");
    let arn = "arn:aws:sts::123456789012:assumed-role/simulated/alice@example.com";
    assert_eq!(identity["Arn"], arn);
}

/// Returns a run with an empty environment: the program has its own simulator.
fn simulator(args: &[&str]) -> Run {
    Run::new(Path::new(SIM)).args(args).env("PATH", search_path())
}

#[tokio::test]
async fn the_demo_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let finished = simulator(&["demo"]).env("TMPDIR", folder.path()).finish().await.exits(0).silent();
    let text = finished.text();
    assert!(text.contains("hello from the instance") && text.contains("exit status 3"), "{text}");
    let digests: Vec<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("sha256 ")?.split(' ').next()).collect();
    assert_eq!(digests.len(), 5, "{text}");
    assert!(digests[..3].iter().all(|digest| *digest == digests[0]) && digests[3] == digests[4], "{text}");
    assert!(text.contains("The websocket was reset") && text.contains("all of them have ended"), "{text}");
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
        // It closes its standard output once it accepts connections.
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
async fn the_recipe_of_the_help_waits_for_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = format!(
        r#"eval "$({SIM} serve --map {ECHO}={} &)"; {SIM} fumidai connect {ONLINE_TARGET} {ECHO}; kill "$FUMIDAI_SIM_PID""#,
        echo().await
    );
    let run = Run::new(Path::new("/bin/sh")).args(["-c", &recipe]).env("TMPDIR", folder.path());
    let run = run.env("HOME", folder.path()).env("XDG_STATE_HOME", folder.path());
    assert_eq!(run.input("served").finish().await.exits(0).text(), "served");
}

/// Runs a real ssh on a local terminal of 40 rows and 100 columns, and returns what it prints.
async fn ssh_on_a_terminal(exports: &[(&str, &str)], command: &str) -> String {
    let config = exports.iter().find(|(name, _)| *name == "FUMIDAI_SIM_SSH_CONFIG").unwrap().1;
    let (mut local, slave) = pty_process::open().unwrap();
    local.resize(pty_process::Size::new(40, 100)).unwrap();
    let ssh = pty_process::Command::new("ssh").env_clear().env("PATH", search_path()).env("TERM", "xterm");
    let ssh = ssh.envs(exports.iter().copied()).args(["-q", "-F", config, "-tt", "demo", command]);
    let mut child = ssh.kill_on_drop(true).spawn(slave).unwrap();
    let mut printed = Vec::new();
    // Reading a terminal ends with EIO once ssh has closed it.
    let _ = tokio::time::timeout(PATIENCE, local.read_to_end(&mut printed)).await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    String::from_utf8(printed).unwrap()
}

#[tokio::test]
async fn ssh_gets_a_terminal_of_its_window_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = simulator(&["serve"]).env("TMPDIR", folder.path()).start();
    let mut text = String::new();
    serve.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    let home = folder.path().to_str().unwrap();
    let exports = [exports(&text), vec![("HOME", home), ("XDG_STATE_HOME", home)]].concat();
    let printed = ssh_on_a_terminal(&exports, "tty; stty size; echo $TERM").await;
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with("/dev/"), "{printed}");
    assert_eq!(lines[1..], ["40 100", "xterm"], "{printed}");
    serve.signal(Signal::TERM);
    serve.finish().await.exits(0);
}

#[tokio::test]
async fn one_binary_has_fumidai_too() {
    let bench = Bench::new().port(ECHO, echo().await).start().await;
    let run = bench.run(Path::new(SIM)).args(["fumidai", "connect", ONLINE_TARGET, "7"]);
    let mut connect = run.stdin(Stdio::piped()).start();
    connect.round_trip(b"before").await;
    bench.simulator.cut_all(CutKind::Bye);
    connect.round_trip(b"after").await;
    connect.close_and_finish().await.exits(0).silent();
    bench.settle().await;
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_flag_and_the_shell_forgets_the_last_simulator() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let finished = simulator(&["serve", "--port", &port]).finish().await.exits(1);
    let address = format!("cannot listen on 127.0.0.1:{port}: ");
    assert!(
        finished.stderr.contains(&address) && finished.stderr.contains("`--port`"),
        "{}",
        finished.stderr
    );
    let recipe = format!(
        r#"FUMIDAI_SIM_PID=1; eval "$({SIM} serve --port {port})"; echo "${{FUMIDAI_SIM_PID-none}}""#
    );
    let run = Run::new(Path::new("/bin/sh")).args(["-c", &recipe]);
    assert_eq!(run.finish().await.exits(0).text(), "none\n");
    let wrong = simulator(&["serve", "--fail", "StartSesion=Throttling"]).finish().await.exits(2);
    assert!(wrong.stderr.contains("the nearest is `StartSession`"), "{}", wrong.stderr);
    assert!(wrong.text().contains("unset FUMIDAI_SIM_PID"), "{}", wrong.text());
    for (flag, value) in [("--target", "web"), ("--region", "foo")] {
        simulator(&["serve", flag, value]).finish().await.exits(2);
    }
}

#[tokio::test]
async fn a_demo_whose_reader_is_gone_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = format!("({SIM} demo; echo exit=$? >&2) | head -1");
    let run = Run::new(Path::new("/bin/sh")).args(["-c", &recipe]).env("PATH", search_path());
    let finished = run.env("TMPDIR", folder.path()).finish().await.exits(0);
    assert_eq!(finished.stderr, "exit=0\n");
}

#[tokio::test]
async fn a_printed_environment_overrides_settings_of_fumidai() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = format!(
        r#"eval "$({SIM} serve --map {ECHO}={} &)"; {SIM} fumidai connect {ONLINE_TARGET} {ECHO}; kill "$FUMIDAI_SIM_PID""#,
        echo().await
    );
    let run = Run::new(Path::new("/bin/sh")).args(["-c", &recipe]).env("TMPDIR", folder.path());
    let run = run.env("HOME", folder.path()).env("XDG_STATE_HOME", folder.path());
    let run = run.env("FUMIDAI_REGION", "us-east-1").env("FUMIDAI_PROFILE", "work");
    let run = run.env("FUMIDAI_ENDPOINT_URL", "http://127.0.0.1:9");
    assert_eq!(run.input("served").finish().await.exits(0).text(), "served");
}
