//! A real PostgreSQL server with its data in a folder of the test's, which takes tokens of RDS for passwords: it sends them to a
//! directory that checks them, as RDS does to IAM.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::ChildStdout;
use tokio::time::timeout;

use crate::bench::Bench;
use crate::mariadb::lead_to;
use crate::run::{PATIENCE, Run, Running};
use crate::tools::{python, tool};

/// The checker of passwords.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/iam_directory.py");

/// The running parts; they are stopped once dropped.
pub struct Postgres {
    pub address: SocketAddr,
    verdicts: Lines<BufReader<ChildStdout>>,
    socket_folder: PathBuf,
    _directory: Running,
    _server: Running,
    _folder: TempDir,
}

impl Postgres {
    /// Makes a database with a user who logs in with tokens for this name and port.
    pub async fn start(bench: &Bench, host: &str, port: u16, user: &str) -> Self {
        let keys = bench.simulator.credentials();
        let place = [host, &port.to_string(), "eu-central-1", &keys.access_key_id, &keys.secret_access_key];
        let mut directory = bench.run(&python()).args([DIRECTORY]).args(place).start();
        let mut verdicts = BufReader::new(directory.stdout.take().unwrap()).lines();
        let directory_port = next(&mut verdicts).await;
        let folder = tempfile::tempdir().unwrap();
        // The server refuses to run as root, and another user needs the folder.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let data = folder.path().join("data");
        let made = of_server(bench, "initdb").args(["-U", "postgres", "-A", "trust", "--no-sync", "-D"]);
        made.args([&data]).finish().await.exits(0);
        let rules = format!(
            "local all postgres trust\nlocal all all ldap ldapserver=127.0.0.1 ldapport={directory_port} ldapprefix=\"uid=\"\n"
        );
        let rules_file = folder.path().join("rules");
        fs::write(&rules_file, rules).unwrap();
        let setting = |name: &str, value: &Path| ["-c".to_owned(), format!("{name}={}", value.display())];
        let server = of_server(bench, "postgres").args(["-c", "listen_addresses=", "-c", "fsync=off", "-D"]);
        let server = server.args([&data]).args(setting("unix_socket_directories", folder.path()));
        let server = server.args(setting("hba_file", &rules_file)).start();
        let socket = folder.path().join(".s.PGSQL.5432");
        let answers = async {
            while UnixStream::connect(&socket).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, answers).await.unwrap_or_else(|_| panic!("{}", server.said()));
        let postgres = Self {
            address: lead_to(socket).await,
            verdicts,
            socket_folder: folder.path().to_owned(),
            _directory: directory,
            _server: server,
            _folder: folder,
        };
        postgres.make_user(bench, user).await;
        postgres
    }

    async fn make_user(&self, bench: &Bench, user: &str) {
        let connection = format!("host={} user=postgres dbname=postgres", self.socket_folder.display());
        let statement = format!("create role \"{user}\" login");
        let made = async || bench.run(&tool("psql")).args([&connection, "-c", &statement]).finish().await;
        // It accepts connections before it is ready for queries.
        let ready = async { while made().await.stderr.contains("starting up") {} };
        timeout(PATIENCE, ready).await.expect("the server is ready");
    }

    /// What the directory has said about the next password.
    pub async fn verdict(&mut self) -> String {
        next(&mut self.verdicts).await
    }
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = timeout(PATIENCE, lines.next_line()).await.expect("it says something in time").unwrap();
    line.expect("the directory runs")
}

/// A program of the server's, which Debian keeps out of the path; not as root.
fn of_server(bench: &Bench, program: &str) -> Run {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(program)).find(|path| path.is_file());
    let program = found.unwrap_or_else(|| tool(program));
    if !rustix::process::geteuid().is_root() {
        return bench.run(&program);
    }
    let nobody = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"];
    bench.run(&tool("setpriv")).args(nobody).args([&program]).current_dir(Path::new("/"))
}
