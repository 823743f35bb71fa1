//! A real sshd with keys for one test, and settings to connect to it: one `sshd -i` for each connection.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use fumidai::jump::{
    HopSettings, JumpError, LocalUser, NoPrompter, Prompter, SshConnection, StrictHostKeys, connect,
};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::openssh::{keygen, user};
use crate::tools::{search_path, tool};

/// A running sshd. When dropped, it stops accepting connections and ends the open ones.
pub struct Sshd {
    pub folder: TempDir,
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
    children: Arc<Mutex<Vec<Child>>>,
}

impl Sshd {
    /// Starts an sshd with an ed25519 host key and additional lines of sshd_config, in which `FOLDER` is its folder.
    pub async fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        keygen(folder.path(), "host_key", &["-t", "ed25519"]).await;
        keygen(folder.path(), "identity", &["-t", "ed25519"]).await;
        fs::copy(folder.path().join("identity.pub"), folder.path().join("authorized_keys")).unwrap();
        Self::with(folder, more).await
    }

    /// Starts an sshd in a folder that has `host_key` and `authorized_keys`.
    pub async fn with(folder: TempDir, more: &str) -> Self {
        let more = more.replace("FOLDER", &folder.path().to_string_lossy());
        let config = folder.path().join("sshd_config");
        fs::write(&config, configuration(folder.path(), &more)).unwrap();
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let log = File::create(folder.path().join("sshd.log")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let children = Arc::default();
        let accepting = tokio::spawn(accept(listener, config, log, Arc::clone(&children)));
        let sshd = Self { folder, address, accepting, children };
        sshd.know("host_key");
        sshd
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The name of the sshd in known_hosts.
    pub fn known_as(&self) -> String {
        format!("[127.0.0.1]:{}", self.address.port())
    }

    pub fn public(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap()
    }

    /// Makes the key of that name the only one in known_hosts.
    pub fn know(&self, name: &str) {
        self.known_hosts(&format!("{} {}", self.known_as(), self.public(name)));
    }

    pub fn known_hosts(&self, text: &str) {
        fs::write(self.path("known_hosts"), text).unwrap();
    }

    /// Authorizes only the keys of these names.
    pub fn authorize(&self, names: &[&str]) {
        let keys: String = names.iter().map(|name| self.public(name)).collect();
        fs::write(self.path("authorized_keys"), keys).unwrap();
    }

    pub fn settings(&self) -> HopSettings {
        let local = LocalUser {
            home: self.folder.path(),
            user: "local-user",
            agent: None,
            clock: SystemTime::now,
            variable: &|_| None,
        };
        let mut settings = HopSettings::new(&user(), "127.0.0.1", self.address.port(), &local);
        settings.identity_files = vec![self.path("identity")];
        settings.user_known_hosts = vec![self.path("known_hosts")];
        settings.global_known_hosts = Vec::new();
        settings.strict = StrictHostKeys::Yes;
        settings
    }

    pub async fn connect(&self, settings: &HopSettings) -> Result<SshConnection, JumpError> {
        self.connect_asking(settings, &NoPrompter).await
    }

    pub async fn connect_asking(
        &self,
        settings: &HopSettings,
        prompter: &dyn Prompter,
    ) -> Result<SshConnection, JumpError> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        connect(stream, settings, prompter).await
    }

    /// Kills the processes that serve the connections.
    pub fn cut(&self) {
        for child in self.children.lock().unwrap().iter_mut() {
            let _ = child.start_kill();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn configuration(folder: &Path, more: &str) -> String {
    format!(
        "{more}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin yes\nPidFile none\nLogLevel VERBOSE\nUseDNS no\n",
        folder.join("host_key").display(),
        folder.join("authorized_keys").display(),
    )
}

async fn accept(listener: TcpListener, config: PathBuf, log: File, children: Arc<Mutex<Vec<Child>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        let stdin = std::os::fd::OwnedFd::from(stream.try_clone().unwrap());
        let stdout = std::os::fd::OwnedFd::from(stream);
        let mut server = Command::new(tool("sshd"));
        server.args(["-i", "-e", "-f"]).arg(&config).env_clear().env("PATH", search_path());
        server.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(log.try_clone().unwrap());
        children.lock().unwrap().push(server.kill_on_drop(true).spawn().expect("sshd starts"));
    }
}
