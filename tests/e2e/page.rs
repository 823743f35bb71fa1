//! A page of the documentation whose settings and commands are used as they are written, on a user's machine.
//!
//! Only what a test machine cannot have is replaced: the user of the server, and local ports by free ones.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use fumidai::sim::{ONLINE_TARGET, SimConfig, SimTarget};
use rustix::process::Signal;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::bench::Bench;
use crate::run::{PATIENCE, Run, Running};
use crate::tools::{search_path, tool};

/// The page's own user, for whom the test's user stands.
const USER: &str = "ec2-user";

/// The page, and a machine with its config file and its ssh_config.
pub struct Page {
    pub bench: Bench,
    text: String,
    /// The local ports, in the order of their appearance.
    pub local: Vec<SocketAddr>,
}

/// A forward of the page that listens.
pub struct Listening(Running);

impl Page {
    /// Sets up the machine; every instance of the page has the test's sshd.
    pub async fn open(path: &str, configure: impl FnOnce(&mut SimConfig)) -> Self {
        let text = read(path);
        let targets = instances(&text);
        let bench = Bench::new().sshd().configure(configure).configure(|config| {
            config.targets = targets.iter().map(|id| SimTarget::new(id, "simulated", true)).collect();
        });
        let bench = bench.start().await;
        let (text, local) = with_free_ports(text.replace(USER, &bench.sshd().user)).await;
        let page = Self { bench, text, local };
        page.set_up();
        page
    }

    fn set_up(&self) {
        let home = self.bench.path("home");
        for folder in ["home/fumidai", "home/.ssh", "bin", "ssh", "work"] {
            fs::create_dir(self.bench.path(folder)).unwrap();
        }
        fs::write(home.join("fumidai/config.toml"), self.blocks("toml").concat()).unwrap();
        let key = fs::read_to_string(self.bench.path("sshd/host_key.pub")).unwrap();
        let known_hosts = self.bench.write("known_hosts", format!("* {key}"));
        let identity = self.bench.sshd().identity.display().to_string();
        let config = format!(
            "{}\nHost *\n    IdentityFile {identity}\n    IdentitiesOnly yes\n    IdentityAgent none\n    \
             UserKnownHostsFile {}\n    GlobalKnownHostsFile none\n    StrictHostKeyChecking yes\n    BatchMode yes\n",
            self.blocks("sshconfig").concat(),
            known_hosts.display(),
        );
        fs::write(home.join(".ssh/config"), config).unwrap();
        // OpenSSH takes its configuration from the home of the password file, so that a test has to name its own.
        for program in ["ssh", "scp"] {
            let script = format!(
                "#!/bin/sh\nexec {} -F {}/.ssh/config \"$@\"\n",
                tool(program).display(),
                home.display()
            );
            let wrapper = self.bench.path("ssh").join(program);
            fs::write(&wrapper, script).unwrap();
            fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_fumidai"), self.bench.path("bin/fumidai")).unwrap();
    }

    /// The page's scripts, which must be so many: all of them are run by its test.
    pub fn scripts<const COUNT: usize>(&self) -> [String; COUNT] {
        self.blocks("sh").try_into().unwrap_or_else(|blocks| panic!("the page has other scripts: {blocks:?}"))
    }

    /// The contents of the fenced blocks of that language.
    pub fn blocks(&self, language: &str) -> Vec<String> {
        blocks(&self.text, language)
    }

    /// Writes the blocks that begin with `# FILE` into the folder that scripts run in.
    pub fn write_files(&self, language: &str) {
        for block in self.blocks(language) {
            let name =
                block.lines().next().and_then(|line| line.strip_prefix("# ")).expect("the name of a file");
            fs::write(self.bench.path("work").join(name), &block).unwrap();
        }
    }

    /// A script by the shell, which ends at its first error.
    pub fn run(&self, script: &str) -> Run {
        self.shell(script, &["bin", "ssh"])
    }

    /// The same with a PATH that lacks fumidai, as programs with windows have it.
    pub fn run_on_the_desktop(&self, script: &str) -> Run {
        self.shell(script, &["ssh"])
    }

    fn shell(&self, script: &str, folders: &[&str]) -> Run {
        let folders: Vec<String> =
            folders.iter().map(|folder| self.bench.path(folder).display().to_string()).collect();
        let script = format!("cd {} && {script}", self.bench.path("work").display());
        let run = self.bench.run(Path::new("/bin/sh")).args(["-e", "-c", &script]);
        run.env("PATH", format!("{}:{}", folders.join(":"), search_path())).env("LC_ALL", "C.UTF-8")
    }

    /// Runs a script that forwards until it is ended, and waits for the port of that number.
    pub async fn forward(&self, script: &str, number: usize) -> Listening {
        let running = self.run(&format!("exec {script}")).start();
        connect(self.local[number]).await;
        Listening(running)
    }

    /// The folder that scripts run in.
    pub fn work(&self) -> PathBuf {
        self.bench.path("work")
    }
}

impl Listening {
    /// Ends it as Ctrl-C does.
    pub async fn end(self) {
        self.0.signal(Signal::INT);
        self.0.finish().await.exits(130);
    }
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let starts = text.split(&fence).skip(1);
    starts.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The instances of the config file on the page.
fn instances(text: &str) -> Vec<String> {
    let config = blocks(text, "toml").concat();
    let quoted = config.split('"').filter(|word| word.starts_with("i-")).map(str::to_owned);
    let mut found: Vec<String> = quoted.chain([ONLINE_TARGET.to_owned()]).collect();
    found.sort();
    found.dedup();
    found
}

/// Replaces the local ports of the page by free ones.
async fn with_free_ports(mut text: String) -> (String, Vec<SocketAddr>) {
    let mut ports: Vec<String> = Vec::new();
    for (before, after) in [("= \"127.0.0.1:", "\""), ("-D ", "\n")] {
        let found = text.split(before).skip(1).filter_map(|rest| rest.split(after).next());
        ports.extend(found.filter(|port| port.parse::<u16>().is_ok()).map(str::to_owned));
    }
    let mut local = Vec::new();
    for port in ports {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        text = text.replace(&port, &free.port().to_string());
        local.push(free);
    }
    (text, local)
}

/// Connects as soon as the port is listening.
pub async fn connect(local: SocketAddr) -> TcpStream {
    let tries = async {
        loop {
            match TcpStream::connect(local).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, tries).await.unwrap_or_else(|_| panic!("{local} does not listen"))
}
