//! The setup of every test: a bastion and an app server that know only pushed keys, and the stub that pushes them.

use std::fs;
use std::path::{Path, PathBuf};

use fumidai::sim::ONLINE_TARGET;

use crate::instance_connect::InstanceConnect;
use crate::network::Machine;
use crate::openssh::{SshAgent, user};
use crate::run::Run;
use crate::tools::tool;
use crate::world::{Builder, World};

/// The instance of the app server.
pub const APP: &str = "i-0aaaabbbbccccdddd";

/// An sshd that asks for the keys that were pushed, which are valid for 60 seconds, as those of EC2 Instance Connect are.
fn pushed_keys() -> String {
    format!(
        "AuthorizedKeysFile none\nAuthorizedKeysCommand /usr/bin/find FOLDER/pushed-%u -type f -newermt \"60 seconds ago\" \
         -exec /bin/cat {{}} ;\nAuthorizedKeysCommandUser {}\n",
        user()
    )
}

pub struct Desk {
    pub world: World,
    pub service: InstanceConnect,
}

impl Desk {
    /// Both machines have the agent of EC2 Instance Connect. `hosts` are lines for both in the config file.
    pub async fn new(lines: &str) -> Self {
        Self::with(lines, &[Machine::Bastion, Machine::App]).await
    }

    /// Only these machines have that agent.
    pub async fn with(lines: &str, machines: &[Machine]) -> Self {
        let keys = pushed_keys();
        let builder = machines.iter().fold(World::new(), |world, machine| world.sshd(*machine, &keys));
        Self::of(builder, lines).await
    }

    /// The machines are built already.
    pub async fn of(builder: Builder, lines: &str) -> Self {
        let world = builder.start().await;
        let service = InstanceConnect::start();
        service.serve(ONLINE_TARGET, world.bastion.path(""));
        service.serve(APP, world.app.path(""));
        let desk = Self { world, service };
        desk.know_app_by_id();
        desk.configure(lines);
        desk.use_ssh_config("").await;
        desk
    }

    /// ssh knows the host key of a host with an id under that id.
    fn know_app_by_id(&self) {
        let known = fs::read_to_string(self.world.bench.path("known_hosts")).unwrap();
        let line = format!("{APP},[{APP}]:{} {}", self.world.app.port, self.world.app.public("host_key"));
        self.world.bench.write("known_hosts", known + &line);
    }

    /// Writes the config file.
    fn configure(&self, lines: &str) {
        let (app, user) = (&self.world.app, user());
        self.world.configure(&format!(
            "[hosts.bastion]\ntarget = '{ONLINE_TARGET}'\nuser = '{user}'\n{lines}\n\
             [hosts.appserver]\ntarget = '{APP}'\naddress = '{}'\nport = {}\nuser = '{user}'\nvia = 'bastion'\n\
             route = 'ssh'\n{lines}\n",
            app.host, app.port
        ));
    }

    /// Writes the ssh_config of `fumidai ssh-config` behind some lines, without any key of the user.
    pub async fn use_ssh_config(&self, lines: &str) {
        let printed = self.run("fumidai ssh-config").finish().await.exits(0);
        let known_hosts = self.world.bench.path("known_hosts");
        self.world.bench.write(
            "ssh_config",
            format!(
                "{lines}\n{}\nHost *\n    User {}\n    BatchMode yes\n    UserKnownHostsFile {}\n    \
                 GlobalKnownHostsFile none\n    StrictHostKeyChecking yes\n    IdentityFile none\n",
                printed.text(),
                user(),
                known_hosts.display()
            ),
        );
    }

    /// Runs a command line.
    pub fn run(&self, line: &str) -> Run {
        let run = self.world.run(line).env("XDG_RUNTIME_DIR", self.world.bench.path("runtime"));
        run.env("AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT", &self.service.url)
    }

    /// The log file.
    pub fn log(&self) -> String {
        fs::read_to_string(self.world.bench.path("home/fumidai/fumidai.log")).unwrap_or_default()
    }

    /// The folder of key files.
    pub fn key_files(&self) -> PathBuf {
        self.world.bench.path("runtime/fumidai")
    }

    /// Returns true if no key file and no lock is left.
    pub fn has_no_files(&self) -> bool {
        fs::read_dir(self.key_files()).map_or(0, Iterator::count) == 0
    }

    /// Starts an agent, and lets ssh use it for the target by its id, as a user writes it by hand.
    pub async fn agent(&self) -> SshAgent {
        let agent = SshAgent::start(&self.world.bench.path("home")).await;
        self.use_ssh_config(&format!(
            "Host {ONLINE_TARGET}\n    ProxyCommand fumidai connect --ephemeral-key '%r@%h' %p"
        ))
        .await;
        agent
    }
}

/// What `ssh-add -L` prints.
pub fn listed(agent: &Path) -> String {
    let mut list = std::process::Command::new(tool("ssh-add"));
    let output = list.arg("-L").env("SSH_AUTH_SOCK", agent).output().unwrap();
    if output.status.code() == Some(1) {
        // It says that there are none.
        return String::new();
    }
    String::from_utf8(output.stdout).unwrap()
}

/// Removes all keys from an agent.
pub fn forget_all(agent: &Path) {
    let mut remove = std::process::Command::new(tool("ssh-add"));
    let status = remove.args(["-q", "-D"]).env("SSH_AUTH_SOCK", agent).status().unwrap();
    assert!(status.success(), "{status}");
}
