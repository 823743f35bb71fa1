//! The client's network: a namespace whose one link leads to a proxy, which a name server of the test names.
//!
//! ```text
//! client (fumidai, ssh, rsync, PyMySQL) ── link ── proxy.test (microsocks) ── simulator on loopback
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::bench::Bench;
use crate::networks::ip;
use crate::run::{Run, until};
use crate::tools::tool;

/// The first address of the range for network tests (RFC 2544), after those of the tests of hops; each network takes eight.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([198, 19, 128, 0]);
/// The number of networks.
const NETWORKS: u32 = 1 << 12;
const PROXY_PORT: u16 = 1080;
/// The proxy, as the client names it.
pub const PROXY: &str = "socks5://proxy.test:1080";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The network; it is removed when dropped.
pub struct Network {
    namespace: String,
    first: u32,
    resolv_conf: PathBuf,
    answers: Arc<AtomicBool>,
    proxy: Mutex<Option<Child>>,
}

impl Network {
    /// Makes it; `None` where namespaces are not permitted.
    pub async fn new(folder: &Path) -> Option<Self> {
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let first = FIRST_ADDRESS + (process.wrapping_mul(8).wrapping_add(number) % NETWORKS) * 8;
        let namespace = format!("fc{process}n{number}");
        let resolv_conf = folder.join("resolv.conf");
        let answers = Arc::new(AtomicBool::new(true));
        let network = Self { namespace, first, resolv_conf, answers, proxy: Mutex::new(None) };
        network.make().ok()?;
        network.serve_names();
        let options = "options timeout:1 attempts:1";
        std::fs::write(&network.resolv_conf, format!("nameserver {}\n{options}\n", network.gateway()))
            .unwrap();
        network.start_proxy().await;
        Some(network)
    }

    fn make(&self) -> Result<(), String> {
        let name = &self.namespace;
        ip(
            None,
            &format!(
                "netns add {name}\nlink add {name} type veth peer name wifi netns {name}\n\
             address add {}/29 dev {name}\nlink set {name} up\n",
                self.gateway()
            ),
        )?;
        self.ip(&format!("link set lo up\naddress add {}/29 dev wifi\n", self.address(2)))?;
        self.link_up();
        Ok(())
    }

    fn address(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.first + offset)
    }

    fn gateway(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// Prepares a program in the namespace.
    pub fn run(&self, bench: &Bench, program: &Path) -> Run {
        let resolve = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        let run = bench.run(&tool("ip")).args(["netns", "exec", &self.namespace, "sh", "-c", resolve]);
        run.args([&self.resolv_conf]).args([program]).env("ALL_PROXY", PROXY).without("NO_PROXY")
    }

    pub fn link_down(&self) {
        self.ip("link set wifi down\n").unwrap();
    }

    pub fn link_up(&self) {
        self.ip(&format!("link set wifi up\nroute add default via {} dev wifi\n", self.gateway())).unwrap();
    }

    /// Brings the link up with another address, as another Wi-Fi does.
    pub fn new_address(&self) {
        let (old, new) = (self.address(2), self.address(3));
        self.ip(&format!("address delete {old}/29 dev wifi\naddress add {new}/29 dev wifi\n")).unwrap();
        self.link_up();
    }

    pub fn stop_proxy(&self) {
        if let Some(mut proxy) = self.proxy.lock().unwrap().take() {
            proxy.kill().unwrap();
            proxy.wait().unwrap();
        }
    }

    pub async fn start_proxy(&self) {
        let address = SocketAddr::new(IpAddr::V4(self.gateway()), PROXY_PORT);
        let mut proxy = Command::new(tool("microsocks"));
        proxy.args(["-i", &self.gateway().to_string(), "-p", &PROXY_PORT.to_string()]);
        *self.proxy.lock().unwrap() = Some(proxy.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        until("the proxy listens", || TcpStream::connect(address).is_ok()).await;
    }

    pub fn answer_names(&self, answers: bool) {
        self.answers.store(answers, Ordering::Relaxed);
    }

    /// Answers every question for an address with that of the proxy, and others with no record.
    fn serve_names(&self) {
        let socket = UdpSocket::bind((self.gateway(), 53)).unwrap();
        let (answers, address) = (Arc::downgrade(&self.answers), self.gateway());
        socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        thread::spawn(move || {
            let mut question = [0; 512];
            while let Some(answers) = answers.upgrade() {
                let Ok((length, client)) = socket.recv_from(&mut question) else { continue };
                if answers.load(Ordering::Relaxed) {
                    let _ = socket.send_to(&answer(&question[..length], address), client);
                }
            }
        });
    }

    fn ip(&self, commands: &str) -> Result<(), String> {
        ip(Some(&self.namespace), commands)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop_proxy();
        let name = &self.namespace;
        let _ = ip(None, &format!("link delete {name}\n"));
        let _ = ip(None, &format!("netns delete {name}\n"));
    }
}

/// Makes a DNS answer (RFC 1035, section 4.1) to a question with one name and no other record.
fn answer(question: &[u8], address: Ipv4Addr) -> Vec<u8> {
    const HEADER: usize = 12;
    let name = question[HEADER..].iter().position(|byte| *byte == 0).map_or(0, |end| HEADER + end + 1);
    let asked = &question[HEADER..name + 4];
    let is_a = question[name..name + 2] == [0, 1];
    let mut answer = question[..2].to_vec();
    // A response without error to a recursive question: one question, and one record if an address was asked for.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(asked);
    if is_a {
        // The name of the question, type A, class IN, no time to live, four bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}
