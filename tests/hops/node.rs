//! An sshd on a machine of the network: one `sshd -i` for each connection, and a record of who came.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::network::{Network, Seat};
use crate::openssh::keygen;
use crate::tools::{search_path, tool};

/// A machine with an sshd.
pub struct Node {
    /// What ssh_config and the config file call it.
    pub name: &'static str,
    /// Where the hop before it finds it.
    pub host: String,
    pub port: u16,
    /// Where the agent finds it.
    pub from_root: SocketAddr,
    folder: PathBuf,
    accepting: JoinHandle<()>,
    children: Arc<Mutex<Vec<Child>>>,
}

impl Node {
    /// Starts one with keys of its own and these lines of sshd_config, in which `FOLDER` is its folder.
    pub async fn start(
        network: &Arc<Network>,
        seat: Seat,
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
        let bound = network.listen(seat, 22);
        let children = Arc::default();
        let accepting = accept(network.clone(), seat, bound.listener, folder, Arc::clone(&children));
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

    /// A public key of its folder, as a line.
    pub fn public(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap()
    }

    /// Puts another host key in the place of its own.
    pub async fn swap_host_key(&self) {
        for file in ["host_key", "host_key.pub"] {
            fs::remove_file(self.path(file)).unwrap();
        }
        keygen(&self.folder, "host_key", &["-t", "ed25519"]).await;
    }

    /// What its sshd said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("sshd.log")).unwrap()
    }

    /// How many connections it has had.
    pub fn visitors(&self) -> usize {
        self.children.lock().unwrap().len()
    }

    /// Lets nobody in any more; who is there stays.
    pub async fn stop(&mut self) {
        self.accepting.abort();
        // The listener is closed by then.
        let _ = (&mut self.accepting).await;
    }

    /// Ends what serves the connections, as an outage would.
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

/// Who tries to log in is in the log, so that a test can see that nobody did.
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
    seat: Seat,
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
            let child = network.within(seat, || server.spawn()).expect("sshd starts");
            children.lock().unwrap().push(child);
        }
    }
}

/// Makes a connection what inetd would hand over.
fn ends(stream: TcpStream) -> (Stdio, Stdio) {
    stream.set_nodelay(true).unwrap();
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let stdin = OwnedFd::from(stream.try_clone().unwrap());
    (stdin.into(), OwnedFd::from(stream).into())
}
