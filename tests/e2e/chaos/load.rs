//! What runs meanwhile: ssh, rsync and a database client. Each compares all that it gets with what it gave.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{interval, timeout};

use crate::bench::HOST;
use crate::run::{PATIENCE, Running};
use crate::services::{digest, noise};
use crate::tools::{python, tool};

use super::World;

/// How often a load begins something new.
const PACE: Duration = Duration::from_millis(30);
const CHUNK: usize = 48 << 10;
const FILES: usize = 4;

/// What a load has done so far.
pub struct Pulse {
    pub name: &'static str,
    pub units: Cell<u64>,
    pub bytes: Cell<usize>,
    /// When the last unit was done.
    pub last: Cell<Instant>,
    pub longest_pause: Cell<Duration>,
    /// The causes of lost sessions and refused connections, as the user was given them.
    pub causes: RefCell<Vec<String>>,
}

impl Pulse {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            units: Cell::new(0),
            bytes: Cell::new(0),
            last: Cell::new(Instant::now()),
            longest_pause: Cell::new(Duration::ZERO),
            causes: RefCell::default(),
        }
    }

    fn beat(&self, bytes: usize) {
        let pause = self.last.replace(Instant::now()).elapsed();
        self.units.set(self.units.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
        self.longest_pause.set(self.longest_pause.get().max(pause));
    }

    fn fail(&self, cause: &str) {
        assert!(!cause.is_empty(), "{}: it failed without a cause", self.name);
        self.causes.borrow_mut().push(cause.to_owned());
    }
}

/// One ssh for the whole time: an echo of all that is sent.
pub async fn ssh(world: &World, pulse: &Pulse) {
    let mut seed = 0;
    let mut ssh = world.ssh(&[HOST, "cat"]).start();
    let mut pace = interval(PACE);
    while !world.is_over() {
        pace.tick().await;
        seed += 1;
        let data = noise(seed, CHUNK);
        match exchange(&mut ssh, &data).await {
            Ok(back) => {
                assert_eq!(digest(&back), digest(&data), "chunk {seed}");
                pulse.beat(2 * CHUNK);
            }
            Err(error) => {
                let finished = ssh.finish().await;
                assert!(world.may_lose_sessions(), "{error}: {}", finished.stderr);
                pulse.fail(cause(&finished.stderr));
                ssh = world.ssh(&[HOST, "cat"]).start();
            }
        }
    }
    ssh.close_and_finish().await.exits(0).silent();
}

/// Sends and receives as many bytes.
async fn exchange(running: &mut Running, data: &[u8]) -> io::Result<Vec<u8>> {
    let mut back = vec![0; data.len()];
    let stdin = running.stdin.as_mut().expect("open");
    let stdout = running.stdout.as_mut().expect("open");
    let both = async { tokio::try_join!(stdin.write_all(data), stdout.read_exact(&mut back)) };
    timeout(PATIENCE, both).await.expect("a pause has an end")?;
    Ok(back)
}

/// One rsync after the other, each with a session of its own; none begins while no connection can be made.
pub async fn rsync(world: &World, pulse: &Pulse) {
    let (from, to) = (world.bench.path("from"), world.bench.path("to"));
    fs::create_dir_all(&from).unwrap();
    let mut seed = 1000;
    while !world.is_over() {
        world.until_fair().await;
        for file in 0..FILES {
            seed += 1;
            fs::write(from.join(file.to_string()), noise(seed, 4 * CHUNK)).unwrap();
        }
        let storms = world.storms();
        let place = |path: &Path| format!("{}/", path.display());
        let shell = world.bench.ssh_command();
        let rsync = world.run(&tool("rsync")).args(["-a", "--checksum", "-e", &shell]);
        let finished = rsync.args([place(&from), format!("{HOST}:{}", place(&to))]).finish().await;
        if finished.status.success() {
            (0..FILES).map(|file| file.to_string()).for_each(|file| same(&from.join(&file), &to.join(&file)));
            pulse.beat(FILES * 4 * CHUNK);
            continue;
        }
        let cause = cause(&finished.stderr);
        let may_fail =
            world.may_lose_sessions() || world.storms() > storms && !cause.contains("session was lost");
        assert!(may_fail, "{}", finished.stderr);
        pulse.fail(cause);
    }
}

fn same(one: &Path, other: &Path) {
    assert_eq!(digest(&fs::read(one).unwrap()), digest(&fs::read(other).unwrap()), "{}", other.display());
}

/// One database connection for the whole time: each row is written, and read back by its hash.
pub async fn database(world: &World, pulse: &Pulse) {
    const ROW: usize = 20_000;
    const PROGRAM: &str = "import hashlib, os, sys, pymysql\n\
        place = dict(host='127.0.0.1', port=int(sys.argv[1]), user='root')\n\
        connection = pymysql.connect(**place, autocommit=True)\ncursor = connection.cursor()\n\
        cursor.execute('create database if not exists chaos')\n\
        cursor.execute('create table if not exists chaos.lines (id int auto_increment primary key, line blob)')\n\
        written = 0\n\
        for line in sys.stdin:\n    \
            data = os.urandom(20000)\n    \
            cursor.execute('insert into chaos.lines (line) values (_binary %s)', (data,))\n    \
            cursor.execute('select sha2(line, 256) from chaos.lines where id = last_insert_id()')\n    \
            print(cursor.fetchone()[0] == hashlib.sha256(data).hexdigest(), flush=True)\n    \
            written += 1\n\
        cursor.execute('select count(*) from chaos.lines')\n\
        print(cursor.fetchone()[0] >= written, flush=True)\n";
    let start = || world.run(&python()).args(["-c", PROGRAM, &world.forward.port().to_string()]).start();
    let mut client = start();
    let mut pace = interval(PACE);
    while !world.is_over() {
        pace.tick().await;
        match line(&mut client).await.as_deref() {
            Ok("True\n") => pulse.beat(ROW),
            Ok(other) => {
                let finished = client.finish().await;
                assert!(world.may_lose_sessions(), "{other}: {}", finished.stderr);
                pulse.fail(finished.stderr.lines().last().unwrap_or_default());
                client = start();
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(client.close_and_finish().await.exits(0).text(), "True\n");
}

/// Asks for a row; the answer is empty if the client has ended.
async fn line(client: &mut Running) -> io::Result<String> {
    let stdin = client.stdin.as_mut().expect("open");
    let stdout = client.stdout.as_mut().expect("open");
    let mut answer = [0; 5];
    let answer = async {
        if stdin.write_all(b"\n").await.is_err() {
            return Ok(String::new());
        }
        match stdout.read_exact(&mut answer).await {
            Ok(_) => Ok(String::from_utf8_lossy(&answer).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(String::new()),
            Err(error) => Err(error),
        }
    };
    timeout(PATIENCE, answer).await.expect("a pause has an end")
}

/// Returns the line that names the cause: fumidai's, or ssh's if the service closed the session as it does at a normal end.
fn cause(stderr: &str) -> &str {
    let is_cause = |line: &&str| line.starts_with("fumidai: ") && !line.starts_with("fumidai: hint: ");
    let last = stderr.lines().rfind(|line| !line.trim().is_empty());
    stderr.lines().rev().find(is_cause).or(last).unwrap_or_default()
}
