//! A simulator with the built-in ssh server on port 22 of the target, and an ssh configuration for it.
//!
//! All files are in one temporary folder: keys, known hosts, configuration and the home of the child processes.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::sim::config::{ONLINE_TARGET, SimConfig};
use crate::sim::scratch_dir::ScratchDir;
use crate::sim::simulator::{CLEARED_VARIABLES, Simulator};
use crate::sim::ssh_server::SshServer;

/// The ssh name of the simulated instance.
pub(super) const NAME: &str = "demo";

/// A running simulator and ssh server, and their files.
pub(super) struct Sandbox {
    pub simulator: Simulator,
    pub ssh_config: PathBuf,
    pub identity: Option<PathBuf>,
    pub files: PathBuf,
    home: PathBuf,
    _server: Option<SshServer>,
    scratch: ScratchDir,
}

impl Sandbox {
    /// Starts a simulator; port 22 is forwarded to `sshd`, or else to the built-in ssh server.
    ///
    /// # Errors
    /// A port cannot be bound, a key cannot be made, or a file cannot be written.
    pub async fn start(mut config: SimConfig, sshd: Option<SocketAddr>) -> io::Result<Self> {
        let scratch = ScratchDir::new()?;
        let (files, home) = (scratch.folder("host")?, scratch.folder("home")?);
        let (server, address, identity) = match sshd {
            Some(address) => (None, address, None),
            None => {
                let server = SshServer::start(&files).await?;
                let (address, identity) = (server.address(), scratch.write("identity", server.identity()?)?);
                (Some(server), address, Some(identity))
            }
        };
        config.ports.entry(22).or_insert(address);
        let known_hosts = match &server {
            Some(server) => server.known_hosts_line(ONLINE_TARGET)?,
            None => String::new(),
        };
        let known_hosts = scratch.write("known_hosts", known_hosts)?;
        let text = ssh_config(&std::env::current_exe()?, identity.as_deref(), &known_hosts);
        let ssh_config = scratch.write("ssh_config", text)?;
        let simulator = Simulator::start(config).await?;
        Ok(Self { simulator, ssh_config, identity, files, home, _server: server, scratch })
    }

    /// Returns the temporary folder.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Prepares a child process that uses the simulator and none of the user's configuration.
    pub fn command(&self, program: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program);
        for name in CLEARED_VARIABLES.iter().chain(&["SSH_AUTH_SOCK"]) {
            command.env_remove(name);
        }
        command.envs(self.simulator.environment());
        for name in ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"] {
            command.env(name, &self.home);
        }
        command.current_dir(self.scratch.path()).kill_on_drop(true);
        command
    }
}

/// Returns the ssh configuration of the simulated instance; `program fumidai` is fumidai's command line.
fn ssh_config(program: &Path, identity: Option<&Path>, known_hosts: &Path) -> String {
    let program = program.display().to_string().replace('%', "%%");
    let mut lines = vec![
        format!("Host {NAME} {ONLINE_TARGET}"),
        format!("    HostName {ONLINE_TARGET}"),
        format!("    ProxyCommand \"{program}\" fumidai connect '%h' %p"),
    ];
    if let Some(identity) = identity {
        lines.push("    User demo".to_owned());
        lines.push(format!("    IdentityFile \"{}\"", identity.display()));
        lines.push("    IdentitiesOnly yes".to_owned());
        lines.push("    IdentityAgent none".to_owned());
        lines.push(format!("    UserKnownHostsFile \"{}\"", known_hosts.display()));
        lines.push("    GlobalKnownHostsFile none".to_owned());
        lines.push("    StrictHostKeyChecking yes".to_owned());
        lines.push("    BatchMode yes".to_owned());
    }
    lines.push("    ServerAliveInterval 30".to_owned());
    lines.push("    ServerAliveCountMax 30".to_owned());
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_ssh_configuration_uses_the_built_in_ssh_server() {
        let sandbox = Sandbox::start(SimConfig::default(), None).await.unwrap();
        let text = std::fs::read_to_string(&sandbox.ssh_config).unwrap();
        assert!(
            text.contains("fumidai connect '%h' %p") && text.contains("StrictHostKeyChecking yes"),
            "{text}"
        );
        assert!(sandbox.identity.as_ref().is_some_and(|identity| identity.starts_with(sandbox.folder())));
    }

    #[tokio::test]
    async fn an_other_sshd_uses_the_keys_of_the_user() {
        let sshd = SocketAddr::from(([127, 0, 0, 1], 2222));
        let sandbox = Sandbox::start(SimConfig::default(), Some(sshd)).await.unwrap();
        assert_eq!(sandbox.identity, None);
        assert!(!std::fs::read_to_string(&sandbox.ssh_config).unwrap().contains("IdentityFile"));
    }
}
