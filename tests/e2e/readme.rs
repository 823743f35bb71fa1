//! The README's commands, line by line, with contrib/ssh_config, against the simulator's own host.
//!
//! Only what a test machine cannot have is replaced: folders of the far side, for ssh the database's name, the local port.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fumidai::sim::{ONLINE_TARGET, SshServer};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bench::Bench;
use crate::run::{PATIENCE, Run};
use crate::services::echo;
use crate::tools::tool;

/// The lines of the README's `sh` blocks that begin with this.
fn commands(beginning: &str) -> Vec<String> {
    let readme = include_str!("../../README.md");
    let lines = readme.split("```sh\n").skip(1).flat_map(|block| block.split("```").next().unwrap().lines());
    let wanted: Vec<String> = lines.filter(|line| line.starts_with(beginning)).map(str::to_owned).collect();
    assert!(!wanted.is_empty(), "the README has no `{beginning}`");
    wanted
}

/// The database, as the README calls it.
const DATABASE: (&str, u16) = ("orders.cluster-abc.ap-northeast-1.rds.amazonaws.com", 3306);

/// A user's machine with contrib/ssh_config in its ssh_config, and an instance with the simulator's host on it.
struct Machine {
    bench: Bench,
    _host: SshServer,
    _far_home: tempfile::TempDir,
    bin: PathBuf,
}

impl Machine {
    async fn new() -> Self {
        Self::before(None).await
    }

    /// The agent there finds the database at that address.
    async fn before(database: Option<SocketAddr>) -> Self {
        let far_home = tempfile::tempdir().unwrap();
        let host = SshServer::start(far_home.path()).await.unwrap();
        let (name, port) = DATABASE;
        let hosts = database.map(|address| ((name.to_owned(), port), address));
        let bench = Bench::new().port(22, host.address()).configure(|config| config.hosts.extend(hosts));
        let bench = bench.start().await;
        let known_hosts = bench.write("known_hosts", host.known_hosts_line(ONLINE_TARGET).unwrap());
        let identity = bench.write("identity", host.identity().unwrap());
        fs::set_permissions(&identity, fs::Permissions::from_mode(0o600)).unwrap();
        let config = format!(
            "{}\nHost *\n    IdentityFile {}\n    UserKnownHostsFile {}\n    BatchMode yes\n",
            include_str!("../../contrib/ssh_config"),
            identity.display(),
            known_hosts.display(),
        );
        let config = bench.write("ssh_config", config);
        let bin = bench.path("bin");
        fs::create_dir(&bin).unwrap();
        // OpenSSH takes its configuration from the home of the password file, so that a test has to name its own.
        for program in ["ssh", "scp"] {
            let script =
                format!("#!/bin/sh\nexec {} -F {} \"$@\"\n", tool(program).display(), config.display());
            fs::write(bin.join(program), script).unwrap();
            fs::set_permissions(bin.join(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_fumidai"), bin.join("fumidai")).unwrap();
        Self { bench, _host: host, _far_home: far_home, bin }
    }

    /// The line as the README has it, in the test's folder.
    fn run(&self, line: &str) -> Run {
        let path = format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap());
        let line = format!("cd {} && exec {line}", self.bench.path("").display());
        self.bench.run(Path::new("/bin/sh")).args(["-c", &line]).env("PATH", path)
    }
}

#[tokio::test]
async fn a_shell_a_file_and_a_folder() {
    let machine = Machine::new().await;
    let far = machine.bench.path("far");
    fs::create_dir_all(far.join("app")).unwrap();
    fs::write(far.join("test.txt"), "a file").unwrap();
    fs::write(far.join("app/log"), "a folder").unwrap();
    for line in commands("ssh ec2-user") {
        let shell = machine.run(&line).input("echo in a shell; exit 4\n").finish().await.exits(4);
        assert!(shell.text().contains("in a shell"), "{}", shell.text());
    }
    let here = |line: &str| {
        line.replace("/tmp/", &format!("{}/", far.display()))
            .replace("/var/log/", &format!("{}/", far.display()))
    };
    for line in commands("scp ") {
        machine.run(&here(&line)).finish().await.exits(0);
    }
    assert_eq!(fs::read_to_string(machine.bench.path("test.txt")).unwrap(), "a file");
    for line in commands("rsync ") {
        machine.run(&here(&line)).finish().await.exits(0);
    }
    assert_eq!(fs::read_to_string(machine.bench.path("logs/log")).unwrap(), "a folder");
    machine.bench.settle().await;
}

#[tokio::test]
async fn a_database_behind_the_server() {
    let machine = Machine::new().await;
    let database = echo().await;
    for line in commands("ssh -N -L") {
        let free = free_port().await;
        let remote = format!("{}:{}", DATABASE.0, DATABASE.1);
        assert!(line.contains(&format!("13306:{remote}")), "{line}");
        let line =
            line.replace("13306:", &format!("{}:", free.port())).replace(&remote, &database.to_string());
        let forward = machine.run(&line).start();
        ask(free).await;
        forward.signal(Signal::TERM);
        forward.finish().await;
    }
    machine.bench.settle().await;
}

#[tokio::test]
async fn a_private_database_on_localhost() {
    let machine = Machine::before(Some(echo().await)).await;
    for line in commands("fumidai forward i-") {
        let free = free_port().await;
        let forward = machine.run(&line.replace("13306:", &format!("{}:", free.port()))).start();
        ask(free).await;
        forward.signal(Signal::INT);
        forward.finish().await.exits(130);
    }
    let readme = include_str!("../../README.md");
    let (_, named) = readme.split_once("```toml\n[forwards.orders-db]").expect("a forward with a name");
    let named = named.split("```").next().unwrap();
    for line in commands("fumidai forward orders-db") {
        let free = free_port().await;
        let named = named.replace(":13306", &format!(":{}", free.port()));
        let folder = machine.bench.path("home/fumidai");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.toml"), format!("[forwards.orders-db]{named}")).unwrap();
        let forward = machine.run(&line).start();
        ask(free).await;
        forward.signal(Signal::TERM);
        forward.finish().await.exits(143);
    }
    machine.bench.settle().await;
}

#[tokio::test]
async fn the_benchmark_of_forwards_measures() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/bench/forward.py");
    let binaries = Path::new(env!("CARGO_BIN_EXE_fumidai")).parent().unwrap();
    let run =
        Run::new(&tool("python3")).env("PATH", std::env::var("PATH").unwrap()).args([script, "--binaries"]);
    let run = run.args([binaries]).args(["--megabytes", "0.05", "--requests", "5", "--connections", "10"]);
    let ratios = run.finish().await.exits(0);
    assert_eq!(ratios.text().matches(" times").count(), 5, "{}", ratios.text());
}

/// An address that was free a moment ago.
pub async fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Asks the database, as soon as the port is listening.
async fn ask(local: SocketAddr) {
    let talk = async {
        loop {
            let Ok(mut stream) = TcpStream::connect(local).await else {
                tokio::task::yield_now().await;
                continue;
            };
            stream.write_all(b"select 1").await.unwrap();
            let mut answer = [0; 8];
            stream.read_exact(&mut answer).await.unwrap();
            return answer;
        }
    };
    assert_eq!(&tokio::time::timeout(PATIENCE, talk).await.unwrap(), b"select 1");
}
