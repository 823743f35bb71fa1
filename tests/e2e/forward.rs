//! `fumidai forward` by itself: where it listens, whom it tells, what it refuses to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use fumidai::sim::{ONLINE_TARGET, SimEvent};
use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

use crate::bench::Bench;
use crate::forwarding::{Forward, dial, exchange, is_reset, round_trip};
use crate::run::PATIENCE;
use crate::services::{closed_port, digest, digester, echo, noise};

const ECHO: u16 = 7;
const OWN_PORT: &str = "AWS-StartPortForwardingSession";
const REMOTE_HOST: &str = "AWS-StartPortForwardingSessionToRemoteHost";

async fn bench() -> Bench {
    Bench::new().port(ECHO, echo().await).start().await
}

/// A port that is free on every loopback address: it was a moment ago.
async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_line_is_said_for_each_listener() {
    let bench = bench().await;
    let forward = bench.forward(&["-L", "0:7", "-L", "0:db:3306", "-D", "0"]).await;
    let expected: String = forward
        .local
        .iter()
        .zip(["localhost:7", "db:3306", "socks5"])
        .map(|(local, remote)| {
            format!("fumidai: listening on {local}, forwarding to {remote} through {ONLINE_TARGET}\n")
        })
        .collect();
    let finished = forward.end().await;
    assert_eq!(finished.stderr, expected);
    assert_eq!(bench.started(), 0, "no client has connected");
}

#[tokio::test]
async fn a_quiet_one_tells_programs_only() {
    let bench = bench().await;
    let forward = bench.forward(&["-q", "-L", "0:7", "-L", "*:0:7"]).await;
    round_trip(&mut forward.dial().await, b"hello").await;
    forward.end().await.silent();
    bench.settle().await;
}

#[tokio::test]
async fn a_listener_leads_to_a_port() {
    let bench = bench().await;
    let forward = bench.forward(&["-L", "0:7"]).await;
    assert!(forward.local[0].starts_with("127.0.0.1:"), "{:?}", forward.local);
    let mut client = forward.dial().await;
    round_trip(&mut client, b"hello").await;
    round_trip(&mut client, &noise(1, 300_000)).await;
    round_trip(&mut dial(&format!("[::1]:{}", forward.port())).await, b"and by IPv6").await;
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_fixed_port_is_taken_and_can_be_taken_again_at_once() {
    let bench = bench().await;
    let port = free_port().await;
    for _ in 0..2 {
        let forward = bench.forward(&["-L", &format!("{port}:localhost:7")]).await;
        assert_eq!(forward.port(), port);
        round_trip(&mut forward.dial().await, b"hello").await;
        forward.end().await;
    }
    bench.settle().await;
}

#[tokio::test]
async fn an_address_of_ipv6_can_be_listened_on() {
    let bench = bench().await;
    let forward = bench.forward(&["-L", "[::1]:0:7"]).await;
    assert!(forward.local[0].starts_with("[::1]:"), "{:?}", forward.local);
    round_trip(&mut forward.dial().await, b"hello").await;
    assert!(TcpStream::connect(("127.0.0.1", forward.port())).await.is_err());
    assert_eq!(forward.notes(), "");
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_wide_address_is_warned_of() {
    let bench = bench().await;
    let forward = bench.forward(&["-L", "*:0:7"]).await;
    assert!(forward.local[0].starts_with("0.0.0.0:"), "{:?}", forward.local);
    let warning = format!("warning: {} accepts connections from other machines", forward.local[0]);
    assert!(forward.notes().contains(&warning), "{}", forward.notes());
    for address in ["127.0.0.1", "[::1]"] {
        round_trip(&mut dial(&format!("{address}:{}", forward.port())).await, b"hello").await;
    }
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_unix_socket_is_its_owners_and_goes_at_the_end() {
    let bench = bench().await;
    let path = bench.path("db.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a leftover");
    let spec = format!("{}:7", path.display());
    let forward = bench.forward(&["-L", &spec]).await;
    assert_eq!(forward.local, [path.display().to_string()]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    round_trip(&mut UnixStream::connect(&path).await.unwrap(), &noise(1, 200_000)).await;
    let second = bench.forward_command(["-L", &spec]).finish().await.exits(1);
    assert!(
        second.cause().starts_with(&format!("cannot listen on {}: ", path.display())),
        "{}",
        second.stderr
    );
    round_trip(&mut UnixStream::connect(&path).await.unwrap(), b"still here").await;
    forward.end().await;
    assert!(!path.exists());
    bench.settle().await;
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let bench = bench().await;
    let path = bench.write("precious", "words");
    let finished = bench.forward_command(["-L", &format!("{}:7", path.display())]).finish().await.exits(1);
    assert!(finished.cause().starts_with("cannot listen on "), "{}", finished.stderr);
    assert_eq!(fs::read_to_string(path).unwrap(), "words");
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let bench = bench().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let _taken = TcpListener::bind(taken).await.unwrap();
    let spec = format!("{}:7", taken.port());
    // Nothing is announced before everything is bound.
    let finished = bench.forward_command(["--json", "-L", "0:7", "-L", &spec]).finish().await.exits(1);
    let error: serde_json::Value = serde_json::from_str(finished.stderr.lines().last().unwrap()).unwrap();
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("cannot listen on {taken}: Address already in use")), "{error}");
    assert_eq!(error["error"]["hints"][0], "use another port, or port 0 for a free one");
    let event: serde_json::Value = serde_json::from_str(finished.text()).unwrap();
    assert_eq!((&event["event"], &event["exit"]), (&"failed".into(), &1.into()));
}

#[tokio::test]
async fn what_cannot_be_meant_is_a_usage_error() {
    let bench = bench().await;
    for (args, word) in [
        (&["forward", ONLINE_TARGET, "-L", "80"][..], "SPEC"),
        (&["forward", ONLINE_TARGET, "-L", "1:db:0"], "from 1 to 65535"),
        (&["forward", ONLINE_TARGET, "-L", "65536:db:1"], "from 0 to 65535"),
        (&["forward", ONLINE_TARGET, "-L", "1:/run/db.sock"], "a remote unix socket cannot be reached"),
        (&["forward", ONLINE_TARGET, "-D", "/tmp/x"], "[BIND:]PORT"),
        (&["forward", ONLINE_TARGET, "-L", "1:2", "--sessions", "9"], "1..=8"),
        (&["forward", "-L", "0:db:3306"], "`-L` and `-D` need one target, not 0"),
        (&["forward", "a", "b", "-L", "0:db:3306"], "`-L` and `-D` need one target, not 2"),
        (&["forward"], "no forward given"),
        (&["forward", "--all"], "the config file has no forwards"),
        (&["forward", "--all", "orders"], "cannot be used with"),
    ] {
        let finished = bench.fumidai(args).finish().await.exits(2);
        assert!(finished.stderr.contains(word), "{args:?}: {}", finished.stderr);
    }
}

/// The parameters that StartSession has got, for each spec.
#[tokio::test]
async fn each_destination_has_its_document_and_parameters() {
    let far = echo().await;
    let hosts = |config: &mut fumidai::sim::SimConfig| {
        config.hosts.insert(("db.internal".to_owned(), 3306), far);
    };
    let bench = Bench::new().port(ECHO, echo().await).configure(hosts).start().await;
    let own = [
        "0:7".to_owned(),
        "0:localhost:7".to_owned(),
        "0:127.0.0.1:7".to_owned(),
        format!("0:{ONLINE_TARGET}:7"),
    ];
    let args: Vec<&str> = own.iter().map(String::as_str).chain(["0:db.internal:3306"]).collect();
    let args: Vec<&str> = args.iter().flat_map(|spec| ["-L", *spec]).collect();
    let forward = bench.forward(&args).await;
    for local in &forward.local {
        round_trip(&mut dial(local).await, b"hello").await;
    }
    let mut parameters = bench.parameters();
    parameters.sort();
    let to_own = (OWN_PORT.to_owned(), r#"{"portNumber":["7"]}"#.to_owned());
    let to_host = (REMOTE_HOST.to_owned(), r#"{"host":["db.internal"],"portNumber":["3306"]}"#.to_owned());
    assert_eq!(parameters, [to_own, to_host], "one session for each destination");
    let is_dial = |event: &SimEvent| matches!(event, SimEvent::Dialed { host, port: 3306, .. } if host.as_deref() == Some("db.internal"));
    bench.see("the dial", is_dial).await;
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_document_and_a_reason_can_be_given() {
    let bench = bench().await;
    let forward =
        bench.forward(&["-L", "0:7", "--document", "AWS-StartSSHSession", "--reason", "why not"]).await;
    round_trip(&mut forward.dial().await, b"hello").await;
    let session = &bench.simulator.sessions()[0];
    assert_eq!(
        (session.document.as_str(), session.reason.as_deref()),
        ("AWS-StartSSHSession", Some("why not"))
    );
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn listeners_are_written_to_the_ready_fd_and_it_is_closed() {
    let bench = bench().await;
    let fumidai = env!("CARGO_BIN_EXE_fumidai");
    // The shell reads until the descriptor is closed, and only then ends the forward.
    let script = format!(
        "{{ {fumidai} forward {ONLINE_TARGET} -L 0:7 -L 0:db:3306 --ready-fd 3 3>&1 >/dev/null & echo $! >pid; }} | cat\n"
    );
    let folder = bench.path("");
    let run =
        bench.run(&crate::tools::tool("sh")).args(["-c", &format!("cd {} && {script}", folder.display())]);
    let finished = run.finish().await.exits(0);
    let lines: Vec<serde_json::Value> =
        finished.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{}", finished.text());
    assert_eq!(lines[1]["remote"], "db:3306");
    round_trip(&mut dial(lines[0]["local"].as_str().unwrap()).await, b"hello").await;
    let pid: i32 = fs::read_to_string(bench.path("pid")).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    bench.settle().await;
}

#[tokio::test]
async fn a_ready_fd_that_is_not_there_is_an_error() {
    let bench = bench().await;
    let finished = bench.forward_command(["-L", "0:7", "--ready-fd", "77"]).finish().await.exits(1);
    assert!(finished.stderr.contains("`--ready-fd 77`: "), "{}", finished.stderr);
}

#[tokio::test]
async fn a_port_that_somebody_has_in_ipv6_is_taken() {
    let bench = bench().await;
    let other = TcpListener::bind("[::1]:0").await.unwrap();
    let port = other.local_addr().unwrap().port();
    let finished = bench.forward_command(["-L", &format!("{port}:localhost:7")]).finish().await.exits(1);
    assert!(finished.cause().starts_with("cannot listen on "), "{}", finished.stderr);
}

#[tokio::test]
async fn a_command_runs_with_the_forward_up_and_its_status_is_ours() {
    let bench = Bench::new().port(ECHO, digester(6).await).start().await;
    let command = "echo over $FUMIDAI_LOCAL; echo hello | nc 127.0.0.1 $FUMIDAI_PORT; exit 42";
    let command = ["-q", "-L", "0:7", "--exec", command];
    let finished = bench.forward_command(command).finish().await.exits(42).silent();
    let (over, answer) = finished.text().split_once('\n').unwrap();
    assert!(over.starts_with("over 127.0.0.1:"), "{over}");
    assert_eq!(answer, digest(b"hello\n"));
    bench.settle().await;
    let killed = bench.forward_command(["-L", "0:7", "--exec", "kill -KILL $$"]).finish().await;
    assert_eq!(killed.status.code(), Some(137));
}

#[tokio::test]
async fn a_command_is_asked_to_end_when_we_are() {
    let bench = bench().await;
    let command = format!(
        "trap 'sleep 0.2; echo ended > {}; exit 0' TERM; echo up; while :; do sleep 0.05; done",
        bench.path("ending").display()
    );
    let mut running = bench.forward_command(["-L", "0:7", "--exec", &command]).stdin(Stdio::null()).start();
    assert_eq!(running.hear(3).await, b"up\n");
    running.signal(Signal::TERM);
    running.finish().await.exits(143);
    assert_eq!(fs::read_to_string(bench.path("ending")).unwrap(), "ended\n");
}

#[tokio::test]
async fn the_service_manager_is_notified() {
    let bench = bench().await;
    let path = bench.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::UnixDatagram::from_std(socket).unwrap();
    let forward = Forward::start(bench.forward_command(["-L", "0:7"]).env("NOTIFY_SOCKET", &path), 1).await;
    let mut received = [0; 100];
    let length = timeout(PATIENCE, socket.recv(&mut received)).await.expect("a message in time").unwrap();
    assert_eq!(String::from_utf8_lossy(&received[..length]).trim_end(), "READY=1");
    round_trip(&mut forward.dial().await, b"hello").await;
    forward.end().await;
    bench.settle().await;
}

const FILE: &str = "[hosts.bastion]\ntarget = 'i-0123456789abcdef0'\n\
    [forwards.echo]\ntarget = 'bastion'\nlocal = '127.0.0.1:0'\nremote = 7\n\
    [forwards.orders-db]\ntarget = 'bastion'\nlocal = 0\nremote = 'db.internal:3306'\nhold = true\n\
    reason = 'orders'\n";

#[tokio::test]
async fn forwards_of_the_config_file_go_by_their_names() {
    let far = echo().await;
    let hosts = |config: &mut fumidai::sim::SimConfig| {
        config.hosts.insert(("db.internal".to_owned(), 3306), far);
    };
    let bench = Bench::new().port(ECHO, echo().await).configure(hosts).start().await;
    let file = bench.write("config.toml", FILE);
    let named = |words: &[&str]| bench.fumidai(["forward"]).args(words).env("FUMIDAI_CONFIG", &file);
    for (words, listeners) in [(&["orders-db"][..], 1), (&["orders-db", "echo"], 2), (&["--all"], 2)] {
        let forward = Forward::start(named(words), listeners).await;
        for local in &forward.local {
            round_trip(&mut dial(local).await, b"hello").await;
        }
        forward.end().await;
    }
    let to_host = |info: &&fumidai::sim::SessionInfo| info.document == REMOTE_HOST;
    let sessions = bench.simulator.sessions();
    assert_eq!((sessions.len(), sessions.iter().filter(to_host).count()), (5, 3));
    assert!(sessions.iter().filter(to_host).all(|info| info.reason.as_deref() == Some("orders")));
    let finished = named(&["order-db"]).finish().await.exits(3);
    assert_eq!(finished.cause(), "the config file has no `[forwards.order-db]`");
    assert!(finished.stderr.ends_with("hint: did you mean `orders-db`?\n"), "{}", finished.stderr);
    bench.settle().await;
}

#[tokio::test]
async fn forwards_that_differ_in_more_than_the_destination_share_no_session() {
    let bench = bench().await;
    let forward = |name: &str, reason: &str| {
        format!("[forwards.{name}]\ntarget = '{ONLINE_TARGET}'\nlocal = 0\nremote = 7\nreason = '{reason}'\n")
    };
    let file = bench.write("config.toml", forward("a", "one") + &forward("b", "another"));
    let command = bench.fumidai(["forward", "--all"]).env("FUMIDAI_CONFIG", file);
    let forward = Forward::start(command, 2).await;
    for local in &forward.local {
        round_trip(&mut dial(local).await, b"hello").await;
    }
    let mut reasons: Vec<_> =
        bench.simulator.sessions().into_iter().map(|info| info.reason.unwrap()).collect();
    reasons.sort();
    assert_eq!(reasons, ["another", "one"]);
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn fifty_connections_at_once_share_one_session() {
    let bench = bench().await;
    let forward = bench.forward(&["-L", "0:7", "-L", "0:localhost:7"]).await;
    let exchanges = (0..50).map(|number| {
        let local = forward.local[number % 2].clone();
        async move { exchange(dial(&local).await, &noise(number as u64, 40_000)).await }
    });
    futures_util::future::join_all(exchanges).await;
    assert_eq!(bench.started(), 1, "{:?}", bench.parameters());
    let record = bench.simulator.record(&bench.session()).unwrap();
    assert_eq!((record.streams_opened, record.streams_refused), (50, 0));
    assert!(!record.smux_broken);
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn one_that_cannot_work_says_so_early_if_it_is_eager() {
    let bench = bench().await;
    bench.simulator.change_faults(|faults| {
        faults.fail_api(
            "StartSession",
            "AccessDeniedException",
            "User: alice is not authorized to perform",
            1,
        );
    });
    let finished = bench.forward_command(["-q", "--eager", "-L", "0:7"]).finish().await.exits(11);
    assert!(finished.cause().contains("AccessDeniedException"), "{}", finished.stderr);
    let offline = ["forward", fumidai::sim::OFFLINE_TARGET, "--eager", "-L", "0:7"];
    let finished = bench.fumidai(offline).finish().await.exits(14);
    let causes = finished.stderr.lines().filter(|line| line.contains("TargetNotConnected")).count();
    assert_eq!(causes, 1, "{}", finished.stderr);
}

#[tokio::test]
async fn an_eager_one_has_its_sessions_before_it_is_ready() {
    let bench = bench().await;
    let finished = bench
        .forward_command(["-q", "--eager", "-L", "0:7", "--exec", "exit 5"])
        .finish()
        .await
        .exits(5)
        .silent();
    assert_eq!((finished.text(), bench.started()), ("", 1));
    bench.settle().await;
}

#[tokio::test]
async fn a_denied_session_resets_its_connection_and_the_next_one_works() {
    let bench = bench().await;
    bench.simulator.change_faults(|faults| {
        faults.fail_api("StartSession", "AccessDeniedException", "not authorized", 1);
    });
    let mut forward = bench.forward(&["-L", "0:7"]).await;
    let mut client = forward.dial().await;
    let end = timeout(PATIENCE, client.read(&mut [0])).await.expect("an end in time");
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let cause = forward.failure().await;
    assert!(
        cause.contains("AccessDeniedException") && cause.ends_with("; 1 connection was reset"),
        "{cause}"
    );
    round_trip(&mut forward.dial().await, b"hello").await;
    forward.end().await;
    bench.settle().await;
}

/// The command of docs/errors.md that shows whether sshd listens.
const KEYSCAN: [&str; 5] =
    ["forward", ONLINE_TARGET, "-L", "0:22", "--exec=ssh-keyscan -p \"$FUMIDAI_PORT\" 127.0.0.1"];

#[tokio::test]
async fn a_forward_tells_at_once_whether_a_server_listens() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md")).unwrap();
    assert!(docs.contains(r#"-L 0:22 --exec 'ssh-keyscan -p "$FUMIDAI_PORT" 127.0.0.1'"#));
    let bench = Bench::new().sshd().start().await;
    let finished = bench.fumidai(KEYSCAN).finish().await;
    assert!(finished.text().contains(" ssh-"), "{finished:?}");
    bench.settle().await;
    let bench = Bench::new().port(22, closed_port().await).start().await;
    let finished = bench.fumidai(KEYSCAN).finish().await;
    let refused = format!("localhost:22 refused it, or {ONLINE_TARGET} cannot reach it\n");
    assert!(finished.stderr.contains(&refused) && finished.stdout.is_empty(), "{finished:?}");
    bench.settle().await;
}

#[tokio::test]
async fn an_address_that_the_agent_forbids_is_named_with_its_hint() {
    let bench = bench().await;
    let mut forward = bench.forward(&["-L", "0:169.254.169.254:80"]).await;
    is_reset(&mut dial(&forward.local[0]).await).await;
    let cause = forward.failure().await;
    let words =
        format!("port 80 of `169.254.169.254` cannot be reached from `{ONLINE_TARGET}`: Forwarding to IP");
    assert!(cause.contains(&words), "{cause}");
    assert!(forward.notes().contains("hint: use another address"), "{}", forward.notes());
    forward.end().await;
    bench.settle().await;
}
