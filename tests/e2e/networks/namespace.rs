//! A network namespace with one link to the machine of the test, by IPv4, IPv6 or both.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::bench::Bench;
use crate::run::Run;
use crate::tools::{search_path, tool};

/// The first IPv4 address, after those of the other tests with networks (RFC 2544); each network takes eight.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([198, 19, 0, 0]);
/// The number of networks.
const NETWORKS: u32 = 1 << 12;

/// Whether this machine has no IPv6.
const DISABLED: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";

static NUMBER: AtomicU16 = AtomicU16::new(0);

pub struct Namespace {
    name: String,
    /// The machine of the test, as seen from the namespace.
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    relays: Vec<JoinHandle<()>>,
}

impl Namespace {
    /// Makes a namespace with addresses of both families; `None` where namespaces are not permitted, or there is no
    /// IPv6.
    pub fn new() -> Option<Self> {
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let first = FIRST_ADDRESS + (process.wrapping_mul(8).wrapping_add(number.into()) % NETWORKS) * 8;
        let [high, low] = [(process >> 16) as u16, process as u16];
        let namespace = Self {
            name: format!("fn{process}n{number}"),
            v4: Ipv4Addr::from(first + 1),
            v6: Ipv6Addr::new(0xfd00, high, low, number, 0, 0, 0, 1),
            relays: Vec::new(),
        };
        let has_v6 = std::fs::read_to_string(DISABLED).is_ok_and(|text| text.trim() == "0");
        if !has_v6 || ip(None, &format!("netns add {}\n", namespace.name)).is_err() {
            return None;
        }
        namespace.make().unwrap();
        Some(namespace)
    }

    /// Makes one with `::1` and a unique local address, and no IPv4 at all.
    pub fn with_ipv6_only() -> Option<Self> {
        let namespace = Self::new()?;
        let own = Ipv4Addr::from(u32::from(namespace.v4) + 1);
        namespace
            .ip(&format!("address delete 127.0.0.1/8 dev lo\naddress delete {own}/29 dev wire\n"))
            .unwrap();
        Some(namespace)
    }

    fn make(&self) -> Result<(), String> {
        let (name, v4, v6) = (&self.name, self.v4, self.v6);
        ip(
            None,
            &format!(
                "link add {name} type veth peer name wire netns {name}\n\
                 address add {v4}/29 dev {name}\naddress add {v6}/64 dev {name} nodad\nlink set {name} up\n"
            ),
        )?;
        let (v4, v6) = (u32::from(v4), u128::from(v6));
        self.ip(&format!(
            "link set lo up\naddress add {}/29 dev wire\naddress add {}/64 dev wire nodad\nlink set wire up\n",
            Ipv4Addr::from(v4 + 1),
            Ipv6Addr::from(v6 + 1)
        ))
    }

    /// Returns an address next to the machine's that never answers: its packets go nowhere.
    pub fn dead(&self, like: IpAddr) -> IpAddr {
        let dead = match like {
            IpAddr::V4(address) => IpAddr::V4((u32::from(address) + 2).into()),
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) + 2).into()),
        };
        self.ip(&format!("neighbor replace {dead} lladdr 02:00:00:00:00:01 nud permanent dev wire\n"))
            .unwrap();
        dead
    }

    /// Leads a port of the machine's address to a service on its loopback, which has the same port.
    pub async fn lead(&mut self, ip: IpAddr, service: SocketAddr) {
        let listener = TcpListener::bind((ip, service.port())).await.unwrap();
        self.relays.push(tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut service = TcpStream::connect(service).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut service).await;
                });
            }
        }));
    }

    /// Prepares fumidai in the namespace, where these names have these addresses, in any number.
    pub fn fumidai(&self, bench: &Bench, args: &[&str], names: &[(&str, IpAddr)]) -> Run {
        let hosts: String = names.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
        let hosts = bench.write("hosts", format!("127.0.0.1 localhost\n{hosts}"));
        // A name may have several addresses, and only this file gives any.
        let host_conf = bench.write("host.conf", "multi on\n");
        let nsswitch = bench.write("nsswitch.conf", "hosts: files\n");
        let mounts = "mount --bind \"$0\" /etc/hosts && mount --bind \"$1\" /etc/host.conf && \
                      mount --bind \"$2\" /etc/nsswitch.conf && shift 2 && exec \"$@\"";
        let run = bench.run(&tool("ip")).args(["netns", "exec", &self.name, "sh", "-c", mounts]);
        run.args([hosts, host_conf, nsswitch]).args([Path::new(env!("CARGO_BIN_EXE_fumidai"))]).args(args)
    }

    fn ip(&self, commands: &str) -> Result<(), String> {
        ip(Some(&self.name), commands)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for relay in &self.relays {
            relay.abort();
        }
        let _ = ip(None, &format!("link delete {}\n", self.name));
        let _ = ip(None, &format!("netns delete {}\n", self.name));
    }
}

/// Runs commands of ip(8), in a namespace if given.
pub fn ip(namespace: Option<&str>, commands: &str) -> Result<(), String> {
    let mut ip = Command::new(tool("ip"));
    if let Some(namespace) = namespace {
        ip.args(["-n", namespace]);
    }
    ip.args(["-batch", "-"]).env("PATH", search_path());
    ip.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut ip = ip.spawn().map_err(|error| error.to_string())?;
    let fed = ip.stdin.take().expect("piped").write_all(commands.as_bytes());
    let output = ip.wait_with_output().map_err(|error| error.to_string())?;
    if fed.is_ok() && output.status.success() {
        return Ok(());
    }
    Err(format!("{commands}: {}", String::from_utf8_lossy(&output.stderr)))
}
