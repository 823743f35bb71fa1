//! What every test stands on: a simulator, perhaps a real sshd behind it, a folder, and commands that see only these.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fumidai::sim::agent::AgentConfig;
use fumidai::sim::{Faults, ONLINE_TARGET, SimConfig, SimEvent, Simulator};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::run::Run;
use crate::sshd::{HOST_KEY_ALIAS, Sshd};
use crate::tools::{search_path, tool};

/// The ssh name of the target.
pub const HOST: &str = "e2e";
/// The ssh name of the same sshd, as it is reached from the target.
pub const INNER: &str = "inner";
/// ssh does not wait for its ProxyCommand, so a session may outlive it by what fumidai takes to say goodbye.
const SETTLING: Duration = Duration::from_secs(15);

/// A configuration that grows.
pub struct Builder {
    config: SimConfig,
    has_sshd: bool,
    options: Vec<String>,
}

/// The running parts.
pub struct Bench {
    pub simulator: Simulator,
    sshd: Option<Sshd>,
    folder: TempDir,
}

impl Builder {
    /// Changes the simulator's configuration.
    pub fn configure(mut self, change: impl FnOnce(&mut SimConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Changes what goes wrong.
    pub fn faults(self, change: impl FnOnce(&mut Faults)) -> Self {
        self.configure(|config| change(&mut config.faults))
    }

    /// Changes the agents.
    pub fn agent(self, change: impl FnOnce(&mut AgentConfig)) -> Self {
        self.configure(|config| change(&mut config.agent))
    }

    /// Leads a port of the target to a service.
    pub fn port(self, port: u16, service: SocketAddr) -> Self {
        self.configure(|config| {
            config.ports.insert(port, service);
        })
    }

    /// Puts a real sshd behind port 22.
    pub fn sshd(mut self) -> Self {
        self.has_sshd = true;
        self
    }

    /// Adds options to the ProxyCommand.
    pub fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// Starts everything.
    pub async fn start(mut self) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let sshd = if self.has_sshd { Some(Sshd::start(&folder.path().join("sshd")).await) } else { None };
        if let Some(sshd) = &sshd {
            self.config.ports.insert(22, sshd.address);
            let text = ssh_config(sshd, &self.options.join(" "));
            fs::write(folder.path().join("ssh_config"), text).unwrap();
        }
        fs::create_dir(folder.path().join("home")).unwrap();
        // On a thread of its own: it must not wait for a test, nor a test for it.
        let simulator = tokio::task::spawn_blocking(|| Simulator::spawn(self.config)).await.unwrap().unwrap();
        Bench { simulator, sshd, folder }
    }
}

impl Bench {
    /// Begins with a faultless service whose agent does not pause between reads.
    #[expect(clippy::new_ret_no_self, reason = "it begins the fluent builder")]
    pub fn new() -> Builder {
        let config = SimConfig { agent: AgentConfig::default().unpaced(), ..SimConfig::default() };
        Builder { config, has_sshd: false, options: Vec::new() }
    }

    /// The sshd behind port 22 of the target.
    pub fn sshd(&self) -> &Sshd {
        self.sshd.as_ref().expect("a bench with an sshd")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the test's folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Prepares a program that sees the simulator and nothing of the user's.
    pub fn run(&self, program: &Path) -> Run {
        let home = self.path("home");
        let homes = ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"];
        let run = homes.iter().fold(Run::new(program), |run, name| run.env(name, &home));
        let environment = self.simulator.environment();
        environment.iter().fold(run.env("PATH", search_path()), |run, (name, value)| run.env(name, value))
    }

    pub fn fumidai<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.run(Path::new(env!("CARGO_BIN_EXE_fumidai"))).args(args)
    }

    /// `fumidai connect` to a port of the target.
    pub fn connect(&self, port: u16, options: &[&str]) -> Run {
        self.fumidai(["connect", ONLINE_TARGET, &port.to_string()]).args(options)
    }

    /// One of OpenSSH's clients with the test's configuration.
    pub fn open_ssh<S: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = S>) -> Run {
        self.run(&tool(program)).args(["-F".as_ref(), self.path("ssh_config").as_os_str()]).args(args)
    }

    pub fn ssh<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.open_ssh("ssh", args)
    }

    /// The ssh command line for programs that run ssh themselves.
    pub fn ssh_command(&self) -> String {
        format!("{} -F {}", tool("ssh").display(), self.path("ssh_config").display())
    }

    /// The identifier of the only session.
    pub fn session(&self) -> String {
        let sessions = self.simulator.sessions();
        assert_eq!(sessions.len(), 1);
        sessions[0].id.clone()
    }

    /// Waits for an event.
    pub async fn see(&self, what: &str, predicate: impl Fn(&SimEvent) -> bool) -> SimEvent {
        let event = timeout(crate::run::PATIENCE, self.simulator.wait_for(predicate)).await;
        event.unwrap_or_else(|_| panic!("{what} did not happen: {:#?}", self.simulator.journal().entries()))
    }

    /// Sees that every session has ended.
    pub async fn settle(&self) {
        assert!(!self.simulator.sessions().is_empty(), "no session was started");
        for open in self.simulator.open_sessions() {
            let is_end =
                |event: &SimEvent| matches!(event, SimEvent::Ended { session, .. } if *session == open.id);
            let ended = timeout(SETTLING, self.simulator.wait_for(is_end)).await;
            assert!(ended.is_ok(), "left open: {open:?}");
        }
    }
}

fn ssh_config(sshd: &Sshd, options: &str) -> String {
    format!(
        "Host {HOST}\n    HostName {ONLINE_TARGET}\n    ProxyCommand {fumidai} connect %h %p {options}\n\
         Host {INNER}\n    HostName {address}\n    Port {port}\n\
         Host *\n    User {user}\n    IdentityFile {identity}\n    IdentitiesOnly yes\n    IdentityAgent none\n\
         \x20   HostKeyAlias {HOST_KEY_ALIAS}\n    UserKnownHostsFile {known_hosts}\n\
         \x20   GlobalKnownHostsFile none\n    StrictHostKeyChecking yes\n    BatchMode yes\n\
         \x20   ServerAliveInterval 30\n    ServerAliveCountMax 30\n",
        fumidai = env!("CARGO_BIN_EXE_fumidai"),
        address = sshd.address.ip(),
        port = sshd.address.port(),
        user = sshd.user,
        identity = sshd.identity.display(),
        known_hosts = sshd.known_hosts.display(),
    )
}
