//! Local clients: how their sockets end, and whether a client that has ended its output has closed or waits for an answer.
//!
//! A socket shows both as an end of file. A unix socket tells them apart by POLLHUP. For TCP, the client's own socket is
//! looked up: if it is on this machine, the kernel knows whether a process still has it open. Linux only: other systems
//! report [`Peer::Unknown`].

#[cfg(target_os = "linux")]
mod listed;
#[cfg(target_os = "linux")]
mod proc_net;
#[cfg(target_os = "linux")]
mod sock_diag;

#[cfg(target_os = "linux")]
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::session::LocalStream;
#[cfg(target_os = "linux")]
use crate::session::Peer;

impl LocalStream for TcpStream {
    fn reset_on_drop(&self, reset: bool) {
        // If the option cannot be set, the socket is closed in order, which is all that is left to do.
        let _ = match reset {
            true => self.set_zero_linger(),
            false => SockRef::from(self).set_linger(None),
        };
    }

    #[cfg(target_os = "linux")]
    fn peer(&self) -> Peer {
        match (self.peer_addr(), self.local_addr()) {
            (Ok(client), Ok(ours)) => tcp_peer(client, ours),
            (Err(_), _) | (_, Err(_)) => Peer::Unknown,
        }
    }
}

/// Looks up the client's socket among those of this network namespace.
#[cfg(target_os = "linux")]
fn tcp_peer(client: SocketAddr, ours: SocketAddr) -> Peer {
    match sock_diag::find(client, ours).or_else(|| proc_net::find(client, ours)) {
        Some(Some(listed)) => listed.peer(),
        Some(None) => Peer::Missing,
        None => Peer::Unknown,
    }
}

#[cfg(unix)]
impl LocalStream for UnixStream {
    #[cfg(target_os = "linux")]
    fn peer(&self) -> Peer {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let mut socket = [PollFd::new(self, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut socket, Some(&at_once)) {
            Ok(_) if socket[0].revents().contains(PollFlags::HUP) => Peer::Closed,
            Ok(_) => Peer::Open,
            Err(_) => Peer::Unknown,
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair(bind: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(bind).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let host = if bind.starts_with("[::1") { "::1" } else { "127.0.0.1" };
        let client = TcpStream::connect((host, port)).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    /// A client sends its end of file a moment before the kernel takes the socket from it.
    async fn becomes(socket: &impl LocalStream, peer: Peer) {
        while socket.peer() != peer {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_tcp_client_that_closes_is_told_from_one_that_ends_its_output() {
        // The last one is a socket of IPv6 whose client uses IPv4.
        for bind in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let (mut client, mut socket) = pair(bind).await;
            assert_eq!(socket.peer(), Peer::Open, "{bind}");
            client.shutdown().await.unwrap();
            assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
            assert_eq!(socket.peer(), Peer::Open, "{bind}");
            drop(client);
            becomes(&socket, Peer::Closed).await;
            let (client, mut socket) = pair(bind).await;
            drop(client);
            assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
            becomes(&socket, Peer::Closed).await;
        }
    }

    #[tokio::test]
    async fn a_tcp_client_with_unsent_data_has_closed_too() {
        let (client, socket) = pair("127.0.0.1:0").await;
        // Until its buffers are full.
        while client.try_write(&[0; 1 << 16]).is_ok() {}
        assert_eq!(socket.peer(), Peer::Open);
        drop(client);
        becomes(&socket, Peer::Closed).await;
    }

    #[tokio::test]
    async fn a_unix_client_that_closes_is_told_from_one_that_ends_its_output() {
        let (mut client, mut socket) = UnixStream::pair().unwrap();
        assert_eq!(socket.peer(), Peer::Open);
        client.shutdown().await.unwrap();
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(socket.peer(), Peer::Open);
        drop(client);
        assert_eq!(socket.peer(), Peer::Closed);
    }
}
