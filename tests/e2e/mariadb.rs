//! A real MariaDB server with its data in a folder of the test's. It listens on a socket alone, since it has no option to
//! take a free port; the port is ours, and leads there.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::run::PATIENCE;
use crate::services::serve;
use crate::tools::{search_path, tool};

/// The running server; it is stopped once dropped.
pub struct MariaDb {
    pub address: SocketAddr,
    _server: Child,
    _folder: TempDir,
}

impl MariaDb {
    /// Makes a database and serves it on a free port.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [data, socket, log_file] = ["data", "socket", "log"].map(|name| folder.path().join(name));
        let user = Command::new("id").arg("-un").output().await.unwrap();
        let user = format!("--user={}", String::from_utf8(user.stdout).unwrap().trim());
        let log = File::create(&log_file).unwrap();
        let data = format!("--datadir={}", data.display());
        let install =
            ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", &data, &user];
        let status = command(folder.path(), "mariadb-install-db", &install, &log).status().await.unwrap();
        assert!(status.success(), "{}", std::fs::read_to_string(&log_file).unwrap());
        let at = format!("--socket={}", socket.display());
        let small =
            ["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=48M", "--max-allowed-packet=64M"];
        let serve =
            ["--no-defaults", "--skip-networking", "--innodb-flush-log-at-trx-commit=0", &data, &user, &at];
        let server =
            command(folder.path(), "mariadbd", &[&serve[..], &small[..]].concat(), &log).spawn().unwrap();
        let answers = async {
            while UnixStream::connect(&socket).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let answers = timeout(PATIENCE, answers).await;
        answers.unwrap_or_else(|_| panic!("{}", std::fs::read_to_string(&log_file).unwrap()));
        Self { address: lead_to(socket).await, _server: server, _folder: folder }
    }
}

fn command(folder: &Path, program: &str, args: &[&str], log: &File) -> Command {
    let mut command = Command::new(tool(program));
    command
        .args(args)
        .env_clear()
        .env("PATH", search_path())
        .env("TMPDIR", folder)
        .kill_on_drop(true)
        .stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap());
    command
}

/// A free port whose connections are those of a socket.
pub async fn lead_to(socket: PathBuf) -> SocketAddr {
    serve(move |mut stream| {
        let socket = socket.clone();
        async move {
            if let Ok(mut database) = UnixStream::connect(&socket).await {
                let _ = copy_bidirectional(&mut stream, &mut database).await;
            }
        }
    })
    .await
}
