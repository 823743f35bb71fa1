//! An sshd on a machine of the network: one `sshd -i` for each connection, and a count of the connections.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::network::{Machine, Network};
use crate::openssh::keygen;
use crate::tools::{search_path, tool};

/// A machine with an sshd.
pub struct Node {
    /// The name in ssh_config and in the config file.
    pub name: &'static str,
    /// The address as seen from the previous hop.
    pub host: String,
    pub port: u16,
    /// The address as seen from the agent.
    pub from_root: SocketAddr,
    folder: PathBuf,
    accepting: JoinHandle<()>,
    children: Arc<Mutex<Vec<Child>>>,
}

impl Node {
    /// Starts an sshd with its own keys and additional lines of sshd_config, in which `FOLDER` is its folder.
    pub async fn start(
        network: &Arc<Network>,
        machine: Machine,
        name: &'static str,
        folder: &Path,
        more: &str,
    ) -> Self {
        fs::create_dir(folder).unwrap();
        for key in ["host_key", "identity"] {
            keygen(folder, key, &["-t", "ed25519"]).await;
        }
        fs::copy(folder.join("identity.pub"), folder.join("authorized_keys")).unwrap();
        fs::write(folder.join("sshd_config"), configuration(folder, more)).unwrap();
        let bound = network.listen(machine, 22);
        let children = Arc::default();
        let accepting = accept(network.clone(), machine, bound.listener, folder, Arc::clone(&children));
        Self {
            name,
            host: bound.host,
            port: bound.port,
            from_root: bound.from_root,
            folder: folder.to_owned(),
            accepting: tokio::spawn(accepting),
            children,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns a public key of the folder as a line.
    pub fn public(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap()
    }

    /// Replaces the host key.
    pub async fn swap_host_key(&self) {
        for file in ["host_key", "host_key.pub"] {
            fs::remove_file(self.path(file)).unwrap();
        }
        keygen(&self.folder, "host_key", &["-t", "ed25519"]).await;
    }

    /// The log of the sshd.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("sshd.log")).unwrap()
    }

    /// The number of connections that it has accepted.
    pub fn connections(&self) -> usize {
        self.children.lock().unwrap().len()
    }

    /// Stops accepting connections; open ones continue.
    pub async fn stop(&mut self) {
        self.accepting.abort();
        // The listener is closed once the task has ended.
        let _ = (&mut self.accepting).await;
    }

    /// Kills the processes that serve the connections.
    pub fn cut(&self) {
        for child in self.children.lock().unwrap().iter_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

/// An sshd_config that logs every login attempt, so that a test can check that there was none.
fn configuration(folder: &Path, more: &str) -> String {
    let more = more.replace("FOLDER", &folder.to_string_lossy());
    format!(
        "{more}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nPidFile none\nPrintMotd no\n\
         PrintLastLog no\nLogLevel VERBOSE\nUseDNS no\nSubsystem sftp internal-sftp\n",
        folder = folder.display(),
    )
}

fn accept(
    network: Arc<Network>,
    machine: Machine,
    listener: TcpListener,
    folder: &Path,
    children: Arc<Mutex<Vec<Child>>>,
) -> impl Future<Output = ()> + 'static {
    if rustix::process::geteuid().is_root() {
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let (config, log) = (folder.join("sshd_config"), folder.join("sshd.log"));
    let log = File::options().create(true).append(true).open(log).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut server = Command::new(tool("sshd"));
            server.args(["-i", "-e", "-f"]).arg(&config).env_clear().env("PATH", search_path());
            let (stdin, stdout) = ends(stream);
            server.stdin(stdin).stdout(stdout).stderr(log.try_clone().unwrap());
            let child = network.within(machine, || server.spawn()).expect("sshd starts");
            children.lock().unwrap().push(child);
        }
    }
}

/// Converts a connection to standard input and output, as inetd does.
fn ends(stream: TcpStream) -> (Stdio, Stdio) {
    stream.set_nodelay(true).unwrap();
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let stdin = OwnedFd::from(stream.try_clone().unwrap());
    (stdin.into(), OwnedFd::from(stream).into())
}
