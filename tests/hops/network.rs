//! Where the hops are: each in a network namespace, or on a loopback address of its own where that is not permitted.
//!
//! ```text
//! root (fumidai, the agent) ── bastion ── app ── third
//!            └────────────────────────────┘
//! ```
//!
//! The bastion's agent is the simulator's and is in root, so that there is a way from there to the app server too. To
//! the third there is one from the app server only.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// `none` tries no namespaces.
const CHOICE: &str = "FUMIDAI_TEST_NETNS";
/// Addresses for tests of networks (RFC 2544): eight for each network.
const TEST_ADDRESSES: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// So many networks have room there.
const NETWORKS: u32 = 1 << 14;
/// Networks that a process may make without repeating the next one's addresses.
const EACH: u32 = 64;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A machine of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    Bastion,
    App,
    Third,
}

/// The network; it is gone once dropped.
pub enum Network {
    Namespaces(Namespaces),
    Loopback,
}

/// A namespace for each machine.
pub struct Namespaces {
    name: String,
    /// The first of its addresses in root.
    first: u32,
}

/// A listener, and what leads there.
pub struct Bound {
    pub listener: TcpListener,
    /// As the hop before, and a user, names it.
    pub host: String,
    pub port: u16,
    /// As the agent sees it, which is in root.
    pub from_root: SocketAddr,
}

impl Seat {
    const ALL: [Self; 3] = [Self::Bastion, Self::App, Self::Third];

    fn letter(self) -> char {
        match self {
            Self::Bastion => 'b',
            Self::App => 'a',
            Self::Third => 't',
        }
    }

    /// A whole loopback network is ours; the agent takes no literal address of it for another host, but this form.
    fn on_loopback(self) -> (Ipv4Addr, &'static str) {
        match self {
            Self::Bastion => (Ipv4Addr::new(127, 0, 0, 10), "127.10"),
            Self::App => (Ipv4Addr::new(127, 0, 0, 115), "127.115"),
            Self::Third => (Ipv4Addr::new(127, 0, 0, 207), "127.207"),
        }
    }

    /// In its private network, as the article has it.
    fn private(self) -> &'static str {
        match self {
            Self::Bastion => "10.0.0.10",
            Self::App => "10.0.0.115",
            Self::Third => "10.8.4.7",
        }
    }
}

impl Network {
    /// Makes one; decides how by trying.
    pub fn new() -> Self {
        let is_wanted = std::env::var(CHOICE).as_deref() != Ok("none");
        match is_wanted.then(Namespaces::new).and_then(Result::ok) {
            Some(namespaces) => Self::Namespaces(namespaces),
            None => Self::Loopback,
        }
    }

    /// Listens on a machine: at that port where it is the machine's own to give, else at a free one.
    pub fn listen(&self, seat: Seat, port: u16) -> Bound {
        match self {
            Self::Namespaces(namespaces) => {
                let anywhere = (Ipv4Addr::UNSPECIFIED, port);
                let listener = self.within(seat, || TcpListener::bind(anywhere).unwrap());
                let port = listener.local_addr().unwrap().port();
                let from_root = SocketAddr::new(namespaces.address_for_root(seat), port);
                Bound { listener, host: seat.private().to_owned(), port, from_root }
            }
            Self::Loopback => {
                let (address, host) = seat.on_loopback();
                let listener = TcpListener::bind((address, 0)).unwrap();
                let from_root = listener.local_addr().unwrap();
                Bound { listener, host: host.to_owned(), port: from_root.port(), from_root }
            }
        }
    }

    /// Does something on a machine; processes that it starts stay there.
    pub fn within<T: Send>(&self, seat: Seat, work: impl FnOnce() -> T + Send) -> T {
        let Self::Namespaces(namespaces) = self else { return work() };
        let file = fs::File::open(Path::new("/run/netns").join(namespaces.of(seat))).unwrap();
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
        // From here on, a failure takes away what there is.
        let namespaces = Self { name, first: TEST_ADDRESSES + index * 8 };
        namespaces.make()?;
        Ok(namespaces)
    }

    fn make(&self) -> Result<(), Refused> {
        let [b, a, t] = Seat::ALL.map(|seat| self.of(seat));
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

    /// The name of a machine's namespace, and of its link in root.
    fn of(&self, seat: Seat) -> String {
        format!("{}{}", self.name, seat.letter())
    }

    fn address_for_root(&self, seat: Seat) -> IpAddr {
        match seat {
            Seat::Bastion => Ipv4Addr::from(self.first + 2).into(),
            Seat::App => Ipv4Addr::from(self.first + 6).into(),
            Seat::Third => seat.private().parse().unwrap(),
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for seat in Seat::ALL {
            // A namespace lives on with whatever runs in it; its links do not.
            take_away(&self.of(seat));
        }
    }
}

/// What `ip` would not do.
#[derive(Debug)]
struct Refused;

/// Runs commands of ip(8), in a namespace if one is named.
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

fn take_away(name: &str) {
    let _ = ip(None, &format!("link delete {name}\n"));
    let _ = ip(None, &format!("netns delete {name}\n"));
}

/// Takes away what processes have left that were killed.
fn sweep() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    for name in names.filter(|name| owner(name).is_some_and(|process| !process.exists())) {
        take_away(&name);
    }
}

/// The process of a namespace of ours, as a folder.
fn owner(name: &str) -> Option<PathBuf> {
    let (process, _) = name.strip_prefix("fh")?.split_once('n')?;
    Some(Path::new("/proc").join(process.parse::<u32>().ok()?.to_string()))
}
