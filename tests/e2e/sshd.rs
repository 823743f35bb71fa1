//! A real OpenSSH sshd: one `sshd -i` for each connection to a listener of the test, with keys made for this run.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::tools::tool;

/// The name that the host key is known by.
pub const HOST_KEY_ALIAS: &str = "e2e-host";

/// A running sshd; it accepts nothing more once dropped.
pub struct Sshd {
    pub address: SocketAddr,
    pub identity: PathBuf,
    pub known_hosts: PathBuf,
    /// Who we are, and so who is let in.
    pub user: String,
    accepting: JoinHandle<()>,
}

impl Sshd {
    /// Makes keys and configuration in `folder` and listens on a free port.
    pub async fn start(folder: &Path) -> Self {
        let sshd = tool("sshd");
        fs::create_dir(folder).unwrap();
        let (host_key, identity) = (folder.join("host_key"), folder.join("identity"));
        generate_key(&host_key).await;
        generate_key(&identity).await;
        fs::copy(folder.join("identity.pub"), folder.join("authorized_keys")).unwrap();
        let public = fs::read_to_string(folder.join("host_key.pub")).unwrap();
        let known_hosts = folder.join("known_hosts");
        fs::write(&known_hosts, format!("{HOST_KEY_ALIAS} {public}")).unwrap();
        let config = folder.join("sshd_config");
        fs::write(&config, configuration(folder, &host_key)).unwrap();
        provide_separation_folder();
        let log = File::create(folder.join("sshd.log")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(accept(listener, sshd, config, log));
        Self { address, identity, known_hosts, user: user_name().await, accepting }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn configuration(folder: &Path, host_key: &Path) -> String {
    format!(
        "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin yes\nPidFile none\nPrintMotd no\nPrintLastLog no\n\
         LogLevel ERROR\nMaxSessions 20\nUseDNS no\nSubsystem sftp internal-sftp\n",
        host_key.display(),
        folder.join("authorized_keys").display(),
    )
}

async fn accept(listener: TcpListener, sshd: PathBuf, config: PathBuf, log: File) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut server = Command::new(&sshd);
        server.args(["-i", "-e", "-f"]).arg(&config).env_clear().env("PATH", crate::tools::search_path());
        let (stdin, stdout) = ends(stream);
        server.stdin(stdin).stdout(stdout).stderr(log.try_clone().unwrap());
        let mut server = server.spawn().expect("sshd starts");
        tokio::spawn(async move { server.wait().await });
    }
}

/// Makes a connection what inetd would hand over.
fn ends(stream: TcpStream) -> (Stdio, Stdio) {
    stream.set_nodelay(true).unwrap();
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let stdin = std::os::fd::OwnedFd::from(stream.try_clone().unwrap());
    (stdin.into(), std::os::fd::OwnedFd::from(stream).into())
}

async fn generate_key(path: &Path) {
    let mut keygen = Command::new(tool("ssh-keygen"));
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(path);
    assert!(keygen.status().await.unwrap().success());
}

async fn user_name() -> String {
    let output = Command::new("id").arg("-un").output().await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Root's sshd wants this folder, which its service unit makes at boot, and a container has no boot.
fn provide_separation_folder() {
    if rustix::process::geteuid().is_root() {
        fs::create_dir_all("/run/sshd").unwrap();
    }
}
