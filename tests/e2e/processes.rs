//! fumidai as a process among others: inherited signals, descriptors and limits, children, a standard error that blocks.

use std::fs::File;
use std::io::{ErrorKind, PipeReader, PipeWriter, Write};
use std::os::unix::fs::PermissionsExt;

use fumidai::sim::ONLINE_TARGET;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;

use crate::bench::Bench;
use crate::forwarding::{Forward, exchange, round_trip};
use crate::run::{Run, until};
use crate::services::{MIB, digest, digester, echo, noise};
use crate::tools::{search_path, tool};

const ECHO: u16 = 7;
const FUMIDAI: &str = env!("CARGO_BIN_EXE_fumidai");

async fn bench() -> Bench {
    Bench::new().port(ECHO, echo().await).start().await
}

/// `fumidai` started by a shell that runs a line before.
fn after(bench: &Bench, line: &str, args: &[&str]) -> Run {
    let line = format!("{line}; exec \"$@\"");
    bench.run(&tool("sh")).args(["-c", &line, "sh", FUMIDAI]).args(args)
}

/// A pipe without room, and its other end.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    let mut piece = 4096;
    while piece > 0 {
        match writer.write(&vec![b'x'; piece]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => piece /= 2,
            Err(error) => panic!("{error}"),
        }
    }
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

#[tokio::test]
async fn signals_that_were_ignored_at_the_start_stay_ignored_in_forward() {
    let bench = bench().await;
    let args = ["forward", ONLINE_TARGET, "-L", "0:7"];
    let forward = Forward::start(after(&bench, "trap '' HUP INT QUIT", &args), 1).await;
    let mut stream = forward.dial().await;
    round_trip(&mut stream, b"hello").await;
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT] {
        forward.running.signal(signal);
    }
    round_trip(&mut stream, b"still here").await;
    forward.running.signal(Signal::TERM);
    forward.running.finish().await.exits(143);
    bench.settle().await;
}

#[tokio::test]
async fn signals_that_were_ignored_at_the_start_stay_ignored_in_connect() {
    let bench = bench().await;
    for signals in ["HUP", "HUP INT QUIT TERM"] {
        let mut connect =
            after(&bench, &format!("trap '' {signals}"), &["connect", ONLINE_TARGET, "7"]).start();
        connect.round_trip(b"hello").await;
        for name in signals.split(' ') {
            connect.signal(match name {
                "HUP" => Signal::HUP,
                "INT" => Signal::INT,
                "QUIT" => Signal::QUIT,
                _ => Signal::TERM,
            });
        }
        connect.round_trip(b"still here").await;
        connect.close_and_finish().await.exits(0).silent();
        bench.settle().await;
    }
}

#[tokio::test]
async fn another_signal_than_those_ignored_ends_the_session() {
    let bench = bench().await;
    let mut connect = after(&bench, "trap '' INT QUIT", &["connect", ONLINE_TARGET, "7"]).start();
    connect.round_trip(b"hello").await;
    connect.signal(Signal::HUP);
    connect.finish().await.exits(129).silent();
    bench.settle().await;
}

#[tokio::test]
async fn interrupts_of_the_terminal_are_the_commands_while_it_runs() {
    let bench = Bench::new().port(ECHO, digester(6).await).start().await;
    // As a client does with a query that is cancelled: the terminal sends the signal to it and to fumidai.
    let command = "trap 'echo cancelled' INT; kill -INT $PPID; kill -QUIT $PPID; kill -INT $$; \
        echo hello | nc 127.0.0.1 $FUMIDAI_PORT; exit 42";
    let finished =
        bench.forward_command(["-q", "-L", "0:7", "--exec", command]).finish().await.exits(42).silent();
    assert_eq!(finished.text(), format!("cancelled\n{}", digest(b"hello\n")));
    bench.settle().await;
}

#[tokio::test]
async fn a_hangup_ends_the_command_too() {
    let bench = bench().await;
    let command = "trap 'echo ended; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let mut running = bench.forward_command(["-q", "-L", "0:7", "--exec", command]).start();
    assert_eq!(running.hear(3).await, b"up\n");
    running.signal(Signal::HUP);
    assert_eq!(running.finish().await.exits(129).text(), "ended\n");
}

#[tokio::test]
async fn a_ready_fd_that_the_caller_did_not_open_is_refused() {
    let bench = bench().await;
    for number in 3..16 {
        let number = number.to_string();
        let finished =
            bench.forward_command(["-vvv", "-L", "0:7", "--ready-fd", &number]).finish().await.exits(1);
        assert!(
            finished.stderr.contains(&format!("fumidai: `--ready-fd {number}`: ")),
            "{}",
            finished.stderr
        );
    }
    assert_eq!(bench.started(), 0);
}

#[tokio::test]
async fn a_signal_while_ssh_reads_its_configuration_ends_the_start() {
    let bench = bench().await;
    let (bin, asked) = (bench.path("bin"), bench.path("asked"));
    std::fs::create_dir(&bin).unwrap();
    let ssh = bench.write("bin/ssh", format!("#!/bin/sh\necho $$ > {}\nexec sleep 1000\n", asked.display()));
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), search_path());
    let config = format!(
        "[hosts.bastion]\ntarget = '{ONLINE_TARGET}'\n[hosts.app]\naddress = '10.0.0.9'\nvia = 'bastion'\nroute = 'ssh'\n"
    );
    let config = bench.write("config.toml", config);
    for (args, signal) in [
        (&["connect", "app"][..], Signal::TERM),
        (&["connect", "app"], Signal::HUP),
        (&["forward", "app", "-L", "0:7", "--eager"], Signal::TERM),
        (&["forward", "app", "-L", "0:7", "--eager"], Signal::INT),
    ] {
        let _ = std::fs::remove_file(&asked);
        let run = bench.fumidai(args).env("PATH", &path).env("FUMIDAI_CONFIG", &config).start();
        until("ssh runs", || asked.metadata().is_ok_and(|file| file.len() > 0)).await;
        let ssh: i32 = std::fs::read_to_string(&asked).unwrap().trim().parse().unwrap();
        run.signal(signal);
        run.finish().await.exits(128 + signal.as_raw());
        let ssh = rustix::process::Pid::from_raw(ssh).unwrap();
        until("ssh is killed", || rustix::process::test_kill_process(ssh).is_err()).await;
    }
}

#[tokio::test]
async fn a_standard_error_that_is_not_read_stops_no_tunnel() {
    let bench = bench().await;
    let (_unread, stderr) = full_pipe();
    let forward = Forward::start(bench.forward_command(["-vvv", "-L", "0:7"]).stderr(stderr), 1).await;
    for seed in 0..3 {
        exchange(forward.dial().await, &noise(seed, MIB)).await;
    }
    assert_eq!(bench.started(), 1, "the session was never taken for lost");
    forward.running.signal(Signal::TERM);
    forward.running.finish().await.exits(143);
    bench.settle().await;
}

#[tokio::test]
async fn a_standard_error_that_is_not_read_stops_no_connect() {
    let bench = bench().await;
    let (_unread, stderr) = full_pipe();
    let mut connect = bench.connect(ECHO, &["-vvv"]).stderr(stderr).start();
    connect.round_trip(&noise(1, 100_000)).await;
    connect.close_and_finish().await.exits(0);
    bench.settle().await;
}

#[tokio::test]
async fn a_limit_for_the_size_of_files_ends_nothing() {
    let bench = bench().await;
    let mut connect = after(&bench, "ulimit -f 0", &["-vvv", "connect", ONLINE_TARGET, "7"]).start();
    connect.round_trip(b"hello").await;
    connect.close_and_finish().await.exits(0).silent();
    bench.settle().await;
    let output = File::create(bench.path("page")).unwrap();
    after(&bench, "ulimit -f 0", &["man", "connect"]).finish_into(output).await.exits(1);
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_ends_no_session() {
    let bench = bench().await;
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for args in [&["man", "connect"][..], &["list", "--json"], &["ssh-config"], &["explain", ONLINE_TARGET]] {
        let finished = bench.fumidai(["-q"]).args(args).finish_into(full()).await.exits(1);
        let cause = match args.contains(&"--json") {
            true => r#""message":"standard output: "#,
            false => "fumidai: standard output: ",
        };
        assert!(finished.stderr.contains(cause), "{args:?}: {}", finished.stderr);
    }
    let log = ["--log-file", "/dev/full", "-vvv"];
    let mut connect = bench.connect(ECHO, &log).stderr(full()).start();
    connect.round_trip(b"hello").await;
    connect.close_and_finish().await.exits(0);
    bench.settle().await;
}

#[tokio::test]
async fn too_few_descriptors_are_an_error() {
    let bench = bench().await;
    for limit in 4..24 {
        for args in [&["connect", ONLINE_TARGET, "7"][..], &["list"], &["explain", ONLINE_TARGET]] {
            let finished = after(&bench, &format!("ulimit -n {limit}"), args).finish().await;
            let code = finished.status.code();
            assert!(matches!(code, Some(0 | 1)), "{limit} {args:?}: {code:?} {}", finished.stderr);
            assert!(!finished.stderr.contains("panicked"), "{limit} {args:?}: {}", finished.stderr);
            if code == Some(1) {
                finished.cause();
            }
        }
    }
    let finished = after(&bench, "ulimit -n 6", &["connect", ONLINE_TARGET, "7"]).finish().await.exits(1);
    assert_eq!(finished.cause(), "cannot start: Too many open files (os error 24)");
}
