//! A real Redis server behind the target: its clients are limited, and one that is blocked takes a job.

use std::path::PathBuf;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::bench::Bench;
use crate::forwarding::Forward;
use crate::mariadb::lead_to;
use crate::run::{PATIENCE, Run, Running};
use crate::tools::tool;

const REDIS: u16 = 6379;
/// With this linger time, a connection ends because its client has closed.
const FORWARD: [&str; 4] = ["-L", "0:6379", "--linger", "600"];

/// The server. It listens on a socket alone, since it cannot take a free port.
struct Server {
    bench: Bench,
    socket: PathBuf,
    _server: Running,
    _folder: TempDir,
}

impl Server {
    /// Starts it with room for that many clients.
    async fn start(clients: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("redis");
        let bench = Bench::new().port(REDIS, lead_to(socket.clone()).await).start().await;
        let server = bench.run(&tool("redis-server")).args(["--port", "0", "--save", "", "--maxclients"]);
        let server = server.args([&clients.to_string()]).args(["--dir".as_ref(), folder.path()]);
        let server = server.args(["--unixsocket".as_ref(), socket.as_path()]).start();
        let answers = async {
            while UnixStream::connect(&socket).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, answers).await.expect("the server answers");
        Self { bench, socket, _server: server, _folder: folder }
    }

    /// A command beside the forward.
    async fn ask(&self, words: &[&str]) -> String {
        let cli = self.bench.run(&tool("redis-cli")).args(["-s".as_ref(), self.socket.as_path()]);
        cli.args(words).finish().await.exits(0).text().trim().to_owned()
    }

    /// Waits until a line of `INFO clients` says so.
    async fn waits_for(&self, line: &str) {
        let wait = async {
            while !self.ask(&["info", "clients"]).await.lines().any(|shown| shown.trim() == line) {}
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not yet: {line}"));
    }

    /// A program that connects to the forward.
    fn client(&self, program: &str, forward: &Forward) -> Run {
        self.bench.run(&tool(program)).args(["-h", "127.0.0.1", "-p", &forward.port().to_string()])
    }
}

#[tokio::test]
async fn a_benchmark_never_has_more_clients_than_it_has_open() {
    let server = Server::start(100).await;
    let forward = server.bench.forward(&FORWARD).await;
    let benchmark = server.client("redis-benchmark", &forward);
    let args = ["-c", "50", "-n", "500", "-t", "ping,set,get,incr,lpush", "--csv"];
    let report = benchmark.args(args).finish().await.exits(0);
    assert_eq!(report.text().lines().count(), 7, "a head and six tests: {report:?}");
    assert!(!report.stderr.contains("max number of clients"), "{}", report.stderr);
    server.waits_for("connected_clients:1").await;
    forward.end().await;
    server.bench.settle().await;
}

#[tokio::test]
async fn a_worker_that_is_killed_takes_no_job() {
    let server = Server::start(100).await;
    let forward = server.bench.forward(&FORWARD).await;
    let worker = server.client("redis-cli", &forward).args(["brpop", "jobs", "0"]).start();
    server.waits_for("blocked_clients:1").await;
    worker.signal(Signal::KILL);
    server.waits_for("blocked_clients:0").await;
    assert_eq!(server.ask(&["lpush", "jobs", "work"]).await, "1");
    assert_eq!(server.ask(&["llen", "jobs"]).await, "1");
    forward.end().await;
    server.bench.settle().await;
}
