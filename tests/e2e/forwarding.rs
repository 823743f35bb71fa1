//! A running `fumidai forward`: where it listens, what it tells programs, how it is ended.

use std::ffi::OsStr;
use std::fs;
use std::time::{Duration, Instant};

use fumidai::sim::{ONLINE_TARGET, SessionInfo};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::ChildStdout;
use tokio::time::timeout;

use crate::bench::Bench;
use crate::run::{Finished, PATIENCE, Run, Running, until};
use crate::services::digest;

/// The process is gone within two seconds of a signal.
pub const GONE: Duration = Duration::from_secs(2);

/// The process, once it listens.
pub struct Forward {
    pub running: Running,
    lines: Lines<BufReader<ChildStdout>>,
    /// Where each listener listens.
    pub local: Vec<String>,
}

impl Bench {
    /// `fumidai forward` through the target, not yet started.
    pub fn forward_command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.fumidai(["forward", ONLINE_TARGET]).args(args)
    }

    /// Starts `fumidai forward` through the target and waits until it listens.
    pub async fn forward(&self, args: &[&str]) -> Forward {
        let listeners = args.iter().filter(|arg| matches!(**arg, "-L" | "-D")).count();
        Forward::start(self.forward_command(args), listeners).await
    }

    /// The parameters of the sessions so far, in the order of their start.
    pub fn parameters(&self) -> Vec<(String, String)> {
        let shown = |info: SessionInfo| (info.document, info.parameters.to_string());
        self.simulator.sessions().into_iter().map(shown).collect()
    }

    pub fn started(&self) -> usize {
        self.simulator.journal().calls("StartSession")
    }
}

impl Forward {
    /// Starts a command that is to listen at so many places.
    pub async fn start(command: Run, listeners: usize) -> Self {
        let mut running = command.args(["--json"]).start();
        let lines = BufReader::new(running.stdout.take().unwrap()).lines();
        let mut forward = Self { running, lines, local: Vec::new() };
        for _ in 0..listeners {
            let line = forward.event().await;
            assert_eq!(line["event"], "listening", "{line}");
            forward.local.push(line["local"].as_str().unwrap().to_owned());
        }
        forward
    }

    /// The next line for programs.
    pub async fn event(&mut self) -> Value {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("it tells in time").unwrap();
        let line = line.unwrap_or_else(|| panic!("it has ended: {}", self.running.said()));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The cause of the next failure in the JSON lines.
    pub async fn failure(&mut self) -> String {
        let line = self.event().await;
        assert_eq!(line["event"], "failed", "{line}");
        line["cause"].as_str().unwrap().to_owned()
    }

    /// Connects to the first listener.
    pub async fn dial(&self) -> TcpStream {
        dial(&self.local[0]).await
    }

    /// The port of the first listener.
    pub fn port(&self) -> u16 {
        self.local[0].rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// What has been said to people since the listeners were named.
    pub fn notes(&self) -> String {
        let said = self.running.said();
        said.lines().filter(|line| !line.starts_with("fumidai: listening on ")).collect()
    }

    /// Waits until its log, which `-v` writes to standard error, has a text so many times.
    pub async fn logs(&self, text: &str, times: usize) {
        until(text, || self.running.said().matches(text).count() >= times).await;
    }

    /// The most memory it has had, in bytes.
    pub fn peak(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.running.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// Ends it as Ctrl-C does.
    pub async fn end(self) -> Finished {
        self.end_by(Signal::INT).await
    }

    /// Ends it by a signal, and sees that it goes soon.
    pub async fn end_by(self, signal: Signal) -> Finished {
        let asked = Instant::now();
        self.running.signal(signal);
        let finished = self.running.finish().await.exits(128 + signal.as_raw());
        assert!(asked.elapsed() < GONE, "it was gone after {:?}", asked.elapsed());
        finished
    }
}

/// Connects as an application does.
pub async fn dial(local: &str) -> TcpStream {
    let stream = timeout(PATIENCE, TcpStream::connect(local)).await.expect("a connection in time").unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Says something to an echo and hears it.
pub async fn round_trip(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), bytes: &[u8]) {
    let talk = async {
        stream.write_all(bytes).await.unwrap();
        let mut heard = vec![0; bytes.len()];
        stream.read_exact(&mut heard).await.unwrap();
        heard
    };
    assert_eq!(timeout(PATIENCE, talk).await.expect("an answer in time"), bytes);
}

/// Reads to the end in order.
pub async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an end in time").unwrap();
    bytes
}

/// Sees that it is reset, whatever comes before.
pub async fn is_reset(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut bytes = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an end in time");
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

/// Sends everything to an echo while reading it back; the digest must be the same.
pub async fn exchange(stream: TcpStream, data: &[u8]) {
    let (mut reader, mut writer) = stream.into_split();
    let mut heard = vec![0; data.len()];
    let talk = async { tokio::try_join!(writer.write_all(data), reader.read_exact(&mut heard)) };
    timeout(PATIENCE, talk).await.expect("an exchange in time").unwrap();
    assert_eq!(digest(&heard), digest(data));
}
