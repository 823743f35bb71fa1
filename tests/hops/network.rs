//! The network of the hops: each machine in a network namespace, or on its own loopback address where namespaces are
//! not permitted.
//!
//! ```text
//! root (fumidai, the agent) ── bastion ── app ── third
//!            └────────────────────────────┘
//! ```
//!
//! The simulator plays the bastion's agent in the root namespace, which therefore has a route to the app server too. Only
//! the app server has a route to the third machine.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The environment variable that disables namespaces with the value `none`.
const CHOICE: &str = "FUMIDAI_TEST_NETNS";
/// The first address of the range for network tests (RFC 2544); each network takes eight.
const TEST_ADDRESSES: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// The number of networks in that range.
const NETWORKS: u32 = 1 << 14;
/// The number of networks that a process may create before its addresses overlap with the next process id's.
const EACH: u32 = 64;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A machine of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    Bastion,
    App,
    Third,
}

/// The network, which is removed when dropped.
pub enum Network {
    Namespaces(Namespaces),
    Loopback,
}

/// The namespaces of the machines.
pub struct Namespaces {
    name: String,
    /// The first address of the network.
    first: u32,
}

/// A listener and its addresses.
pub struct Bound {
    pub listener: TcpListener,
    /// The host as seen from the previous hop, and in the user's configuration.
    pub host: String,
    pub port: u16,
    /// The address as seen from the agent, which is in the root namespace.
    pub from_root: SocketAddr,
}

impl Machine {
    const ALL: [Self; 3] = [Self::Bastion, Self::App, Self::Third];

    fn letter(self) -> char {
        match self {
            Self::Bastion => 'b',
            Self::App => 'a',
            Self::Third => 't',
        }
    }

    /// The address without namespaces, and a form of it that the agent does not recognize as its own loopback.
    fn on_loopback(self) -> (Ipv4Addr, &'static str) {
        match self {
            Self::Bastion => (Ipv4Addr::new(127, 0, 0, 10), "127.10"),
            Self::App => (Ipv4Addr::new(127, 0, 0, 115), "127.115"),
            Self::Third => (Ipv4Addr::new(127, 0, 0, 207), "127.207"),
        }
    }

    /// The address in the private network, as in the article.
    fn private(self) -> &'static str {
        match self {
            Self::Bastion => "10.0.0.10",
            Self::App => "10.0.0.115",
            Self::Third => "10.8.4.7",
        }
    }
}

impl Network {
    /// Creates namespaces, or falls back to loopback addresses.
    pub fn new() -> Self {
        let is_wanted = std::env::var(CHOICE).as_deref() != Ok("none");
        match is_wanted.then(Namespaces::new).and_then(Result::ok) {
            Some(namespaces) => Self::Namespaces(namespaces),
            None => Self::Loopback,
        }
    }

    /// Listens on a machine: on that port in a namespace, else on a free port.
    pub fn listen(&self, machine: Machine, port: u16) -> Bound {
        match self {
            Self::Namespaces(namespaces) => {
                let anywhere = (Ipv4Addr::UNSPECIFIED, port);
                let listener = self.within(machine, || TcpListener::bind(anywhere).unwrap());
                let port = listener.local_addr().unwrap().port();
                let from_root = SocketAddr::new(namespaces.address_for_root(machine), port);
                Bound { listener, host: machine.private().to_owned(), port, from_root }
            }
            Self::Loopback => {
                let (address, host) = machine.on_loopback();
                let listener = TcpListener::bind((address, 0)).unwrap();
                let from_root = listener.local_addr().unwrap();
                Bound { listener, host: host.to_owned(), port: from_root.port(), from_root }
            }
        }
    }

    /// Returns the address of fumidai's machine as seen from a machine.
    pub fn root_seen_from(&self, machine: Machine) -> IpAddr {
        let Self::Namespaces(namespaces) = self else { return Ipv4Addr::LOCALHOST.into() };
        match machine {
            Machine::Bastion => Ipv4Addr::from(namespaces.first + 1).into(),
            Machine::App => Ipv4Addr::from(namespaces.first + 5).into(),
            Machine::Third => panic!("it has no link to fumidai's machine"),
        }
    }

    /// Runs a function in a machine's namespace; processes that it starts stay there.
    pub fn within<T: Send>(&self, machine: Machine, work: impl FnOnce() -> T + Send) -> T {
        let Self::Namespaces(namespaces) = self else { return work() };
        let file = fs::File::open(Path::new("/run/netns").join(namespaces.of(machine))).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }
}

impl Namespaces {
    fn new() -> Result<Self, Refused> {
        sweep();
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let index = process.wrapping_mul(EACH).wrapping_add(number) % NETWORKS;
        let name = format!("fh{process}n{number}");
        // From here on, a failure removes the namespaces by drop.
        let namespaces = Self { name, first: TEST_ADDRESSES + index * 8 };
        namespaces.make()?;
        Ok(namespaces)
    }

    fn make(&self) -> Result<(), Refused> {
        let [b, a, t] = Machine::ALL.map(|machine| self.of(machine));
        let address = |offset| Ipv4Addr::from(self.first + offset);
        let (to_b, to_a) = (address(1), address(5));
        ip(
            None,
            &format!(
                "netns add {b}\nnetns add {a}\nnetns add {t}\n\
                 link add {b} type veth peer name root netns {b}\nlink add {a} type veth peer name root netns {a}\n\
                 address add {to_b}/30 dev {b}\naddress add {to_a}/30 dev {a}\nlink set {b} up\nlink set {a} up\n"
            ),
        )?;
        ip(
            Some(&b),
            &format!(
                "link set lo up\naddress add {}/30 dev root\nlink set root up\n\
                 link add app type veth peer name bastion netns {a}\naddress add 10.0.0.10/24 dev app\n\
                 link set app up\n",
                address(2)
            ),
        )?;
        ip(
            Some(&a),
            &format!(
                "link set lo up\naddress add {}/30 dev root\nlink set root up\naddress add 10.0.0.115/24 dev bastion\n\
                 link set bastion up\nlink add third type veth peer name app netns {t}\n\
                 address add 10.8.4.5/24 dev third\nlink set third up\n",
                address(6)
            ),
        )?;
        ip(Some(&t), "link set lo up\naddress add 10.8.4.7/24 dev app\nlink set app up\n")
    }

    /// The name of a machine's namespace, and of its link in the root namespace.
    fn of(&self, machine: Machine) -> String {
        format!("{}{}", self.name, machine.letter())
    }

    fn address_for_root(&self, machine: Machine) -> IpAddr {
        match machine {
            Machine::Bastion => Ipv4Addr::from(self.first + 2).into(),
            Machine::App => Ipv4Addr::from(self.first + 6).into(),
            Machine::Third => machine.private().parse().unwrap(),
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for machine in Machine::ALL {
            // A namespace exists as long as a process runs in it; its links do not.
            remove_namespace(&self.of(machine));
        }
    }
}

/// The error of a refused `ip` command.
#[derive(Debug)]
struct Refused;

/// Runs commands of ip(8), in a namespace if given.
fn ip(namespace: Option<&str>, commands: &str) -> Result<(), Refused> {
    let mut ip = Command::new("ip");
    if let Some(namespace) = namespace {
        ip.args(["-n", namespace]);
    }
    ip.args(["-batch", "-"]).env("PATH", crate::tools::search_path());
    ip.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut ip = ip.spawn().map_err(|_| Refused)?;
    let fed = ip.stdin.take().unwrap().write_all(commands.as_bytes());
    let status = ip.wait().map_err(|_| Refused)?;
    if fed.is_ok() && status.success() { Ok(()) } else { Err(Refused) }
}

fn remove_namespace(name: &str) {
    let _ = ip(None, &format!("link delete {name}\n"));
    let _ = ip(None, &format!("netns delete {name}\n"));
}

/// Removes the namespaces of killed processes.
fn sweep() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    for name in names.filter(|name| owner(name).is_some_and(|process| !process.exists())) {
        remove_namespace(&name);
    }
}

/// Returns the `/proc` folder of the process that created a namespace.
fn owner(name: &str) -> Option<PathBuf> {
    let (process, _) = name.strip_prefix("fh")?.split_once('n')?;
    Some(Path::new("/proc").join(process.parse::<u32>().ok()?.to_string()))
}
