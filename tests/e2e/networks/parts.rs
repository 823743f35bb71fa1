//! Real programs of the network, each on a free port, ended with its test.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::run::until;
use crate::tools::tool;

/// A program that listens.
pub struct Part {
    pub address: SocketAddr,
    child: Child,
}

impl Part {
    /// Starts a program that listens on a port that was free a moment ago.
    async fn start(ip: IpAddr, command: impl FnOnce(SocketAddr) -> Command) -> Self {
        let address = TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap();
        let mut command = command(address);
        // A group of its own: some fork for each connection.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        until("the part listens", || TcpStream::connect(address).is_ok()).await;
        Self { address, child }
    }

    /// An HTTP proxy that asks for a login by `Basic`.
    pub async fn tinyproxy(ip: IpAddr, folder: &Path, user: &str, password: &str) -> Self {
        Self::start(ip, |address| {
            let file = folder.join(format!("tinyproxy-{}.conf", address.port()));
            let (ip, port) = (address.ip(), address.port());
            let text = format!(
                "Listen {ip}\nPort {port}\nTimeout 600\nMaxClients 50\nLogLevel Critical\n\
                 BasicAuth {user} {password}\n"
            );
            std::fs::write(&file, text).unwrap();
            let mut command = Command::new(tool("tinyproxy"));
            command.args(["-d", "-c"]).arg(file);
            command
        })
        .await
    }

    /// A SOCKS proxy, with a login or without.
    pub async fn microsocks(ip: IpAddr, login: Option<(&str, &str)>) -> Self {
        Self::start(ip, |address| {
            let mut command = Command::new(tool("microsocks"));
            command.args(["-i", &address.ip().to_string(), "-p", &address.port().to_string()]);
            if let Some((user, password)) = login {
                command.args(["-u", user, "-P", password]);
            }
            command
        })
        .await
    }

    /// What speaks TLS in front of another part, with a certificate and its key in one file.
    pub async fn tls(identity: &Path, behind: SocketAddr) -> Self {
        Self::start([127, 0, 0, 1].into(), |address| {
            let listen = format!(
                "OPENSSL-LISTEN:{},bind={},reuseaddr,fork,verify=0,cert={}",
                address.port(),
                address.ip(),
                identity.display()
            );
            let mut command = Command::new(tool("socat"));
            command.args([listen, format!("TCP:{behind}")]);
            command
        })
        .await
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let id = i32::try_from(self.child.id()).unwrap();
        let _ = kill_process_group(Pid::from_raw(id).unwrap(), Signal::KILL);
        let _ = self.child.wait();
    }
}
