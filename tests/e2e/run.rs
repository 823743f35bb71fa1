//! A child process with a deadline: what it is given, what it says, how it ends.
//!
//! Standard error goes to a file, so that a grandchild that keeps it open never holds a test up.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Nothing takes longer unless it is broken, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until a condition holds that sends no event.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not yet: {what}"));
}

/// A command to be run.
pub struct Run {
    command: Command,
    input: Option<Vec<u8>>,
    stderr: Option<Stdio>,
    name: String,
}

/// A child that runs, with pipes to talk to it.
pub struct Running {
    child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<ChildStdout>,
    stderr: File,
    begun: Instant,
    name: String,
}

/// A child that has ended.
#[derive(Debug)]
pub struct Finished {
    pub name: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub took: Duration,
}

impl Run {
    /// Prepares a program with an empty environment and no input.
    pub fn new(program: &Path) -> Self {
        let mut command = Command::new(program);
        command.env_clear().kill_on_drop(true).stdin(Stdio::null());
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { command, input: None, stderr: None, name }
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub fn current_dir(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Writes these bytes to its standard input, then closes it.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Gives it something else than a pipe to read.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// Gives it something else than a file to write errors to.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Runs it to its end.
    pub async fn finish(mut self) -> Finished {
        if self.input.is_some() {
            self.command.stdin(Stdio::piped());
        }
        let input = self.input.take();
        let mut running = self.launch(Stdio::piped());
        let stdin = running.stdin.take();
        let feed = async move {
            if let (Some(mut stdin), Some(bytes)) = (stdin, input) {
                // A child that ends without reading everything shows that in what it says.
                let _ = stdin.write_all(&bytes).await;
            }
        };
        let (finished, ()) = tokio::join!(running.finish(), feed);
        finished
    }

    /// Runs it to its end with standard output in a file.
    pub async fn finish_into(self, stdout: File) -> Finished {
        self.launch(stdout.into()).finish().await
    }

    /// Starts it with pipes for standard input and output.
    pub fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped());
        self.launch(Stdio::piped())
    }

    fn launch(mut self, stdout: Stdio) -> Running {
        let stderr = tempfile::tempfile().unwrap();
        let given = self.stderr.take().unwrap_or_else(|| stderr.try_clone().unwrap().into());
        self.command.stdout(stdout).stderr(given);
        let begun = Instant::now();
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        Running { child, stdin, stdout, stderr, begun, name: self.name }
    }
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// What it has written to standard error so far.
    pub fn said(&self) -> String {
        text(&self.stderr)
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        timeout(PATIENCE, stdin.write_all(bytes)).await.expect("it reads in time").unwrap();
    }

    /// Reads exactly so many bytes of its standard output.
    pub async fn hear(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let stdout = self.stdout.as_mut().expect("its output is open");
        let read = timeout(PATIENCE, stdout.read_exact(&mut bytes)).await;
        let read = read.unwrap_or_else(|_| panic!("{} says nothing: {}", self.name, text(&self.stderr)));
        read.unwrap_or_else(|error| panic!("{}: {error}: {}", self.name, text(&self.stderr)));
        bytes
    }

    /// Says something to an echo and hears it.
    pub async fn round_trip(&mut self, bytes: &[u8]) {
        self.say(bytes).await;
        assert_eq!(self.hear(bytes.len()).await, bytes);
    }

    /// Reads what is left of its standard output and waits for its end; its standard input stays as it is.
    pub async fn finish(mut self) -> Finished {
        let mut stdout = Vec::new();
        let (pipe, child) = (self.stdout.take(), &mut self.child);
        let work = async {
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut stdout).await.unwrap();
            }
            child.wait().await.unwrap()
        };
        let ended = timeout(PATIENCE, work).await;
        let took = self.begun.elapsed();
        let stderr = text(&self.stderr);
        let status = ended.unwrap_or_else(|_| panic!("{} did not end: {stderr}", self.name));
        Finished { name: self.name, status, stdout, stderr, took }
    }

    /// Closes its standard input and waits for its end.
    pub async fn close_and_finish(mut self) -> Finished {
        self.stdin = None;
        self.finish().await
    }
}

impl Finished {
    /// Checks the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        let status = (self.status.code(), self.status.signal());
        assert_eq!(status, (Some(code), None), "{} said: {}", self.name, self.stderr);
        self
    }

    /// Checks that standard error stayed empty.
    #[track_caller]
    pub fn silent(self) -> Self {
        assert_eq!(self.stderr, "", "{}", self.name);
        self
    }

    /// Checks the form of a failure's last lines and returns its cause: one cause line, then at most two hints.
    #[track_caller]
    pub fn cause(&self) -> &str {
        let lines: Vec<&str> = self.stderr.lines().collect();
        let is_hint = |line: &&str| line.starts_with("fumidai: hint: ");
        let hints = lines.iter().rev().take_while(|line| is_hint(line)).count();
        let causes = lines.iter().filter(|line| line.starts_with("fumidai: ") && !is_hint(line)).count();
        assert!(hints <= 2 && causes == 1 && lines.len() > hints, "{}", self.stderr);
        let cause = lines[lines.len() - 1 - hints].strip_prefix("fumidai: ");
        cause.unwrap_or_else(|| panic!("the cause is not last: {}", self.stderr))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

/// Reads a file from its beginning; where its writers write is left as it is.
fn text(file: &File) -> String {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
