//! The setup of every test: a bastion, an app server, a third host, and a user with a config file, an ssh_config and
//! a folder of programs.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use fumidai::sim::{ONLINE_TARGET, SimConfig};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::bench::{Bench, Builder as SimBuilder};
use crate::network::{Machine, Network};
use crate::node::Node;
use crate::openssh::user;
use crate::run::Run;
use crate::tools::search_path;

/// The document of a session in which the agent connects to another host.
pub const BY_AGENT: &str = "AWS-StartPortForwardingSessionToRemoteHost";
/// The document of a session to the bastion's sshd.
pub const BY_SSHD: &str = "AWS-StartSSHSession";
/// A version of the agent that cannot connect to another host.
pub const OLD_AGENT: &str = "3.1.1080.0";

/// The default ssh_config for logins and host keys.
const LOGINS: &str = "Host *\n    User USER\n    IdentitiesOnly yes\n    IdentityAgent none\n    BatchMode yes\n\
    \x20   UserKnownHostsFile KNOWN_HOSTS\n    GlobalKnownHostsFile none\n    StrictHostKeyChecking yes\n";

/// Builds a [`World`].
pub struct Builder {
    simulator: SimBuilder,
    sshd: [String; 3],
    app: String,
    third: String,
    users: [Option<&'static str>; 3],
}

/// The running simulator, machines and network.
pub struct World {
    pub bench: Bench,
    pub bastion: Node,
    pub app: Node,
    pub third: Node,
    pub network: Arc<Network>,
    users: [String; 3],
    _folder: TempDir,
}

impl Builder {
    /// Changes the simulator's configuration.
    pub fn configure(mut self, change: impl FnOnce(&mut SimConfig)) -> Self {
        self.simulator = self.simulator.configure(change);
        self
    }

    /// Adds lines to a machine's sshd_config.
    pub fn sshd(mut self, machine: Machine, lines: &str) -> Self {
        self.sshd[machine as usize].push_str(lines);
        self
    }

    /// Adds lines to the app server in the config file.
    pub fn app(mut self, lines: &str) -> Self {
        self.app.push_str(lines);
        self
    }

    /// Makes every hop's sshd connect to the next machine, also the first hop's.
    pub fn by_ssh_only(self) -> Self {
        self.app("route = 'ssh'\n")
    }

    /// Logs in to a machine as another user.
    pub fn user(mut self, machine: Machine, user: &'static str) -> Self {
        self.users[machine as usize] = Some(user);
        self
    }

    /// Starts everything.
    pub async fn start(self) -> World {
        let folder = tempfile::tempdir().unwrap();
        open_to_all(folder.path());
        let network = Arc::new(Network::new());
        let [one, two, three] = &self.sshd;
        let start = async |machine, name, more: &str| {
            let path = folder.path().join(name);
            let more = format!("{more}\nSetEnv NODE={name} PATH={}", search_path());
            let node = Node::start(&network, machine, name, &path, &more).await;
            open_to_all(&path);
            node
        };
        let bastion = start(Machine::Bastion, "bastion", one).await;
        let app = start(Machine::App, "appserver", two).await;
        let third = start(Machine::Third, "third", three).await;
        let places = |config: &mut SimConfig| {
            config.ports.insert(22, bastion.from_root);
            config.hosts.insert((app.host.clone(), app.port), app.from_root);
        };
        let bench = self.simulator.configure(places).start().await;
        let users = self.users.map(|user| user.map_or_else(crate::openssh::user, str::to_owned));
        let world = World { bench, bastion, app, third, network, users, _folder: folder };
        world.bench.provide_programs(&["ssh", "scp"]);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_fumidai"), world.bench.path("bin/fumidai")).unwrap();
        world.know(&[]);
        world.configure(&world.hosts(&self.app, &self.third));
        world.use_fumidai_for_all().await;
        world
    }
}

impl World {
    /// Starts a builder with a simulator without faults.
    #[expect(clippy::new_ret_no_self, reason = "returns the fluent builder")]
    pub fn new() -> Builder {
        Builder {
            simulator: Bench::new(),
            sshd: Default::default(),
            app: String::new(),
            third: String::new(),
            users: [None; 3],
        }
    }

    pub fn nodes(&self) -> [&Node; 3] {
        [&self.bastion, &self.app, &self.third]
    }

    /// The `[hosts]` tables of the config file, with additional lines for two of them.
    pub fn hosts(&self, app: &str, third: &str) -> String {
        let [one, two, three] = &self.users;
        let (appserver, last) = (&self.app, &self.third);
        format!(
            "[hosts.bastion]\ntarget = '{ONLINE_TARGET}'\nuser = '{one}'\n\
             [hosts.appserver]\naddress = '{}'\nport = {}\nuser = '{two}'\nvia = 'bastion'\n{app}\
             [hosts.third]\naddress = '{}'\nport = {}\nuser = '{three}'\nvia = 'appserver'\n{third}",
            appserver.host, appserver.port, last.host, last.port,
        )
    }

    /// Writes the config file.
    pub fn configure(&self, text: &str) {
        self.bench.config(text);
    }

    /// Writes an ssh_config with these lines, which override the defaults of the tests.
    pub fn ssh_config(&self, text: &str) {
        let logins = LOGINS.replace("USER", &user());
        let logins = logins.replace("KNOWN_HOSTS", &self.bench.path("known_hosts").to_string_lossy());
        let identities: String = self
            .nodes()
            .iter()
            .map(|node| format!("Host {}\n    IdentityFile {}\n", node.name, node.path("identity").display()))
            .collect();
        self.bench.write("ssh_config", format!("{text}\n{identities}{logins}"));
    }

    /// Writes an ssh_config with these lines and the output of `fumidai ssh-config`.
    pub async fn use_fumidai_for_all_after(&self, lines: &str) {
        let printed = self.run("fumidai ssh-config").finish().await.exits(0);
        self.ssh_config(&format!("{lines}\n{}", printed.text()));
    }

    async fn use_fumidai_for_all(&self) {
        self.use_fumidai_for_all_after("").await;
    }

    /// Writes known_hosts with all names of all machines except `unknown`.
    pub fn know(&self, unknown: &[&Node]) {
        let lines = self.nodes().into_iter().filter(|node| !unknown.iter().any(|one| one.name == node.name));
        let lines: String = lines.map(|node| self.known_hosts_line(node, "host_key")).collect();
        self.bench.write("known_hosts", lines);
    }

    /// A line of known_hosts with a key of a machine.
    pub fn known_hosts_line(&self, node: &Node, key: &str) -> String {
        format!("{} {}", self.names(node), node.public(key))
    }

    /// All names of a machine in known_hosts.
    pub fn names(&self, node: &Node) -> String {
        let Node { name, host, port, from_root, .. } = node;
        let id = if *name == "bastion" { format!(",{ONLINE_TARGET}") } else { String::new() };
        // ssh writes an address in its usual form.
        let address = from_root.ip();
        format!("{name},[{name}]:{port},{host},[{host}]:{port},[{address}]:{port}{id}")
    }

    /// Runs a command line in the user's folder.
    pub fn run(&self, line: &str) -> Run {
        let line = format!("cd {} && exec {line}", self.bench.path("").display());
        let run = self.bench.run(Path::new("/bin/sh")).args(["-c", &line]);
        self.bench.with_programs(run).env("USER", user()).env("GIT_CONFIG_NOSYSTEM", "1")
    }

    /// The documents of all sessions.
    pub fn documents(&self) -> Vec<String> {
        self.bench.simulator.sessions().into_iter().map(|session| session.document).collect()
    }

    /// The number of connections that each machine's sshd has accepted.
    pub fn connections(&self) -> [usize; 3] {
        self.nodes().map(Node::connections)
    }

    /// Listens on a machine.
    pub fn listen(&self, machine: Machine, port: u16) -> (TcpListener, String, u16, SocketAddr) {
        let bound = self.network.listen(machine, port);
        bound.listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(bound.listener).unwrap();
        (listener, bound.host, bound.port, bound.from_root)
    }

    /// Starts an echo server; returns its address as seen from the neighbouring machines.
    pub fn echo(&self, machine: Machine, port: u16) -> String {
        let (listener, host, port, _) = self.listen(machine, port);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        });
        format!("{host}:{port}")
    }
}

/// Makes a folder readable by all, since sshd reads a user's keys as that user.
fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The digest of a file.
pub fn digest_of(path: &Path) -> String {
    crate::services::digest(&fs::read(path).unwrap())
}
