//! What every test stands on: the classic bastion and app server, a third behind them, and a user with a config file, an
//! ssh_config and a folder of programs.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use fumidai::sim::{ONLINE_TARGET, SimConfig};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::bench::{Bench, Builder as SimBuilder};
use crate::network::{Network, Seat};
use crate::node::Node;
use crate::openssh::{script, user};
use crate::run::Run;
use crate::tools::{search_path, tool};

/// What a session begins with whose agent dials another host.
pub const BY_AGENT: &str = "AWS-StartPortForwardingSessionToRemoteHost";
/// What a session to the bastion's sshd begins with.
pub const BY_SSHD: &str = "AWS-StartSSHSession";
/// The first agent that can dial another host is a later one.
pub const OLD_AGENT: &str = "3.1.1080.0";

/// How a user logs in and what must be proved, unless a test says otherwise.
const LOGINS: &str = "Host *\n    User USER\n    IdentitiesOnly yes\n    IdentityAgent none\n    BatchMode yes\n\
    \x20   UserKnownHostsFile KNOWN_HOSTS\n    GlobalKnownHostsFile none\n    StrictHostKeyChecking yes\n";

/// A world that is yet to be.
pub struct Builder {
    simulator: SimBuilder,
    sshd: [String; 3],
    app: String,
    third: String,
    users: [Option<&'static str>; 3],
}

/// The running parts.
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
    pub fn sshd(mut self, seat: Seat, lines: &str) -> Self {
        self.sshd[seat as usize].push_str(lines);
        self
    }

    /// Adds lines to the app server in the config file.
    pub fn app(mut self, lines: &str) -> Self {
        self.app.push_str(lines);
        self
    }

    /// Every step is made by an sshd.
    pub fn by_ssh_only(self) -> Self {
        self.app("route = 'ssh'\n")
    }

    /// Logs in to a machine as somebody else.
    pub fn user(mut self, seat: Seat, user: &'static str) -> Self {
        self.users[seat as usize] = Some(user);
        self
    }

    /// Starts everything.
    pub async fn start(self) -> World {
        let folder = tempfile::tempdir().unwrap();
        open_to_all(folder.path());
        let network = Arc::new(Network::new());
        let [one, two, three] = &self.sshd;
        let start = async |seat, name, more: &str| {
            let path = folder.path().join(name);
            let more = format!("{more}\nSetEnv NODE={name} PATH={}", search_path());
            let node = Node::start(&network, seat, name, &path, &more).await;
            open_to_all(&path);
            node
        };
        let bastion = start(Seat::Bastion, "bastion", one).await;
        let app = start(Seat::App, "appserver", two).await;
        let third = start(Seat::Third, "third", three).await;
        let places = |config: &mut SimConfig| {
            config.ports.insert(22, bastion.from_root);
            config.hosts.insert((app.host.clone(), app.port), app.from_root);
        };
        let bench = self.simulator.configure(places).start().await;
        let users = self.users.map(|user| user.map_or_else(crate::openssh::user, str::to_owned));
        let world = World { bench, bastion, app, third, network, users, _folder: folder };
        world.provide_programs();
        world.know(&[]);
        world.configure(&world.hosts(&self.app, &self.third));
        world.use_fumidai_for_all().await;
        world
    }
}

impl World {
    /// Begins with a faultless service.
    #[expect(clippy::new_ret_no_self, reason = "it begins the fluent builder")]
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

    /// The hosts of the config file, with more lines for two of them.
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
        fs::create_dir_all(self.bench.path("home/fumidai")).unwrap();
        self.bench.write("home/fumidai/config.toml", text);
    }

    /// Writes an ssh_config; what it says goes before what is usual here.
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

    /// The ssh_config is what `fumidai ssh-config` prints, after these lines.
    pub async fn use_fumidai_for_all_after(&self, lines: &str) {
        let printed = self.run("fumidai ssh-config").finish().await.exits(0);
        self.ssh_config(&format!("{lines}\n{}", printed.text()));
    }

    async fn use_fumidai_for_all(&self) {
        self.use_fumidai_for_all_after("").await;
    }

    /// The user knows the machines by all their names, but for those that are named.
    pub fn know(&self, strangers: &[&Node]) {
        let lines =
            self.nodes().into_iter().filter(|node| !strangers.iter().any(|one| one.name == node.name));
        let lines: String = lines.map(|node| self.known_hosts_line(node, "host_key")).collect();
        self.bench.write("known_hosts", lines);
    }

    /// A line that knows a key of a machine.
    pub fn known_hosts_line(&self, node: &Node, key: &str) -> String {
        format!("{} {}", self.names(node), node.public(key))
    }

    /// Every name that a machine is known by.
    pub fn names(&self, node: &Node) -> String {
        let Node { name, host, port, from_root, .. } = node;
        let id = if *name == "bastion" { format!(",{ONLINE_TARGET}") } else { String::new() };
        // ssh makes the usual form of an address, where it is not in it.
        let address = from_root.ip();
        format!("{name},[{name}]:{port},{host},[{host}]:{port},[{address}]:{port}{id}")
    }

    /// A command line as a user types it, in a folder of the user's.
    pub fn run(&self, line: &str) -> Run {
        let path = format!("{}:{}", self.bench.path("bin").display(), search_path());
        let line = format!("cd {} && exec {line}", self.bench.path("").display());
        let run = self.bench.run(Path::new("/bin/sh")).args(["-c", &line]).env("PATH", path);
        run.env("USER", user()).env("GIT_CONFIG_NOSYSTEM", "1")
    }

    /// Documents of the sessions so far.
    pub fn documents(&self) -> Vec<String> {
        self.bench.simulator.sessions().into_iter().map(|session| session.document).collect()
    }

    /// How many connections each machine's sshd has had.
    pub fn visitors(&self) -> [usize; 3] {
        self.nodes().map(Node::visitors)
    }

    /// Listens on a machine for a service of the test.
    pub fn listen(&self, seat: Seat, port: u16) -> (TcpListener, String, u16, SocketAddr) {
        let bound = self.network.listen(seat, port);
        bound.listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(bound.listener).unwrap();
        (listener, bound.host, bound.port, bound.from_root)
    }

    /// Sends back what comes; returns the address as the machine's neighbours have it.
    pub fn echo(&self, seat: Seat, port: u16) -> String {
        let (listener, host, port, _) = self.listen(seat, port);
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

    /// OpenSSH takes its configuration from the home of the password file, so that a test has to name its own.
    fn provide_programs(&self) {
        let bin = self.bench.path("bin");
        fs::create_dir(&bin).unwrap();
        for program in ["ssh", "scp"] {
            let config = self.bench.path("ssh_config");
            script(
                &bin.join(program),
                &format!("exec {} -F {} \"$@\"", tool(program).display(), config.display()),
            );
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_fumidai"), bin.join("fumidai")).unwrap();
    }
}

/// Another user's keys are read as that user.
fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The digest of a file.
pub fn digest_of(path: &Path) -> String {
    crate::services::digest(&fs::read(path).unwrap())
}
