//! ssh itself through a session.

use fumidai::sim::agent::AgentConfig;
use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::bench::{Bench, HOST, INNER};
use crate::services::{MIB, digest, echo, noise};

#[tokio::test]
async fn the_exit_status_passes_through_and_stderr_is_silent() {
    let bench = Bench::new().sshd().start().await;
    bench.ssh([HOST, "exit 37"]).finish().await.exits(37).silent();
    let output = bench.ssh([HOST, "echo out; echo err >&2"]).finish().await.exits(0);
    assert_eq!((output.text(), output.stderr.as_str()), ("out\n", "err\n"));
    bench.settle().await;
}

#[tokio::test]
async fn a_hundred_connects_in_a_row_succeed() {
    let bench = Bench::new().agent(|agent| *agent = AgentConfig::default()).sshd().start().await;
    for number in 0..100 {
        let output = bench.ssh([HOST, &format!("echo {number}")]).finish().await.exits(0).silent();
        assert_eq!(output.text(), format!("{number}\n"));
    }
    assert_eq!(bench.simulator.sessions().len(), 100);
    bench.settle().await;
}

#[tokio::test]
async fn binary_data_is_exact_both_ways() {
    let bench = Bench::new().sshd().start().await;
    let data = noise(1, MIB);
    let output = bench.ssh([HOST, "cat"]).input(data.clone()).finish().await.exits(0).silent();
    assert_eq!(digest(&output.stdout), digest(&data));
    let output = bench.ssh([HOST, "sha256sum"]).input(data.clone()).finish().await.exits(0).silent();
    assert_eq!(output.text().split_whitespace().next(), Some(digest(&data).as_str()));
    bench.settle().await;
}

#[tokio::test]
async fn what_comes_after_the_end_of_input_is_complete() {
    let bench = Bench::new().sshd().start().await;
    let output = bench.ssh([HOST, "cat; sleep 1; seq 100000"]).input("x").finish().await.exits(0).silent();
    let numbers: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(digest(&output.stdout), digest(format!("x{numbers}").as_bytes()));
    bench.settle().await;
}

#[tokio::test]
async fn a_jump_through_the_target_works() {
    let bench = Bench::new().sshd().start().await;
    let output = bench.ssh(["-J", HOST, INNER, "echo inside; exit 5"]).finish().await.exits(5).silent();
    assert_eq!(output.text(), "inside\n");
    assert_eq!(bench.simulator.sessions().len(), 1);
    bench.settle().await;
}

#[tokio::test]
async fn standard_input_and_output_can_be_forwarded() {
    let bench = Bench::new().sshd().start().await;
    let echo = echo().await;
    let mut ssh = bench.ssh(["-W", &echo.to_string(), HOST]).start();
    let data = noise(2, MIB / 4);
    ssh.round_trip(b"hello").await;
    ssh.round_trip(&data).await;
    ssh.close_and_finish().await.exits(0).silent();
    bench.settle().await;
}

#[tokio::test]
async fn many_sessions_share_one_master_connection() {
    let bench = Bench::new().sshd().start().await;
    let socket = format!("ControlPath={}", bench.path("master").display());
    let shared = ["-o", &socket, "-o", "ControlMaster=auto", "-o", "ControlPersist=yes", HOST];
    let command = |word: &'static str| bench.ssh(shared.iter().chain(&[word]));
    command("true").finish().await.exits(0).silent();
    let outputs = join_all((0..8).map(|_| command("seq 20000 | sha256sum").finish())).await;
    let numbers: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    for output in outputs {
        assert_eq!(output.exits(0).silent().text(), format!("{}  -\n", digest(numbers.as_bytes())));
    }
    assert_eq!(bench.simulator.open_sessions().len(), 1);
    let output = bench.ssh(["-o", &socket, "-O", "exit", HOST]).finish().await.exits(0);
    assert_eq!(output.stderr, "Exit request sent.\r\n");
    bench.settle().await;
    assert_eq!(bench.simulator.sessions().len(), 1);
}

#[tokio::test]
async fn a_forward_of_ssh_carries_bytes() {
    let bench = Bench::new().sshd().start().await;
    let socket = bench.path("forward");
    let forward = format!("{}:{}", socket.display(), echo().await);
    let local = ["-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo ready"];
    let mut ssh = bench.ssh(["-N", "-L", &forward].iter().chain(&local).chain(&[HOST])).start();
    let mut said = BufReader::new(ssh.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).await.unwrap();
    assert_eq!(line, "ready\n");
    let data = noise(3, MIB);
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut heard = vec![0; data.len()];
    let (wrote, read) = tokio::join!(writer.write_all(&data), reader.read_exact(&mut heard));
    wrote.and(read.map(drop)).unwrap();
    assert_eq!(digest(&heard), digest(&data));
    ssh.signal(rustix::process::Signal::TERM);
    ssh.finish().await.silent();
    bench.settle().await;
}

#[tokio::test]
async fn a_server_that_leaves_first_ends_the_session() {
    let bench = Bench::new().sshd().start().await;
    bench.ssh([HOST, "kill -9 $PPID"]).finish().await.exits(255);
    bench.settle().await;
}
